"""Whether a picture is like those that a bundle's models were trained on, by the tokens of its CLIP.

At each place of a hidden layer of CLIP's image tower the tokens of the training pictures are taken for a
Gaussian; a picture's distance is Mahalanobis's of its own tokens, over all places (arXiv 1807.03888, and
2011.08785 for a Gaussian at each place). CLIP's last layer would not do: it has learnt to tell what varies
among the pictures it knows, and to leave out the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from textedit_core.models.checkpoint import read
from textedit_core.models.clip import Clip
from textedit_core.models.source import Source

LAYER = 3  # hidden states before it see less, those after it know less of what is strange
SHRINKAGE = 0.05  # of the mean variance, added to each: there are few pictures for so many numbers
FALSE_ALARMS = 0.02  # share of the pictures it is fitted for that may lie beyond the threshold
ROWS = 64


@dataclass(frozen=True, eq=False)
class Familiarity:
    """The Gaussians of P places with D numbers each, and where the strange begins.

    means (P,D).  whitening (P,D,D): its product with a difference from the mean has the identity as its
    covariance.  layer: of the hidden states.  threshold: distances beyond it are strange.
    """

    means: Tensor
    whitening: Tensor
    layer: int
    threshold: float

    @torch.no_grad()
    def distance(self, clip: Clip, image: Tensor) -> Tensor:
        """The distance (B,) of images (B,3,H,W) in [-1,1]: the square root of the mean over the places."""
        found = [self._distance(tokens(clip, rows, self.layer)) for rows in image.split(ROWS)]
        return torch.cat(found)

    def knows(self, clip: Clip, image: Tensor) -> list[bool]:
        """Whether each of the images (B,3,H,W) is like those that the models were trained on."""
        return (self.distance(clip, image) <= self.threshold).tolist()

    def _distance(self, found: Tensor) -> Tensor:
        apart = torch.einsum("pde,npe->npd", self.whitening.to(found), found - self.means.to(found))
        return apart.square().sum(-1).mean(-1).sqrt()


@torch.no_grad()
def tokens(clip: Clip, image: Tensor, layer: int) -> Tensor:
    """The tokens (B,P,D) of a hidden layer of CLIP's image tower, float32, without the class token."""
    seen = clip.model.vision_model(pixel_values=clip.pixels(image), output_hidden_states=True)
    return seen.hidden_states[layer][:, 1:].float()


@torch.no_grad()
def fit(clip: Clip, images: Tensor, others: Tensor, layer: int = LAYER) -> Familiarity:
    """The Gaussians of images (N,3,H,W) in [-1,1]; the threshold is that of FALSE_ALARMS of `others`."""
    found = torch.cat([tokens(clip, rows, layer) for rows in images.split(ROWS)])
    means = found.mean(0)
    apart = found - means
    covariance = torch.einsum("npd,npe->pde", apart, apart) / len(found)
    width = covariance.shape[-1]
    spread = covariance.diagonal(dim1=1, dim2=2).mean()
    covariance += SHRINKAGE * spread * torch.eye(width)
    values, axes = torch.linalg.eigh(covariance)
    whitening = axes.transpose(1, 2) * values.rsqrt()[:, :, None]
    # As it is kept: the threshold is that of the numbers that are read back.
    kept = Familiarity(means.half().float(), whitening.half().float(), layer, 0.0)
    threshold = kept.distance(clip, others).quantile(1 - FALSE_ALARMS).item()
    return Familiarity(kept.means, kept.whitening, layer, threshold)


def load_familiarity(source: Source, device: torch.device) -> Familiarity:
    """The Gaussians of a bundle's `familiarity/`: config.json (layer, threshold) and the tensors.

    Raises ValueError, a sentence, where it is missing or incomplete.
    """
    config, tensors = source.json("config.json"), read(source.file("model.safetensors"))
    try:
        found = tensors["means"].float().to(device), tensors["whitening"].float().to(device)
        return Familiarity(*found, int(config["layer"]), float(config["threshold"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"The folder familiarity/ lacks {error}.") from error
