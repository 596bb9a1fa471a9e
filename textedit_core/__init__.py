"""TextEdit Studio's core: text-guided image editing methods, without any user interface."""

__version__ = "0.1.0"
