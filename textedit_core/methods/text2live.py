"""Text2LIVE (arXiv 2204.02491): a layer over the picture, learned for one text by CLIP alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core.batch import spread
from textedit_core.building import building
from textedit_core.knobs import Knob, Seed, batches, takes_any_size
from textedit_core.models.clip import Clip, token_count
from textedit_core.models.clip_views import recoloured
from textedit_core.models.clip_views import views as views_of
from textedit_core.models.clip_vision import pixels_of_whole, relevance_map, self_similarity, tokens
from textedit_core.models.layer_network import LayerNetwork
from textedit_core.models.style.models import tensor_digest
from textedit_core.steps import Step

# Sentences around a text, {}; each step draws some of them.
TEMPLATES = (
    "{}.", "photo of {}.", "a photo of {}.", "an image of {}.", "a picture of {}.", "a good photo of {}.",
    "a close-up of {}.", "a detailed photo of {}.", "high quality photo of {}.", "image of {}.", "the {}.",
    "a {}.", "here is {}.", "this is {}.",
)  # fmt: skip
SCREENS = ("{} over a green screen.", "{} in front of a green screen.")
GREEN = (0.0, 177 / 255, 64 / 255)
DRAWN = 4  # templates a step
COVER, SCALE, TINTED, TINT = (0.85, 1.0), (0.8, 1.2), 0.1, 0.1  # of the crop that a step sees
WHOLE_EVERY = 75
DECAY, LOWEST_RATE = 0.99, 1e-5

LayerText = Annotated[str, Knob(label="Layer text", help="of the layer alone; empty: the prompt")]
RegionText = Annotated[
    str, Knob(label="Region text", help="what the layer begins on; empty: the source prompt")
]
Rate = Annotated[float, Knob(1e-5, 0.1, 1e-4, label="Learning rate", help="of Adam; it falls by 1 % a step")]
Composition = Annotated[
    float, Knob(0, 100, 0.5, label="Composition weight", help="larger: the result follows the prompt more")
]
Screen = Annotated[
    float, Knob(0, 100, 0.5, label="Screen weight", help="larger: the layer alone shows the text more")
]
Structure = Annotated[
    float, Knob(0, 100, 0.5, label="Structure weight", help="larger: shapes stay more as they were")
]
Sparsity = Annotated[
    float, Knob(0, 100, 0.5, label="Sparsity weight", help="larger: the layer covers less of the picture")
]
Bootstrap = Annotated[
    float,
    Knob(0, 100, 0.5, label="Bootstrap weight", help="holds the layer to the region; falls to 0 in the run"),
]
Views = Annotated[
    int, Knob(0, 64, 1, label="Views", help="random views that CLIP scores; 0: the whole picture")
]
Side = Annotated[
    int,
    Knob(32, 2048, 8, label="Layer side", help="longest side of the layer, enlarged for a larger picture"),
]
Early = Annotated[
    int, Knob(0, 5000, 1, label="Stop after", help="this many of the steps, which stay planned; 0: all")
]
Opacity = Annotated[float, Knob(0, 1, 0.05, label="Strength", help="of the layer: 0 is the source itself")]


@dataclass(frozen=True, eq=False)
class Layer:
    """What Text2LIVE learns about one picture and one text.

    colour: (1,3,h,w) in [-1,1].  opacity: (1,1,h,w) from 0 to 1.  source: (1,3,H,W), the picture, whose size
    h, w are unless it is large.  losses: of every step.
    """

    colour: Tensor
    opacity: Tensor
    source: Tensor
    losses: tuple[float, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of all that an edit depends on."""
        return tensor_digest(self.colour, self.opacity, self.source)

    def over_green(self) -> Tensor:
        """The layer by itself over a green screen, (1,3,h,w) in [-1,1]."""
        return 2 * _over(self.colour / 2 + 0.5, self.opacity, _green(self.colour)) - 1

    def composed(self, strength: float = 1.0) -> Tensor:
        """The layer over the picture, (1,3,H,W) in [-1,1]; 0 is the picture itself."""
        colour, opacity = (_resized(one, self.source.shape[-2:]) for one in (self.colour, self.opacity))
        return self.source + strength * opacity * (colour - self.source)

    def composed_small(self) -> Tensor:
        """The layer over the picture at the layer's size, (1,3,h,w) in [-1,1]."""
        return _over(self.colour, self.opacity, _at_most(self.source, max(self.colour.shape[-2:])))


