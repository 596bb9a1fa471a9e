"""Metrics that need a download, LPIPS and DINO structure distance; nothing is fetched unless allowed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textedit_core.building import building

Distance = Callable[[Tensor, Tensor], Tensor]
NAMES = ("lpips", "dino")
DINO = "facebook/dino-vitb8"
DINO_SIZE = 224
DINO_MEAN, DINO_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load(names: str, fetch: bool = False) -> dict[str, Distance]:
    """ "lpips,dino" as functions of two pictures (B,3,H,W) -> (B,), by name; none for "".

    Raises ValueError for another name, and as the loaders where something is missing.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in NAMES:
            raise ValueError(f"Extras: there is no measure called '{name}', only {' and '.join(NAMES)}.")
    found: dict[str, Distance] = {}
    if "lpips" in wanted:
        found["lpips"] = load_lpips(fetch)
    if "dino" in wanted:
        found["dino"] = partial(dino_structure_distance, load_dino(fetch))
    return found


def load_lpips(fetch: bool = False) -> Distance:
    """LPIPS (arXiv 1801.03924) on SqueezeNet, as PIE-Bench measures it: f(a, b) -> (B,), 0 for equal images.

    Images (B,3,H,W) in [-1,1], clamped. Needs the package `lpips`, and the weights of torchvision's
    squeezenet1_1 (5 MB, BSD licence), which are fetched only with `fetch`. Raises ValueError, saying what is
    missing.
    """
    if importlib.util.find_spec("lpips") is None:
        raise ValueError("LPIPS is an extra: install it with 'pip install lpips torchvision'.")
    kept = Path(torch.hub.get_dir()) / "checkpoints"
    if not fetch and not any(kept.glob("squeezenet1_1-*.pth")):
        raise ValueError(
            "LPIPS would fetch the weights of torchvision's squeezenet1_1 (5 MB, BSD licence) from "
            "download.pytorch.org: allow it with fetch=True (--fetch), or leave LPIPS out."
        )
    import lpips

    with building():
        network = lpips.LPIPS(net="squeeze", verbose=False).eval().requires_grad_(False)

    @torch.no_grad()
    def distance(a: Tensor, b: Tensor) -> Tensor:
        return network(a.detach().float().clamp(-1, 1), b.detach().float().clamp(-1, 1)).flatten()

    return distance


def load_dino(fetch: bool = False) -> nn.Module:
    """DINO ViT-B/8 (arXiv 2104.14294) for `dino_structure_distance`, from the hub's cache or the hub.

    Raises ValueError, saying what would be fetched, where it is not in the cache and `fetch` is not set.
    """
    from transformers import ViTModel

    try:
        with building():
            network = ViTModel.from_pretrained(DINO, local_files_only=not fetch, add_pooling_layer=False)
        return network.eval().requires_grad_(False)
    except OSError as error:
        raise ValueError(
            f"The DINO structure distance would fetch {DINO} (340 MB, Apache 2.0 licence) from the Hugging "
            "Face hub: allow it with fetch=True (--fetch), or use structure_distance, which needs nothing."
        ) from error


@torch.no_grad()
def dino_structure_distance(dino: nn.Module, a: Tensor, b: Tensor, as_published: bool = False) -> Tensor:
    """Structure distance of Splice (arXiv 2201.00424), as PIE-Bench reports it -> (B,), 0 for equal images.

    The mean squared difference of the two matrices of cosines between the last layer's keys (heads side by
    side, class token included), at 224 pixels. Images (B,3,H,W) in [-1,1], clamped.
    as_published: PIE-Bench's tool hands over 0..255 where the network wants 0..1; set it for its figures.
    """
    return (_keys(dino, a, as_published) - _keys(dino, b, as_published)).square().mean(dim=(1, 2))


def _keys(dino: nn.Module, image: Tensor, as_published: bool) -> Tensor:
    """(B,N,N) cosines between the last layer's keys of all tokens."""
    image = (image.detach().float().clamp(-1, 1) + 1) / 2
    side = getattr(dino.config, "image_size", DINO_SIZE)
    image = F.interpolate(image, (side, side), mode="bicubic", antialias=True, align_corners=False)
    if as_published:
        image = image * 255
    mean, std = (image.new_tensor(one).view(3, 1, 1) for one in (DINO_MEAN, DINO_STD))
    *_, layer = (one for name, one in dino.named_modules() if name.rpartition(".")[2] in ("k_proj", "key"))
    found: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, given, keys: found.append(keys))
    try:
        dino((image - mean) / std)
    finally:
        handle.remove()
    keys = F.normalize(found[0].float(), dim=-1)
    return keys @ keys.transpose(1, 2)
