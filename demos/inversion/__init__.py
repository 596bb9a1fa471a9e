"""Null-text inversion and Prompt-to-Prompt."""
