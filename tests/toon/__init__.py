"""Tests of the toon world."""
