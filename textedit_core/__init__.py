"""TextEdit Studio's core: text-guided image editing methods, without any user interface."""

__version__ = "0.2.0"
