"""Direct inversion (arXiv 2310.01506): prepares an image for prompt_to_prompt, which can also ask for it."""

from textedit_core.models.diffusion.inversions import direct as fit

__all__ = ["fit"]