@torch.no_grad()
def fit(
    clip: Clip,
    image: Tensor,
    source_prompt: str,
    prompt: str,
    *,
    layer_text: LayerText = "",
    region_text: RegionText = "",
    steps: Annotated[int, Knob(1, 5000, 10, label="Steps", help="the paper takes 1000")] = 1000,
    lr: Rate = 2.5e-3,
    composition_weight: Composition = 1.0,
    screen_weight: Screen = 1.0,
    structure_weight: Structure = 2.0,
    sparsity_weight: Sparsity = 6.0,
    bootstrap_weight: Bootstrap = 10.0,
    views: Views = 16,
    scales: Annotated[
        int, Knob(2, 8, 1, label="Scales", help="how often the network halves the picture")
    ] = 7,
    channels: Annotated[int, Knob(8, 256, 8, label="Channels", help="of the network, at each scale")] = 128,
    layer_side: Side = 512,
    stop_after: Early = 0,
    seed: Seed = 0,
) -> Iterator[Step[Layer]]:
    """Learn a layer over a picture (1,3,H,W) in [-1,1]; the defaults are those of the published program.

    A network is trained on this one picture to give each pixel a colour and an opacity, so that CLIP sees the
    prompt in the picture under the layer and the layer's text in the layer over green, while the tokens'
    self-similarity stays, the opacity is small, and begins where CLIP sees the region's text (section 3).
    Every step sees a random crop. Adam with the published rates stands in for MADGRAD.

    Any step's value may be used; `stop_after` ends the run there, and its layer is that step's to the byte.
    Deterministic by the seed on one device; CLIP stays as it is. Raises ValueError for an empty or too long
    text and for a picture too small for the network's scales.
    """
    texts = _checked(image, source_prompt, prompt, layer_text, region_text)
    weights = composition_weight, screen_weight, structure_weight, sparsity_weight
    task = _Task(clip, *texts, weights, views)
    device, draw = clip.model.device, torch.Generator().manual_seed(seed)
    source = image.float().to(device)
    whole = _at_most(source, layer_side) / 2 + 0.5
    _check_size(whole, scales)
    region = relevance_map(clip, whole * 2 - 1, texts[3])
    with building(seed):
        network = LayerNetwork(scales, channels).to(device)
    adam = torch.optim.Adam(network.parameters(), lr=lr)
    losses: list[float] = []
    last = min(stop_after or steps, steps)
    for done in range(1, last + 1):
        seen = [_crop(whole, region, draw)]
        if done % WHOLE_EVERY == 0:
            seen.append((whole, region))
        adam.param_groups[0]["lr"] = max(lr * DECAY ** (done - 1), LOWEST_RATE)
        bootstrap = bootstrap_weight * (1 - (done - 1) / steps)
        with torch.enable_grad():
            loss = torch.stack([task.loss(network, *one, bootstrap, draw) for one in seen]).sum()
            gradients = torch.autograd.grad(loss, list(network.parameters()))
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter.grad = gradient
        adam.step()
        losses.append(loss.item())
        colour, opacity = network(whole)
        yield Step(done, last, Layer(colour * 2 - 1, opacity, source, tuple(losses)), losses[-1])


@takes_any_size  # the layer has the picture's own size
@batches("strength")
@torch.no_grad()
def edit(fitted: Layer, *, strength: Opacity = 1.0) -> Iterator[Step[Tensor]]:
    """The layer over the picture -> (B,3,H,W); strength 0 is the picture, and may be a list of B."""
    (strengths,) = spread(strength=strength)
    yield Step(1, 1, torch.cat([fitted.composed(one) for one in strengths]))


@dataclass(frozen=True, eq=False)
class _Task:
    """The losses of one picture and its texts.

    weights: of composition, screen, structure and sparsity.  views: how many random views CLIP scores.
    """

    clip: Clip
    source: str
    prompt: str
    layer: str
    region: str
    weights: tuple[float, float, float, float]
    views: int

    def loss(
        self, network: LayerNetwork, picture: Tensor, region: Tensor, bootstrap: float, draw: torch.Generator
    ) -> Tensor:
        """The sum of the losses on a picture (1,3,h,w) in [0,1] and its region (1,1,h,w), a scalar."""
        composition, screen, structure, sparsity = self.weights
        colour, opacity = network(picture)
        result = _over(colour, opacity, picture)
        green = _over(colour, opacity, _green(picture))
        seen = views_of(torch.cat([result, green, picture]), self.views, self.clip.size, draw)
        after, screened = self._features(seen[:2])
        with torch.no_grad():
            (before,) = self._features(seen[2:])
        drawn = torch.randperm(len(self._sentences[0]), generator=draw)[:DRAWN].tolist()
        wanted, said = self._sentences[0][drawn], self._sentences[0][drawn] - self._sentences[1][drawn]
        total = composition * (_distance(after, wanted) + _turned(after - before, said))
        total = total + screen * _distance(screened, self._screens)
        total = total + structure * self._structure(result, picture)
        covered = opacity.mean() + (2 * (5 * opacity).sigmoid() - 1).mean()
        return total + sparsity * 0.01 * covered + bootstrap * F.mse_loss(opacity, region)

    def _features(self, seen: Tensor) -> Tensor:
        """CLIP's features (B,V,D) of views (B,V,3,h,w) in [0,1]."""
        return self.clip.image_features(seen.flatten(0, 1) * 2 - 1).unflatten(0, seen.shape[:2])

    def _structure(self, result: Tensor, picture: Tensor) -> Tensor:
        """How much the self-similarity of CLIP's tokens changed: the mean square of the difference."""
        pixels = pixels_of_whole(self.clip, torch.cat([result, picture.detach()]) * 2 - 1)
        after, before = self_similarity(tokens(self.clip, pixels))
        return F.mse_loss(after, before.detach())

    @cached_property
    def _sentences(self) -> tuple[Tensor, Tensor]:
        """The features of prompt and source prompt in every template that both fit in, (T,D) each."""
        wanted, before = _filled(self.clip, TEMPLATES, self.prompt, self.source)
        return wanted, before

    @cached_property
    def _screens(self) -> Tensor:
        (found,) = _filled(self.clip, SCREENS, self.layer)
        return found


