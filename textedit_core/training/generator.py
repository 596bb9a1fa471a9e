"""The toon generator: StyleGAN2's synthesis network, distilled from the renderer.

FFHQ's generator is a GAN; this one is not. z names a scene (latent_world), so its true portrait is known:
z -> w is learned without images (mapping) and w -> image here, both by plain regression, with no adversary.
The class is the real one all the same, with its W, W+ and S.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textedit_core.models.style.stylegan2 import Generator
from textedit_core.toon import latent_world
from textedit_core.toon.latent_world import STYLE_DIM
from textedit_core.toon.portraits import Portraits, face_weights
from textedit_core.training import ranks
from textedit_core.training.loop import Budget, Randomness, train
from textedit_core.training.mapping import LAYERS
from textedit_core.training.vae import edges

BATCH = 4  # many small steps: on a CPU the time per picture is the same
FIRST_SIDE = 16
GROWTH = 10_000  # portraits at each side but the last
LEARNING_RATE = 1e-2
MODULATION_RATE = 3  # times LEARNING_RATE
MSE_WEIGHT = 4.0  # a missing tear is a large error in few pixels, which L1 hardly feels
SMALLER = 0.5  # how much a loss counts at half the side
CODE_NOISE = 0.15  # on every layer's w by itself: encoders and edits are never exact
CHANNELS = {
    64: {4: 128, 8: 128, 16: 96, 32: 48, 64: 16},
    128: {4: 128, 8: 128, 16: 128, 32: 96, 64: 48, 128: 16},
}


def build(size: int, mapping: nn.Sequential) -> Generator:
    """An untrained toon generator with this mapping; its centre is the mean code.

    It draws gray: the ToRGB layers start at zero, so that a new resolution begins by changing nothing.
    """
    network = Generator(**config(size))
    network.style.load_state_dict(mapping.state_dict())
    network.latent_avg = latent_world.mean_code()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "rgb" in name and name.endswith("conv.weight"):
                weight.zero_()
    return network


def config(size: int) -> dict[str, Any]:
    """The arguments of `Generator`: what config.json of a bundle's generator/ holds."""
    return {"size": size, "style_dim": STYLE_DIM, "n_mlp": LAYERS, "channels": CHANNELS[size]}


def fit(
    portraits: Portraits,
    mapping: nn.Sequential,
    size: int,
    folder: Path,
    budget: Budget,
    seed: int,
    device: str,
    on_save: Callable[[Growing, int], None] | None = None,
) -> Generator:
    """L1 + MSE + gradient L1 between the portrait of a scene and G(w), the face counting more.

    w lies anywhere between the code of the scene and map(z) of a z that names it, since both are asked for
    later. The noise weights stay 0, a renderer has no noise; the mapping stays as it is.
    """
    model = Growing(build(size, mapping)).to(device)
    optimizer = torch.optim.Adam(synthesis_groups(model.network), betas=(0.9, 0.99))
    values = torch.from_numpy(portraits.values.astype(np.int64))
    face = face_weights(size, device).sqrt()

    def loss_of_batch(model: Growing, randomness: Randomness) -> dict[str, Tensor]:
        side, network = model.side(), model.network
        batch = ranks.share(BATCH * size // side)
        rows = np.sort(randomness.numpy.integers(len(portraits), size=batch))
        w = between(network, values[torch.from_numpy(rows)].to(device), randomness.torch)
        w_plus = network.widen(w)
        jitter = torch.randn(w_plus.shape, generator=randomness.torch, device=device)
        losses = pyramid_loss(
            network, w_plus + CODE_NOISE * jitter, portraits.batch(rows, device), face, side
        )
        model.seen += batch * ranks.count()
        return losses | {"side": torch.tensor(side)}

    model = train(folder, model, optimizer, loss_of_batch, budget, seed=seed, device=device, on_save=on_save)
    return model.network


class Growing(nn.Module):
    """The generator and how many portraits it has seen, which says how large the images are to be by now.

    What is coarse is learned from small images, at a fraction of the time a large one takes.
    """

    seen: Tensor

    def __init__(self, network: Generator, seen: int = 0):
        super().__init__()
        self.network = network
        self.register_buffer("seen", torch.tensor(seen))

    def side(self) -> int:
        """Pixels: FIRST_SIDE, twice that after GROWTH portraits, and so on up to the generator's size."""
        doublings = min(int(self.seen) // GROWTH, 10)
        return min(self.network.size, FIRST_SIDE * 2**doublings)


@torch.no_grad()
def between(network: Generator, values: Tensor, chance: torch.Generator) -> Tensor:
    """A w (B,D) on the way from each scene's code to map(z) of a z that names it."""
    mapped = network.map(latent_world.draw(values, chance))
    share = torch.rand(len(values), 1, generator=chance, device=chance.device)
    return latent_world.code(values).lerp(mapped, share)


def synthesis_groups(network: Generator) -> list[dict[str, Any]]:
    """What turns w into an image, without the noise weights; the modulations learn faster than the rest."""
    named = [
        (name, p)
        for name, p in network.named_parameters()
        if not name.startswith("style.") and not name.endswith("noise.weight")
    ]
    return [
        {"params": [p for name, p in named if "modulation" not in name], "lr": LEARNING_RATE},
        {
            "params": [p for name, p in named if "modulation" in name],
            "lr": LEARNING_RATE * MODULATION_RATE,
        },
    ]


def pyramid_loss(
    network: Generator, w_plus: Tensor, image: Tensor, face: Tensor, side: int
) -> dict[str, Tensor]:
    """`picture_loss` of the image that G(w_plus) has at `side` pixels, and of those on the way there.

    Each counts SMALLER times the next, of twice its side: the coarse layers hear at once what is theirs.
    """
    drawn = drawn_at(network, w_plus, side)
    found: list[dict[str, Tensor]] = []
    for picture in reversed(drawn):
        wanted, weights = (F.adaptive_avg_pool2d(one, picture.shape[-1]) for one in (image, face))
        found.append(picture_loss(picture, wanted, weights))
    loss, weight = found[0]["loss"], 1.0
    for smaller in found[1:]:
        weight *= SMALLER
        loss = loss + weight * smaller["loss"]
    return found[0] | {"loss": loss}


def drawn_at(network: Generator, w_plus: Tensor, side: int) -> list[Tensor]:
    """The images of G(w_plus) of 4, 8, ... `side` pixels; the layers beyond are not run."""
    state = network.start(len(w_plus))
    drawn: list[Tensor] = []
    for index, (layer, s) in enumerate(zip(network.layers, network.styles(w_plus), strict=True)):
        if layer.size > side:
            break
        state = network.advance(state, index, s)
        if layer.is_rgb and state[1] is not None:
            drawn.append(state[1])
    return drawn


def picture_loss(drawn: Tensor, image: Tensor, face: Tensor) -> dict[str, Tensor]:
    """{"loss", "psnr"} of images (B,3,H,W) in [-1,1]; `face`: weights (1,1,H,W) of the differences."""
    difference = (drawn - image) * face
    error = difference.square().mean()
    loss = difference.abs().mean() + MSE_WEIGHT * error + edges(drawn, image)
    return {"loss": loss, "psnr": 10 * torch.log10(4 / error.detach())}
