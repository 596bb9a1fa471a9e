"""Stable Diffusion's x4 upscaler: a UNet draws a picture at four times the side, under a text.

After `stabilityai/stable-diffusion-x4-upscaler` (of arXiv 2112.10752, section 4.5; the noise that is added to
the small picture is that of cascaded diffusion, arXiv 2106.15282). The UNet sees the noisy latents of the
large picture (4 channels) and the small picture itself (3): its autoencoder divides the side by 4, so that
both have one size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core.models import clip
from textedit_core.models.diffusion.condition import Condition
from textedit_core.models.diffusion.ddim import Schedule, add_noise, ddim_step
from textedit_core.models.diffusion.latent_model import LatentModel
from textedit_core.models.enlarger import bicubic
from textedit_core.models.source import Source
from textedit_core.noise import noise
from textedit_core.steps import Step

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

CHANNELS = 7  # noisy latents 4, the small picture 3
SCALE = 4
WEIGHTS = ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model")


@dataclass(frozen=True, eq=False)
class Upscaler(LatentModel):
    """The parts, frozen. Latents z are float32 (B,4,h,w), the small pictures (B,3,h,w) in [-1,1].

    schedule: of the latents.  low_res: of the noise that is added to the small picture.  fingerprint: says
    which weights these are, for the cache. Raises ValueError for a UNet with other channels, or an
    autoencoder of another scale.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    schedule: Schedule
    low_res: Schedule
    fingerprint: str | None

    def __post_init__(self) -> None:
        if (found := self.unet.config.in_channels) != CHANNELS:
            raise ValueError(f"An upscaler needs a UNet of {CHANNELS} input channels, not {found}.")
        if (found := self.latent_scale) != SCALE:
            raise ValueError(f"An upscaler needs an autoencoder that divides by {SCALE}, not by {found}.")

    @property
    def multiple(self) -> int:
        """What the sides of a small picture must be multiples of."""
        return 2 ** (len(self.unet.config.block_out_channels) - 1)

    def encode_text(self, prompts: Sequence[str]) -> Condition:
        """B prompts -> B rows of tokens. Raises ValueError for a prompt that is too long."""
        tokens = clip.tokenize(self.tokenizer, prompts).to(self.device)
        return Condition(self.text_encoder(tokens).last_hidden_state)

    def noised(self, small: Tensor, eps: Tensor, level: int) -> Tensor:
        """Small pictures (B,3,h,w) with the noise eps of a level, a timestep of `low_res`."""
        return add_noise(self.low_res, small, eps, level)

    def eps(self, z: Tensor, t: int, small: Tensor, level: int, text: Condition) -> Tensor:
        """The noise that the UNet finds in z (B,4,h,w) at timestep t, beside noised small pictures, like z.

        level: of the noise in them, which the UNet is told as its class.  text: B rows, or one for all.
        """
        seen = torch.cat([z, small.to(z).expand(len(z), -1, -1, -1)], dim=1)
        levels = torch.full((len(z),), level, device=z.device, dtype=torch.long)
        return self.predicted(z, t, seen, text, class_labels=levels)

    def guided_eps(
        self, z: Tensor, t: int, small: Tensor, level: int, text: Condition, null: Condition, scale: float
    ) -> Tensor:
        """eps(null) + scale (eps(text) - eps(null)) (arXiv 2207.12598), (B,4,h,w); 1 needs no null rows."""
        if scale == 1:
            return self.eps(z, t, small, level, text)
        both = null.expand(len(z)).cat(text.expand(len(z)))
        pictures = small.expand(len(z), -1, -1, -1).repeat(2, 1, 1, 1)
        eps_null, eps_text = self.eps(z.repeat(2, 1, 1, 1), t, pictures, level, both).chunk(2)
        return eps_null + scale * (eps_text - eps_null)


