"""Training a StyleCLIP mapper (arXiv 2103.17249, section 5): codes by seed, Ranger, three losses."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textedit_core.models.clip import Clip
from textedit_core.models.style.clip_input import augmented, features
from textedit_core.models.style.mapper import LEVELS, LevelsMapper, SingleMapper, StyleSpaceMapper
from textedit_core.models.style.models import FaceIdentity, StyleGenerator, StyleMapper
from textedit_core.models.style.ranger import Ranger
from textedit_core.noise import noise
from textedit_core.steps import Step

KINDS = ("levels", "single", "s")


@torch.no_grad()
def train(
    generator: StyleGenerator,
    clip: Clip,
    identity: FaceIdentity | None,
    prompt: str,
    *,
    steps: int = 50_000,
    lr: float = 0.5,
    batch_size: int = 2,
    clip_lambda: float = 1.0,
    id_lambda: float = 0.1,
    l2_lambda: float = 0.8,
    kind: str = "levels",
    levels: tuple[str, ...] = tuple(LEVELS),
    strength: float = 0.1,
    truncation: float = 1.0,
    clip_preprocess: str = "upstream",
    views: int = 0,
    seed: int = 0,
    start: StyleMapper | None = None,
) -> Iterator[Step[StyleMapper]]:
    """Train M on w -> w + strength M(w) for random w; the defaults are those of the published mappers.

    The loss is clip_lambda (1 - cos of image and prompt in CLIP) + id_lambda (1 - cos of the identities)
    + l2_lambda mean((w' - w)^2), in StyleSpace the sum of that over the layers.
    kind: "levels" has a network for each of `levels`, "single" one for all rows of W+, "s" one for each
    layer's S code.  views: CLIP sees so many chance views of each image (`clip_input.augmented`), and its
    loss is their mean; 0 shows it the images themselves.  start: an earlier value under the same settings;
    training goes on as if never stopped.

    Step k trains on the seeds k B, k B + 1, ... of noise for `batch_size` B, shifted by `seed`. The value of
    an unfinished step is a live view, valid until the next step is drawn; its `network` is a copy.
    The models stay as they are. Raises ValueError for an empty or too long prompt, for an unknown kind or
    level, and where there is an identity weight but no identity network.
    """
    if not prompt.strip():
        raise ValueError("The target text is empty: say what the images are to become.")
    if id_lambda and identity is None:
        raise ValueError("Identity weight: these models have no identity network; set it to 0.")
    network = new_mapper(generator, kind, levels, seed)
    ranger = Ranger(network.parameters(), lr=lr)
    losses: list[float] = []
    if start is not None:
        _resume(network, ranger, start)
        losses.extend(start.losses)
    begun = 0 if start is None else start.steps
    if begun >= steps:
        yield Step(1, 1, start or StyleMapper(network.state_dict(), prompt))
    text = clip.text_features([prompt])
    settings = clip_lambda, id_lambda, l2_lambda, strength, clip_preprocess, views
    loss_of = partial(_loss, generator, clip, identity, network, text, settings)
    for step in range(begun, steps):
        seeds = [(seed + step * batch_size + row) % 2**31 for row in range(batch_size)]
        z = noise((1, generator.style_dim), seeds, device=generator.device, dtype=generator.dtype)
        w = generator.network.truncate(generator.network.map(z), truncation, generator.latent_avg)
        losses.append(_descend(network, ranger, partial(loss_of, generator.network.widen(w), seeds[0])))
        state = _state(network, ranger)
        yield Step(
            step + 1,
            steps,
            StyleMapper(network.state_dict(), prompt, step + 1, tuple(losses), state),
            losses[-1],
        )


def new_mapper(generator: StyleGenerator, kind: str, levels: tuple[str, ...], seed: int) -> nn.Module:
    """An untrained mapper for a generator. Raises ValueError for an unknown kind or level."""
    if kind not in KINDS:
        raise ValueError(f"Kind: {kind!r} is none of {', '.join(KINDS)}.")
    widths = {k: layer.channels for k, layer in enumerate(generator.layers) if not layer.is_rgb}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "levels":
            network = LevelsMapper(levels, generator.style_dim)
        else:
            network = SingleMapper(generator.style_dim) if kind == "single" else StyleSpaceMapper(widths)
    return network.to(generator.device, generator.dtype)


@torch.enable_grad()
def _descend(network: nn.Module, ranger: Ranger, loss_of: partial) -> float:
    """One step of the optimiser; the loss before it."""
    loss = loss_of()
    # A generator of less than 64 pixels has no fine layers.
    gradients = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        parameter.grad = gradient
    ranger.step()
    return loss.item()


def _loss(
    generator: StyleGenerator,
    clip: Clip,
    identity: FaceIdentity | None,
    network: nn.Module,
    text: Tensor,
    settings: tuple,
    w_plus: Tensor,
    seed: int,
) -> Tensor:
    """The weighted sum of the three losses over a batch of codes (B,n,D), its views by `seed`."""
    clip_lambda, id_lambda, l2_lambda, strength, clip_preprocess, views = settings
    with torch.no_grad():
        before = generator.styles(w_plus)
        source = generator.render(before) if id_lambda else None
    if isinstance(network, StyleSpaceMapper):
        after = [s + strength * change for s, change in zip(before, network(before), strict=True)]
        l2 = sum(F.mse_loss(new, old) for new, old in zip(after, before, strict=True))
    else:
        moved = w_plus + strength * network(w_plus)
        after, l2 = generator.styles(moved), F.mse_loss(moved, w_plus)
    image = generator.render(after)
    towards = features(clip, augmented(image, views, seed), clip_preprocess) @ text.T
    loss = clip_lambda * (1 - towards).mean() + l2_lambda * l2
    if id_lambda:
        loss = loss + id_lambda * (1 - identity.similarity(image, source)).mean()
    return loss


def _state(network: nn.Module, ranger: Ranger) -> dict[str, Tensor]:
    """What the optimiser knows of each weight, by "WEIGHT/step", "/m", "/v" and "/slow"."""
    return {
        f"{name}/{key}": value if isinstance(value, Tensor) else torch.tensor(value)
        for name, parameter in network.named_parameters()
        for key, value in ranger.state[parameter].items()
    }


def _resume(network: nn.Module, ranger: Ranger, start: StyleMapper) -> None:
    """Copy the weights and the optimiser's state of `start`, which stays as it is."""
    own = network.state_dict()
    if {name: w.shape for name, w in own.items()} != {name: w.shape for name, w in start.weights.items()}:
        raise ValueError("The mapper to go on from is of another kind, or for another generator: start anew.")
    if start.steps and not start.optimizer:
        raise ValueError("The mapper to go on from has no state of its optimiser: start anew.")
    network.load_state_dict(start.weights)
    for name, parameter in network.named_parameters():
        known = {key: start.optimizer.get(f"{name}/{key}") for key in ("step", "m", "v", "slow")}
        if known["step"] is not None:
            step = int(known.pop("step"))
            ranger.state[parameter] = {"step": step} | {
                key: t.clone().to(parameter) for key, t in known.items()
            }
