"""Benchmarks: the methods over a set of items, measured, resumable, split over processes, with a report."""
