"""Measurements, each one command: README.md lists them, docs/studies.md has what they showed last."""