@torch.no_grad()
def _filled(clip: Clip, templates: tuple[str, ...], *texts: str) -> list[Tensor]:
    """The features (T,D) of each text in the templates in which none is too long; bare where there is none.

    Raises ValueError for a text that is too long by itself.
    """
    limit = clip.tokenizer.model_max_length - 2
    filled = [[one.replace("{}", text) for text in texts] for one in templates]
    fitting = [one for one in filled if all(token_count(clip.tokenizer, text) <= limit for text in one)]
    return [clip.text_features(list(column)) for column in zip(*(fitting or [list(texts)]), strict=True)]


def _distance(seen: Tensor, wanted: Tensor) -> Tensor:
    """The mean over unit vectors (V,D) and (T,D) of the squared angle's half: 2 arcsin(|x - y| / 2)^2."""
    apart = (seen[:, None] - wanted[None]).square().sum(dim=-1).clamp(min=1e-12).sqrt()
    return (2 * (apart / 2).clamp(max=1).arcsin().square()).mean()


def _turned(seen: Tensor, said: Tensor) -> Tensor:
    """1 - cosine of the pictures' change (V,D) and that of the mean sentence (T,D), its mean over V."""
    direction = F.normalize(said.mean(dim=0, keepdim=True), dim=-1, eps=1e-6)
    return (1 - F.normalize(seen, dim=-1, eps=1e-6) @ direction.T).mean()


def _over(colour: Tensor, opacity: Tensor, below: Tensor) -> Tensor:
    return below + opacity * (colour - below)


def _green(like: Tensor) -> Tensor:
    """The green screen (1,3,h,w) in [0,1], as large as a picture."""
    return torch.tensor(GREEN).to(like).view(1, 3, 1, 1).expand(1, 3, *like.shape[-2:])


def _at_most(picture: Tensor, side: int) -> Tensor:
    """A picture (1,3,H,W), made smaller where its longer side is more than `side`."""
    height, width = picture.shape[-2:]
    scale = side / max(height, width)
    if scale >= 1:
        return picture
    shape = (round(height * scale), round(width * scale))
    return F.interpolate(picture, shape, mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)


def _resized(picture: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    if picture.shape[-2:] == torch.Size(size):
        return picture
    return F.interpolate(picture, tuple(size), mode="bilinear", align_corners=False)


def _crop(whole: Tensor, region: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random crop of a picture in [0,1] and of its region, at another scale, mirrored half the time."""
    low, high, scale, left, top, flip, tinted, *tints = torch.rand(10, generator=draw).tolist()
    shape = whole.shape[-2:]
    sides = [round(side * (COVER[0] + (COVER[1] - COVER[0]) * share))
             for side, share in zip(shape, (low, high), strict=True)]  # fmt: skip
    y, x = round((shape[0] - sides[0]) * top), round((shape[1] - sides[1]) * left)
    both = torch.cat([whole, region], dim=1)[..., y : y + sides[0], x : x + sides[1]]
    factor = SCALE[0] + (SCALE[1] - SCALE[0]) * scale
    both = _resized(both, (round(sides[0] * factor), round(sides[1] * factor)))
    if flip < 0.5:
        both = both.flip(-1)
    picture, region = both[:, :3], both[:, 3:]
    if tinted < TINTED:
        brightness, contrast, saturation = (1 + TINT * (2 * one - 1) for one in tints)
        picture = recoloured(picture, brightness, contrast, saturation)
    return picture, region


def _checked(image: Tensor, source: str, prompt: str, layer: str, region: str) -> tuple[str, str, str, str]:
    """The four texts: of the source, the result, the layer and the region. ValueError for what cannot be."""
    if not source.strip():
        raise ValueError("The source prompt is empty: Text2LIVE needs to know what the picture shows now.")
    if not prompt.strip():
        raise ValueError("The prompt is empty: say what the picture is to show.")
    if len(image) != 1:
        raise ValueError(f"Text2LIVE learns one picture at a time, not {len(image)}.")
    return source, prompt, layer.strip() or prompt, region.strip() or source


def _check_size(picture: Tensor, scales: int) -> None:
    """ValueError for a picture whose crops are too small to be halved so often."""
    short = min(picture.shape[-2:])
    if int(short * COVER[0] * SCALE[0]) <= 2**scales:
        needed = int((2**scales + 1) / (COVER[0] * SCALE[0])) + 1
        raise ValueError(
            f"The picture's shorter side is {short} px, and a network of {scales} scales needs {needed}: "
            "use a larger picture or fewer scales."
        )
