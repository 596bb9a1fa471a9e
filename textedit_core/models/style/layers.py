"""The layers that StyleGAN2 (arXiv 1912.04958), its mapping networks and its encoders are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GAIN = math.sqrt(2)


def scaled_leaky_relu(x: Tensor) -> Tensor:
    """sqrt(2) lrelu_0.2(x), which keeps the variance of a normal input; computed in place, in x."""
    return F.leaky_relu(x.mul_(GAIN), 0.2, inplace=True)


class PixelNorm(nn.Module):
    """x / rms of x over dimension 1, whatever that is: for (B,n,D) codes it is the layers, not the features.

    The published mappers were trained so, by an oversight, and need it.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


class EqualLinear(nn.Module):
    """A linear layer with equalised learning rate: y = x (W lr_mul / sqrt(n_in))^T + b lr_mul."""

    def __init__(
        self, n_in: int, n_out: int, lr_mul: float = 1.0, activated: bool = False, bias_init: float = 0.0
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in))
        self.bias = nn.Parameter(torch.full((n_out,), float(bias_init)))
        nn.init.normal_(self.weight, std=1 / lr_mul)
        self.lr_mul = lr_mul
        self.activated = activated

    def forward(self, x: Tensor) -> Tensor:
        scale = self.lr_mul / math.sqrt(self.weight.shape[1])
        y = F.linear(x, self.weight * scale, self.bias * self.lr_mul)
        return scaled_leaky_relu(y) if self.activated else y


def mapping(dim: int, depth: int, lr_mul: float = 0.01) -> nn.Sequential:
    """PixelNorm and `depth` activated layers: StyleGAN2's mapping network, and StyleCLIP's mappers."""
    layers = [EqualLinear(dim, dim, lr_mul, activated=True) for _ in range(depth)]
    return nn.Sequential(PixelNorm(), *layers)


class Filter(nn.Module):
    """A fixed low-pass filter for images at twice the size: outer product of [1,3,3,1], with sum 4."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("kernel", torch.outer(taps, taps) / 16)

    def blur(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,C,H-1,W-1), every channel filtered with one row of zeros around it."""
        kernel = self.kernel.flip(0, 1).expand(x.shape[1], 1, -1, -1)
        return F.conv2d(x, kernel, padding=1, groups=x.shape[1])

    def upsample(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,C,2H,2W): zeros between the pixels, then the filter."""
        kernel = self.kernel.expand(x.shape[1], 1, -1, -1)
        return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


def channels_last_on_cpu(weight: Tensor) -> Tensor:
    """The weights of a convolution, (C',C,k,k), on a CPU in PyTorch's channels-last memory format.

    Activations take that format over from the weights: about a quarter less time for many rows, no more for
    one.
    """
    on_cpu = weight.device.type == "cpu"
    return weight.contiguous(memory_format=torch.channels_last) if on_cpu else weight


class ModulatedConv(nn.Module):
    """Convolution with weights scale W s per row and, if demodulated, of unit norm per output channel.

    Computed as (x s) * (scale W), times the demodulation factor at the output: equal to the definition to
    rounding, with one convolution for the whole batch and no copy of the weights per row.
    """

    def __init__(
        self, n_in: int, n_out: int, kernel: int, style_dim: int, demodulate: bool = True, up: bool = False
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, n_out, n_in, kernel, kernel))
        nn.init.normal_(self.weight)
        self.modulation = EqualLinear(style_dim, n_in, bias_init=1)
        self.blur = Filter() if up else None
        self.demodulate = demodulate
        self._kept: tuple[tuple[Any, ...], tuple[Tensor, Tensor | None]] | None = None

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """x (B,C,H,W), s (B,C) -> (B,C',H,W), or twice the size. Either may have one row."""
        kernel, power = self.kernel_and_power()
        x = x * s[:, :, None, None]
        if self.blur is None:
            x = F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
        else:
            x = self.blur.blur(F.conv_transpose2d(x, kernel, stride=2))
        if power is not None:
            factor = torch.rsqrt(s.square() @ power + 1e-8)[:, :, None, None]
            x = x * factor if x.requires_grad else x.mul_(factor)  # in place: no large tensor more
        return x

    def kernel_and_power(self) -> tuple[Tensor, Tensor | None]:
        """What depends on the weights alone: the scaled kernel, and its squared norms (C,C') to demodulate.

        Those of frozen weights are kept until the weights are moved or written to; they take as much memory
        again. A write through `.data` goes unnoticed: do not use it.
        """
        weight = self.weight
        if weight.requires_grad or weight.is_inference():
            return self._compute()
        seen = weight._version, weight.data_ptr()
        kept = self._kept
        if kept is None or kept[0] != seen:
            with torch.inference_mode(False):  # what is kept may be needed for a gradient later
                kept = self._kept = seen, self._compute()
        return kept[1]

    def _compute(self) -> tuple[Tensor, Tensor | None]:
        weight = self.weight[0] / math.sqrt(self.weight[0, 0].numel())
        power = weight.square().sum(dim=(2, 3)).T if self.demodulate else None
        return channels_last_on_cpu(weight if self.blur is None else weight.transpose(0, 1)), power

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> ModulatedConv:
        """Every move to another device or type comes through here: what was kept belongs to the old one."""
        self._kept = None
        return super()._apply(fn, recurse)


class ConstantInput(nn.Module):
    """The learned 4x4 tensor that every image starts from."""

    def __init__(self, channels: int):
        super().__init__()
        self.input = nn.Parameter(torch.empty(1, channels, 4, 4))
        nn.init.normal_(self.input)


class NoiseStrength(nn.Module):
    """How much noise a layer adds: one learned number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class Activation(nn.Module):
    """A bias per channel, then the scaled leaky ReLU; computed in place, in x."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return scaled_leaky_relu(x.add_(self.bias.view(1, -1, 1, 1)))


class StyledConv(nn.Module):
    """A modulated 3x3 convolution, noise, bias and activation; `up` doubles the size."""

    def __init__(self, n_in: int, n_out: int, style_dim: int, up: bool = False):
        super().__init__()
        self.conv = ModulatedConv(n_in, n_out, 3, style_dim, up=up)
        self.noise = NoiseStrength()
        self.activate = Activation(n_out)

    def forward(self, x: Tensor, s: Tensor, noise: Tensor) -> Tensor:
        x, drawn = self.conv(x, s), self.noise.weight * noise
        return self.activate(x.add_(drawn) if len(drawn) <= len(x) else x + drawn)


class ToRGB(nn.Module):
    """A modulated 1x1 convolution to RGB, added to the image of the block before at twice its size."""

    def __init__(self, channels: int, style_dim: int, up: bool = False):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.conv = ModulatedConv(channels, 3, 1, style_dim, demodulate=False)
        self.upsample = Filter() if up else None

    def forward(self, x: Tensor, s: Tensor, image: Tensor | None) -> Tensor:
        rgb = self.conv(x, s).contiguous() + self.bias  # images in the usual memory format
        if image is None:
            return rgb
        assert self.upsample is not None  # only the first block, before which there is no image, has none
        return rgb + self.upsample.upsample(image)
