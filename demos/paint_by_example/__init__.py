"""Paint by Example."""
