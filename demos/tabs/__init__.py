"""One file per tab, each with build(ctx)."""
