"""Text2LIVE's network: from a picture to a layer over it, a colour and an opacity for every pixel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SKIP = 4
SLOPE = 0.2
# The colours of natural pictures are correlated: this takes three independent values to such colours
# (the square root of ImageNet's colour covariance; Olah et al., "Feature Visualization", 2017).
CORRELATION = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


class LayerNetwork(nn.Module):
    """A U-shaped network (arXiv 2204.02491, after Deep Image Prior, 1711.10925), trained on one picture.

    scales: how often the picture is halved.  channels: of each scale.  It takes (B,3,H,W) in [0,1] of any
    size over 2 ** scales and gives the colour (B,3,H,W) and the opacity (B,1,H,W), both in [0,1]. Batch
    normalisation uses the statistics of what it is given, always.
    """

    def __init__(self, scales: int, channels: int):
        super().__init__()
        widths = [3, *[channels] * scales]
        self.down = nn.ModuleList(
            nn.Sequential(*_conv(before, channels, stride=2), *_conv(channels, channels))
            for before in widths[:-1]
        )
        self.skip = nn.ModuleList(nn.Sequential(*_conv(before, SKIP, side=1)) for before in widths[:-1])
        self.up = nn.ModuleList(
            nn.Sequential(
                _norm(channels + SKIP), *_conv(channels + SKIP, channels), *_conv(channels, channels, side=1)
            )
            for _ in range(scales)
        )
        self.last = nn.Conv2d(channels, 4, 1)
        matrix = torch.tensor(CORRELATION)
        self.register_buffer("correlation", matrix / matrix.norm(dim=0).max())

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        kept, x = [], picture
        for down, skip in zip(self.down, self.skip, strict=True):
            kept.append(skip(x))
            x = down(x)
        for up, beside in zip(reversed(self.up), reversed(kept), strict=True):
            x = F.interpolate(x, beside.shape[-2:], mode="bilinear", align_corners=False)
            x = up(torch.cat([x, beside], dim=1))
        found = self.last(x)
        colour = torch.einsum("ij,bjhw->bihw", self.correlation, found[:, :3])
        return colour.sigmoid(), found[:, 3:].sigmoid()


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, track_running_stats=False)


def _conv(before: int, after: int, side: int = 3, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(before, after, side, stride, side // 2, padding_mode="reflect")
    return [conv, _norm(after), nn.LeakyReLU(SLOPE)]
