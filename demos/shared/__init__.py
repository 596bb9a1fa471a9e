"""What the tabs of two features or more use: sliders of knobs, result panel, sweep panel, model picker."""
