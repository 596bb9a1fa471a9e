"""Compare: several methods on one picture."""