@torch.no_grad()
def sample(
    model: Upscaler,
    small: Tensor,
    prompt: str,
    noise_small: Tensor,
    z: Tensor,
    *,
    steps: int = 75,
    guidance_scale: float = 9.0,
    noise_level: int = 20,
) -> Iterator[Step[Tensor]]:
    """Small pictures (B,3,h,w) in [-1,1] at four times the side, by DDIM: (B,3,4h,4w), about [-1,1].

    noise_small, z: the noise of the small pictures, and the latents (B,4,h,w) that the run starts from; so it
    equals diffusers' StableDiffusionUpscalePipeline. Its defaults are those here.
    Raises ValueError for sides that are no multiples of `multiple`, and for a prompt that is too long.
    """
    height, width = small.shape[-2:]
    if height % model.multiple or width % model.multiple:
        least = f"multiples of {model.multiple}"
        raise ValueError(f"The upscaler needs sides that are {least}, not {width} x {height}.")
    text, null = model.encode_text([prompt, ""]).split()
    seen = model.noised(small, noise_small, noise_level)
    for done, (t, t_to) in enumerate(model.schedule.transitions(steps), start=1):
        eps = model.guided_eps(z, t, seen, noise_level, text, null, guidance_scale)
        z = ddim_step(model.schedule, z, eps, t, t_to)
        if done < steps:
            yield Step(done, steps)
    yield Step(steps, steps, model.decode(z))


def upscaled(
    model: Upscaler,
    image: Tensor,
    prompt: str,
    *,
    steps: int = 75,
    guidance_scale: float = 9.0,
    noise_level: int = 20,
    seed: int = 0,
) -> Iterator[Step[Tensor]]:
    """`sample` of one picture (1,3,h,w) of any size with the noise of a seed: (1,3,4h,4w) in [-1,1].

    Sides that are no multiples of `multiple` are mirrored at the right and below, and cut off again.
    noise_level 0 says that the small picture is exact: then the large one is made to agree with it, see
    `agreeing`, which diffusers' pipeline does not do.
    """
    height, width = image.shape[-2:]
    small, down, across = image.to(model.device), -height % model.multiple, -width % model.multiple
    if down or across:
        small = F.pad(small, (0, across, 0, down), mode="reflect")
    both = noise((1, CHANNELS, *small.shape[-2:]), seed, device=model.device)
    for step in sample(
        model,
        small,
        prompt,
        both[:, 4:],
        both[:, :4],
        steps=steps,
        guidance_scale=guidance_scale,
        noise_level=noise_level,
    ):
        if step.value is None:
            yield step
        else:
            large = step.value[..., : SCALE * height, : SCALE * width].clamp(-1, 1)
            if noise_level == 0:
                large = agreeing(large, image.to(large))
            yield Step(step.done, step.total, large)


def agreeing(large: Tensor, small: Tensor) -> Tensor:
    """A picture (B,3,4h,4w) moved so that it shows `small` (B,3,h,w) again when it is made small, in [-1,1].

    One step of back-projection (Irani and Peleg, Improving resolution by image registration, 1991): what the
    means of SCALE x SCALE pixels lack is enlarged by bicubic and added. Edges and texture stay; colours that
    the diffusion model has moved come back.
    """
    return (large + bicubic(small - F.avg_pool2d(large, SCALE), SCALE)).clamp(-1, 1)


def load(source: Source, device: torch.device, dtype: torch.dtype, beside: Source | None = None) -> Upscaler:
    """The upscaler of a folder or a hub repository laid out as diffusers has it.

    beside: a text-to-image model, whose tokenizer, text encoder and autoencoder serve where `source` names no
    weights of its own for them.
    Raises ValueError, one sentence, where it is missing, incomplete, not reachable or no upscaler.
    """
    config = source.json("unet/config.json")
    if config.get("in_channels") != CHANNELS:
        raise ValueError(f"{source.repo}: its UNet has not the {CHANNELS} input channels of an upscaler.")
    schedule = Schedule.from_config(source.json("scheduler/scheduler_config.json"))
    low_res = Schedule.from_config(source.json("low_res_scheduler/scheduler_config.json"))

    # These take seconds to import: what is wrong with the model is said before.
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    def of(part: str) -> Source:
        own = any(name.startswith(f"{part}/") for name in source.weights)
        return source if own or beside is None else beside

    texts, images = of("text_encoder"), of("vae")
    files = dict.fromkeys(one.fingerprint() for one in (source, texts, images))
    overflows = dtype is torch.float16 and images.json("vae/config.json").get("force_upcast", True)
    return Upscaler(
        unet=source.network(UNet2DConditionModel, "unet", dtype).to(device),
        vae=images.network(AutoencoderKL, "vae", torch.float32 if overflows else dtype).to(device),
        text_encoder=texts.network(CLIPTextModel, "text_encoder", dtype).to(device),
        tokenizer=texts.tokenizer("tokenizer"),
        schedule=schedule,
        low_res=low_res,
        fingerprint=f"{'-'.join(files)}-{dtype}",
    )
