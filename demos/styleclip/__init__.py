"""StyleCLIP."""
