"""Null-text inversion (arXiv 2211.09794): prepares an image for prompt_to_prompt, which can ask for it."""

from textedit_core.models.diffusion.inversions import null_text as fit

__all__ = ["fit"]
