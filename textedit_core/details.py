"""Details from the source: what an edit left alone comes back from the person's own picture, at its own size.

The models work at 64 or 512 pixels; a photograph has 3,000, and most edits leave most of it as it is. With
`edit` the result, `rec` what the same models make of the source unedited, E the enlargement to the source's
size, M, from 0 to 1, how surely a place was left alone, and T the change of tone there (`tone`):

    result = (1 - keep M) E(edit) + keep M (source + s(E(edit) - E(rec) - T))

s takes FAINT off a difference, to 0 at most. Where nothing changed that is the source itself, where
everything did it is E(edit), and a small change, such as that of an eyebrow, is added to the source's
details. What an edit does to the tone of all that it leaves alone, as Imagic does, is left out; of an edit
that changes no place for sure it is the edit, and T and FAINT are 0. M is found from `edit` and `rec` alone,
so no mask is asked for. No part of the published methods: keep = 0 gives `edit` back.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from textedit_core.images import Fit
from textedit_core.masks import Box, crop

Enlarge = Callable[[Tensor], Tensor]  # (B,3,h,w) -> (B,3,s h,s w), both in [-1,1]

# Found on 16 toon edits by Direct inversion and by Imagic, of scenes neither trained on nor held out, at 256
# pixels: dB to the true answer over all, dB outside of the change, asked, others kept. Without details 19.9,
# 23.4, .69, .89 and 20.0, 22.9, .81, .81; with the whole difference added, tone and all, 20.6, 25.0, .69, .91
# and 20.7, 24.7, .75, .85; as here 22.3, 29.2, .69, .95 and 22.3, 31.2, .75, .90; with none of it, the source
# itself where M is 1, 23.2, 41.9, .62, .94 and 22.8, 41.7, .50, .91: what is asked for is often small.
RAMP = 0.3, 0.6  # difference up to which a place counts as left alone, and from which it counts as changed
RIM = 1  # pixels of the models' picture by which a change is widened: a change is soft at its edge
FAINT = 0.05  # taken off the differences that are added to the source
TONE_SIDE, TONE_RADIUS, TONE_NOISE = 64, 8, 0.02  # pixels that `tone` is found at, its window, its epsilon
FEATHER = 32  # a crop is blended into the rest of the picture over this part of its side


def difference(edit: Tensor, rec: Tensor) -> Tensor:
    """How far an edit (B,3,h,w) is from the unedited picture `rec` (1 or B rows), (B,1,h,w) from 0 to 2.

    The largest difference of the three channels in [-1,1], its mean over 3 x 3 pixels.
    """
    return _mean((edit - rec).abs().amax(dim=1, keepdim=True))


def kept(edit: Tensor, rec: Tensor) -> Tensor:
    """M (B,1,h,w): 1 where an edit (B,3,h,w) left the unedited picture alone, 0 where it changed it.

    M falls from 1 to 0 over the differences of RAMP. A change is widened by RIM pixels and softened over
    3 x 3. Raises ValueError for pictures of different sizes.
    """
    if edit.shape[-2:] != rec.shape[-2:]:
        raise ValueError(
            f"Details: the edit is {tuple(edit.shape[-2:])} pixels and the unedited picture "
            f"{tuple(rec.shape[-2:])}; both must be the models' own size."
        )
    changed = ((difference(edit, rec) - RAMP[0]) / (RAMP[1] - RAMP[0])).clamp(0, 1)
    return _mean(1 - F.max_pool2d(changed, 2 * RIM + 1, stride=1, padding=RIM))


def tone(edit: Tensor, rec: Tensor, mask: Tensor) -> Tensor:
    """T (B,3,h,w): how the tone of what an edit (B,3,h,w) left alone differs from `rec` (1 or B rows).

    mask: M of `kept`. Around each pixel edit - rec is fitted by a line in rec, a channel at a time and
    weighted by M: the guided filter (He, Sun and Tang, ECCV 2010), at most TONE_SIDE pixels wide, as its
    authors' fast one (arXiv 1505.00996). It follows the areas of a picture; a small change hardly moves it.
    """
    height, width = edit.shape[-2:]
    shrunk = min(1.0, TONE_SIDE / max(height, width))
    size = max(1, round(height * shrunk)), max(1, round(width * shrunk))
    guide, change, weight = (F.interpolate(one, size, mode="area") for one in (rec, edit - rec, mask))
    total = _window(weight).clamp(min=1e-4)
    of_guide, of_change = _window(guide * weight) / total, _window(change * weight) / total
    covariance = _window(guide * change * weight) / total - of_guide * of_change
    slope = covariance / (_window(guide.square() * weight) / total - of_guide.square() + TONE_NOISE)
    offset = of_change - slope * of_guide
    count = _window(torch.ones_like(weight))
    slope, offset = (_stretched(_window(one) / count, (height, width)) for one in (slope, offset))
    return slope * rec + offset


def with_details(
    edit: Tensor,
    rec: Tensor,
    source: Tensor,
    *,
    keep: float = 1.0,
    box: Box | None = None,
    enlarge: Enlarge | None = None,
    drawn: Tensor | None = None,
) -> Tensor:
    """The edit (B,3,h,w) at the size of `source` (1,3,H,W), with its details: (B,3,H,W) in [-1,1].

    rec: what the models make of the source unedited, (1 or B,3,h,w).
    keep: 0 to 1; at 0 the edit itself is returned, at its own size.
    box: the part of the source that the models saw, see `box_of`; the whole of it unless given. It may reach
    beyond the source, where padding was added. The rest of the source stays as it is, and the part is blended
    into it over 1/FEATHER of its side.
    enlarge: what makes pictures larger first, such as `Enlarger.enlarge`; the rest is done by Lanczos.
    drawn: the edit at another size, drawn anew (`upscaler`), in place of E(edit).
    """
    if not 0 <= keep <= 1:
        raise ValueError(f"Keep details: {keep} is not between 0 and 1.")
    if keep == 0:
        return edit
    height, width = source.shape[-2:]
    left, top, right, bottom = box or (0, 0, width, height)
    size = bottom - top, right - left
    mask = kept(edit, rec)
    large = resized(edit, size, enlarge)
    change = _small_change(edit, rec, mask, large - resized(rec, size, enlarge))
    alone = keep * _stretched(mask, size)
    if drawn is not None:
        large = resized(drawn.to(edit), size)
    seen = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    inside = seen[0] - left, seen[1] - top, seen[2] - left, seen[3] - top
    part = torch.lerp(crop(large, inside), crop(source, seen) + crop(change, inside), crop(alone, inside))
    result = source.expand(len(part), -1, -1, -1).clone()
    crop(result, seen).lerp_(part, feather(seen, width, height).to(part))
    return result.clamp_(-1, 1)


def box_of(
    width: int,
    height: int,
    fit: Fit = "crop",
    within: Box | None = None,
    shape: tuple[int, int] = (1, 1),
) -> Box:
    """The part of a picture of width x height pixels that `square_tensor` gives the models, to the pixel.

    "crop": the largest centred square.  "pad": the smallest centred square around the picture, which reaches
    beyond it.  "native": the largest centred box of the aspect of `shape`, the (height, width) worked at.
    within: a box that the person has cut out first.
    """
    left, top, right, bottom = within or (0, 0, width, height)
    across, down = right - left, bottom - top
    if fit == "native":
        box = min(across, round(down * shape[1] / shape[0])), min(down, round(across * shape[0] / shape[1]))
        x, y = left + (across - box[0]) // 2, top + (down - box[1]) // 2
        return x, y, x + box[0], y + box[1]
    side = min(across, down) if fit == "crop" else max(across, down)
    x, y = left + (across - side) // 2, top + (down - side) // 2
    return x, y, x + side, y + side


def resized(picture: Tensor, size: tuple[int, int], enlarge: Enlarge | None = None) -> Tensor:
    """(B,3,h,w) in [-1,1] -> (B,3,*size) in [-1,1], by Lanczos; `enlarge` is used first where it helps."""
    if enlarge is not None and max(size) > max(picture.shape[-2:]):
        picture = enlarge(picture)
    if tuple(picture.shape[-2:]) == size:
        return picture.clamp(-1, 1)
    planes = picture.detach().float().cpu().numpy()
    scaled = np.stack([
        [np.asarray(Image.fromarray(plane).resize(size[::-1], Image.Resampling.LANCZOS)) for plane in one]
        for one in planes
    ])  # fmt: skip
    return torch.from_numpy(scaled).to(picture).clamp(-1, 1)


def feather(box: Box, width: int, height: int) -> Tensor:
    """How much of a box to take, (1,1,h,w): 1 inside, falling to 0 at those of its sides that lie within a
    picture of width x height; along the picture's own rim it stays 1."""
    left, top, right, bottom = box
    reach = max(1, min(right - left, bottom - top) // FEATHER)
    across = _rise(right - left, reach, left > 0, right < width)
    down = _rise(bottom - top, reach, top > 0, bottom < height)
    return torch.minimum(across[None], down[:, None])[None, None]


def _rise(length: int, reach: int, first: bool, last: bool) -> Tensor:
    """(length,): from near 0 to 1 over `reach` pixels at the first end, the last one, both or neither."""
    place = torch.arange(length, dtype=torch.float32) + 0.5
    weight = torch.ones(length)
    if first:
        weight = torch.minimum(weight, place / reach)
    if last:
        weight = torch.minimum(weight, place.flip(0) / reach)
    return weight


def _small_change(edit: Tensor, rec: Tensor, mask: Tensor, change: Tensor) -> Tensor:
    """s(change - T) (B,3,H,W): of `change`, E(edit) - E(rec), what is added to the source."""
    # An edit that changes no place for sure is all tone: then that is what was asked for.
    sure = 1 - mask.amin(dim=(1, 2, 3), keepdim=True)
    rest = change - sure * _stretched(tone(edit, rec, mask), (change.shape[2], change.shape[3]))
    return rest.sign() * (rest.abs() - sure * FAINT).clamp(min=0)


def _stretched(plane: Tensor, size: tuple[int, int]) -> Tensor:
    """(B,C,h,w) -> (B,C,*size), bilinear."""
    return F.interpolate(plane, size, mode="bilinear", align_corners=False)


def _window(plane: Tensor) -> Tensor:
    """The mean over a window of TONE_RADIUS to each side, zero beyond the picture."""
    return F.avg_pool2d(plane, 2 * TONE_RADIUS + 1, stride=1, padding=TONE_RADIUS)


def _mean(plane: Tensor) -> Tensor:
    """The mean over 3 x 3 pixels, of those that there are."""
    return F.avg_pool2d(plane, 3, stride=1, padding=1, count_include_pad=False)
