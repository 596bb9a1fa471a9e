"""Measurements, each one command; docs/ has what they showed last."""
