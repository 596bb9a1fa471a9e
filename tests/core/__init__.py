"""Tests of the floor that knows no model: steps, noise, images, knobs, cache, sweep, record."""
