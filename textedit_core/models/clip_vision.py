"""What lies inside CLIP's vision tower: its tokens, and which of them speak for a text."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core.models.clip import Clip


def pixels_of_whole(clip: Clip, image: Tensor) -> Tensor:
    """(B,3,H,W) in [-1,1] -> CLIP's input of the whole picture, squashed to a square where it is none."""
    if image.shape[-1] != image.shape[-2]:
        square = (clip.size, clip.size)
        image = F.interpolate(image, square, mode="bicubic", antialias=True, align_corners=False)
    return clip.pixels(image)


def tokens(clip: Clip, pixels: Tensor) -> Tensor:
    """CLIP's input (B,3,size,size) -> (B,1+N,D), the input of the last block, the class token first."""
    output = clip.model.vision_model(pixel_values=pixels, output_hidden_states=True)
    return output.hidden_states[-2]


def self_similarity(found: Tensor) -> Tensor:
    """Tokens (B,N,D) -> (B,N,N), the cosines between all tokens of each picture."""
    unit = F.normalize(found.float(), dim=-1)
    return unit @ unit.transpose(1, 2)


@torch.enable_grad()
def relevance_map(clip: Clip, image: Tensor, text: str) -> Tensor:
    """Where CLIP sees a text in a picture (1,3,H,W) in [-1,1] -> (1,1,H,W) from 0 to 1.

    Gradient times attention of the last block (Chefer et al., arXiv 2103.15679): R = I + the mean over the
    heads of max(d cos / d A * A, 0); the class token's row of R over the patches, scaled to 0..1, enlarged.
    All 0 where no patch speaks for the text. Raises ValueError for a text that is too long.
    """
    with torch.no_grad():
        inside = tokens(clip, pixels_of_whole(clip, image))
        wanted = clip.text_features([text])
    block = clip.model.vision_model.encoder.layers[-1]
    output, attention = _last_block(block, inside.detach())
    pooled = clip.model.vision_model.post_layernorm(output[:, 0])
    seen = F.normalize(clip.model.visual_projection(pooled).float(), dim=-1)
    (gradient,) = torch.autograd.grad((seen * wanted).sum(), [attention])
    relevance = (gradient * attention.detach()).clamp(min=0).mean(dim=1)
    row = relevance[:, 0, 1:]  # I adds to the class token itself alone
    side = int(row.shape[1] ** 0.5)
    grid = row.view(1, 1, side, side).float()
    low, high = grid.amin(), grid.amax()
    grid = (grid - low) / (high - low) if high > low else torch.zeros_like(grid)
    return F.interpolate(grid, image.shape[-2:], mode="bilinear", align_corners=False).detach()


def _last_block(block, inside: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
    """A block of the tower by hand -> (its output, its attention (B,heads,N,N) with a gradient).

    The towers use kernels that return no attention; to make them do so would change the shared model.
    """
    own = block.self_attn
    normed = block.layer_norm1(inside)
    batch, count, width = normed.shape

    def heads(projection) -> Tensor:  # type: ignore[no-untyped-def]
        return projection(normed).view(batch, count, own.num_heads, -1).transpose(1, 2)

    scores = heads(own.q_proj) @ heads(own.k_proj).transpose(2, 3) * own.scale
    attention = scores.float().softmax(dim=-1).requires_grad_()
    mixed = (attention.to(normed.dtype) @ heads(own.v_proj)).transpose(1, 2).reshape(batch, count, width)
    after = inside + own.out_proj(mixed)
    return after + block.mlp(block.layer_norm2(after)), attention
