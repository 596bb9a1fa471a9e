"""Text2LIVE."""
