"""Longer measurements, run by hand: each is a module with a command line and says what it measures."""
