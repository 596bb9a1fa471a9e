"""The toon world and the recipes that train its models (needs requirements-dev; not used by the app)."""
