"""Train the toon autoencoder: an AutoencoderKL that halves the side twice (64 px -> 16 x 16 x 4)."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from textedit_core.toon.portraits import Portraits, face_weights
from textedit_core.training import ranks
from textedit_core.training.loop import Budget, Randomness, train, trained

NOTE = "scaling.json"
HELD = "held.pt"
BATCH = 8  # many small steps: on a CPU the time per picture is the same
LEARNING_RATE = 2e-3  # decayed to zero
KL_WEIGHT = 1e-6
MSE_WEIGHT = 6.0  # a missing tear is a large error in few pixels, which L1 hardly feels
# Fine-tuning on the open world: the models that read and write latents follow the easier the less they move.
HOLD_WEIGHT = 0.02  # of the mean square distance from the held latents, in units of their variance
# Crops of large drawings, in turn with whole portraits: both sizes are rebuilt. The small size is the harder
# one, and a step of crops takes twice the time, so that most steps are whole.
LARGE_BATCH, LARGE_SIDE, WHOLE_STEPS = 4, 128, 3
CHANNELS = {64: (12, 32, 64), 128: (16, 32, 64, 96)}  # x4 at 64 px, x8 at 128 px: 16 x 16 latents in both


def build(size: int) -> AutoencoderKL:
    channels = CHANNELS[size]
    vae = AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        mid_block_add_attention=False,
        sample_size=size,
    )
    with (
        torch.no_grad()
    ):  # start almost without noise in the latents, or the first minutes go into removing it
        vae.quant_conv.bias[4:] = -8.0
        vae.quant_conv.weight[4:] *= 0.1
    return vae


def fit(
    portraits: Portraits,
    size: int,
    folder: Path,
    budget: Budget,
    seed: int,
    device: str,
    large: Portraits | None = None,
    keep_latents: bool = False,
) -> AutoencoderKL:
    """L1 + 6 MSE + gradient L1 (sharp outlines) + a little KL, the face counting more.

    large: drawings of which crops are learned too, in turn with the whole portraits.  Where `folder` keeps
    an autoencoder to hold on to (`hold`), the latents of whole portraits are held near that one's.
    keep_latents: only the decoder learns, so that what reads and writes latents knows them still.
    """
    vae = build(size).to(device)
    if keep_latents:
        for part in (vae.encoder, vae.quant_conv):
            part.requires_grad_(False)
    face = face_weights(size, device).sqrt()
    learned = [weight for weight in vae.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0)
    held, turn = held_autoencoder(folder, size, device), whole_turns(large is not None)

    def loss_of_batch(vae: AutoencoderKL, randomness: Randomness) -> dict[str, Tensor]:
        whole = next(turn)
        if whole or large is None:
            rows = randomness.numpy.integers(len(portraits), size=ranks.share(BATCH))
            image, weights = portraits.batch(rows, device), face
        else:
            image = crops(large, ranks.share(LARGE_BATCH), LARGE_SIDE, randomness.numpy, device)
            weights = torch.ones((), device=image.device)
        posterior = vae.encode(image).latent_dist
        decoded = vae.decode(posterior.sample(randomness.torch)).sample
        difference = (decoded - image) * weights
        error = difference.square().mean()
        sharp = difference.abs().mean() + MSE_WEIGHT * error + edges(decoded, image)
        loss = sharp + KL_WEIGHT * posterior.kl().mean()
        found = {"psnr": 10 * torch.log10(4 / error.detach())}
        if held is not None and not keep_latents:
            found["moved"] = moved(posterior.mean, held, image)
            loss = loss + HOLD_WEIGHT * found["moved"]
        return {"loss": loss} | {name: value.detach() for name, value in found.items()}

    vae = train(folder, vae, optimizer, loss_of_batch, budget, seed=seed, device=device)
    if held is None:
        set_scaling_factor(vae, portraits)
    else:
        vae.register_to_config(scaling_factor=held.config.scaling_factor)
    return vae


def whole_turns(in_turn: bool) -> Iterator[bool]:
    """True for ever, or in turn WHOLE_STEPS times True and once False."""
    return itertools.cycle((True,) * WHOLE_STEPS + (False,) * in_turn)


def crops(
    portraits: Portraits, count: int, side: int, rng: np.random.Generator, device: torch.device | str = "cpu"
) -> Tensor:
    """`count` squares of `side` pixels at random places of random portraits, (B,3,side,side) in [-1,1]."""
    height, width = portraits.images.shape[1:3]
    cut = np.stack([
        portraits.images[row, y : y + side, x : x + side]
        for row, y, x in zip(
            rng.integers(len(portraits), size=count), rng.integers(height - side + 1, size=count),
            rng.integers(width - side + 1, size=count), strict=True,
        )
    ])  # fmt: skip
    return torch.from_numpy(cut).to(device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def moved(mean: Tensor, held: AutoencoderKL, image: Tensor) -> Tensor:
    """Mean square distance of posterior means (B,C,h,w) from the held ones, over the held ones' variance."""
    with torch.no_grad():
        wanted = held.encode(image).latent_dist.mean
    return (mean - wanted).square().mean() * held.config.scaling_factor**2


