"""Uploaded pictures, each decoded once: a check, its preview and the edit all ask for the same one."""

from functools import lru_cache

from PIL import Image

from textedit_core import images


@lru_cache(maxsize=4)  # 150 MB each at most; gradio keeps an upload under a digest of what is in it
def opened(path: str | None, field: str = "Source image") -> Image.Image:
    """The picture of an upload, as `images.open_image` gives it; not to be changed in place.

    Raises ValueError, a sentence that starts with `field`, for one that cannot be used.
    """
    return images.open_image(path, field)
