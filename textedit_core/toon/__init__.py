"""The toon world: scenes, captions, rendering, parts and true answers (needs requirements-dev)."""
