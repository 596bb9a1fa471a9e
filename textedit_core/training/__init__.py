"""The toon world and the recipes that train its models. Needs requirements-dev; the app never imports this."""
