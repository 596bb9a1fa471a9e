"""One file per tab, each with NAME, and build(ctx, models), which draws and wires it."""
