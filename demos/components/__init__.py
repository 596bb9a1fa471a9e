"""Pieces of page shared by the tabs: sliders from knobs, result panel, sweep panel, model picker, charts."""