def hold(vae: AutoencoderKL, folder: Path) -> None:
    """Keep a copy in `folder`, for its training to hold on to."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{HELD}.part"
    torch.save({"weights": vae.state_dict(), "scaling_factor": vae.config.scaling_factor}, unfinished)
    os.replace(unfinished, folder / HELD)


def held_autoencoder(folder: Path, size: int, device: torch.device | str = "cpu") -> AutoencoderKL | None:
    """The autoencoder that `hold` kept in `folder`, frozen; None where there is none."""
    if not (folder / HELD).exists():
        return None
    state = torch.load(folder / HELD, weights_only=True, map_location="cpu")
    vae = build(size)
    vae.load_state_dict(state["weights"])
    vae.register_to_config(scaling_factor=state["scaling_factor"])
    return vae.to(device).eval().requires_grad_(False)


def same_latents(one: AutoencoderKL, other: AutoencoderKL) -> bool:
    """Whether two autoencoders of one size encode alike, whatever they decode."""
    pairs = ((one.encoder, other.encoder), (one.quant_conv, other.quant_conv))
    return all(
        torch.equal(a, b) for p, q in pairs for a, b in zip(p.parameters(), q.parameters(), strict=True)
    )


@torch.no_grad()
def set_scaling_factor(vae: AutoencoderKL, portraits: Portraits) -> None:
    """scaling_factor = 1 / std of the latents, so that the diffusion model sees unit variance."""
    z = vae.encode(portraits.batch(np.arange(min(512, len(portraits))), vae.device)).latent_dist.mean
    vae.register_to_config(scaling_factor=float(1 / z.std()))


def keep_scaling_factor(vae: AutoencoderKL, folder: Path) -> None:
    """Note the factor beside the training in `folder`: it then needs no portraits to be known again."""
    note = (trained(folder) or {}) | {"scaling_factor": vae.config.scaling_factor}
    unfinished = folder / f"{NOTE}.part"
    unfinished.write_text(json.dumps(note))
    os.replace(unfinished, folder / NOTE)


def kept_scaling_factor(folder: Path) -> float | None:
    """The factor noted in `folder`; None where there is none, or of a training that has gone on since."""
    if not (folder / NOTE).exists():
        return None
    note = json.loads((folder / NOTE).read_text())
    now = trained(folder)
    return note["scaling_factor"] if now and note["steps"] == now["steps"] else None


def edges(a: Tensor, b: Tensor) -> Tensor:
    """L1 between the horizontal and vertical differences of two images (B,3,H,W)."""
    return F.l1_loss(a.diff(dim=-1), b.diff(dim=-1)) + F.l1_loss(a.diff(dim=-2), b.diff(dim=-2))
