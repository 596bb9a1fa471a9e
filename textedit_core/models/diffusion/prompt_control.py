"""What Prompt-to-Prompt (arXiv 2208.01626) does to attention: plans of edits, their control, their masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core.models.diffusion import alignment
from textedit_core.models.diffusion.alignment import Tokens
from textedit_core.models.diffusion.attention import Control, Place

Window = float | tuple[float, float]


# The value of every knob of prompt_to_prompt.edit for one prompt, by name, each as it is told there. The two
# windows of steps are where one stops, or where it starts and stops, in fractions of the run, or either under
# the name "default_"; that of cross-attention may also be by word, as in the paper's code:
# {"default_": 0.8, "tiger": (0.2, 0.4)}.
Settings = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Plan:
    """How the attention of one prompt comes from the source's, with T steps and L tokens; on the CPU.

    edit_type: "replace" or "refine".
    matrix: (L,L), the moved map is A_src matrix; where a column is empty the prompt's own map stays.
    alphas: (T+1,L), 1 in the steps in which a token's map is the moved one.  weights: (L,), what each token's
    map is multiplied with in those steps.
    self_steps: in which self-attention is the source's, in layers with a side of at most `self_side`.
    blend: (2,L), 1 at the words of source prompt and prompt where an edit is let through.  subtract: (2,L),
    1 at those where it is not.  blend_threshold: share of a map's maximum above which a word is seen.
    blend_from: the first step of the blend.
    """

    edit_type: str
    matrix: Tensor
    alphas: Tensor
    weights: Tensor
    self_steps: range
    self_side: int
    blend: Tensor
    subtract: Tensor
    blend_threshold: float
    blend_from: int

    @property
    def blends(self) -> bool:
        """Whether the edit is confined to where blend words are seen."""
        return bool(self.blend.any())

    def needs_source(self, k: int) -> bool:
        """Whether anything of the source's attention is used in step k."""
        return k in self.self_steps or self.blends or bool(self.alphas[k].any())


def plan(source: Tokens, target: Tokens, steps: int, settings: Settings) -> Plan:
    """The settings of an edit read against the prompt `target` and the source prompt, for a run of `steps`.

    Raises ValueError, a sentence, for words that are not there, unequal word counts under replace, windows
    outside of the run.
    """
    kind = settings["edit_type"]
    if kind not in ("auto", "replace", "refine"):
        raise ValueError(f"Edit type: {kind!r} is none of auto, replace, refine.")
    if kind == "auto":
        kind = alignment.edit_type(source, target)
    move = alignment.replace_matrix if kind == "replace" else alignment.refine_matrix
    windows = _windows(settings["cross_replace_steps"], "Cross-attention steps")
    windows |= alignment.parse_windows(settings["word_steps"], "Steps of words")
    default = windows.pop("default_", (0.0, 1.0))
    shared = _windows(settings["self_replace_steps"], "Self-attention steps")
    if set(shared) != {"default_"}:
        raise ValueError("Self-attention steps: they are one window for all words.")
    weights = alignment.parse_numbers(settings["word_weights"], "Word weights")
    if settings["subtract_words"].strip() and not settings["blend_words"].strip():
        raise ValueError("Protected words take from the place of the blend words: give those too.")
    return Plan(
        edit_type=kind,
        matrix=move(source, target),
        alphas=alignment.cross_alphas(target, steps, default, windows),
        weights=alignment.token_weights(target, weights),
        self_steps=alignment.steps_in(shared["default_"], steps),
        self_side=settings["self_replace_side"],
        blend=alignment.token_masks(source, target, settings["blend_words"], "Blend words"),
        subtract=alignment.token_masks(source, target, settings["subtract_words"], "Protected words"),
        blend_threshold=settings["blend_threshold"],
        blend_from=int(steps * settings["blend_start"]),
    )


def _windows(steps: Window | Mapping[str, Window], field: str) -> dict[str, tuple[float, float]]:
    """Windows by word, the one for all other words as "default_"."""
    return alignment.parse_windows(steps if isinstance(steps, Mapping) else {"default_": steps}, field)


class PlanControl(Control):
    """Carries out the plans in step k of a run.

    The rows of the UNet call: `first` unconditional ones, the source's conditional one, and one for each
    plan. sums: where to add up the cross-attention maps; None to keep none.
    """

    def __init__(self, plans: Sequence[Plan], k: int, first: int, sums: MapSum | None, device: torch.device):
        def stacked(tensors: list[Tensor]) -> Tensor:
            return torch.stack(tensors).to(device)

        self.plans, self.k, self.first, self.sums, self.device = plans, k, first, sums, device
        self.crosses = any(bool(plan.alphas[k].any()) for plan in plans)
        matrix = stacked([plan.matrix for plan in plans])
        self.alphas = stacked([plan.alphas[k] for plan in plans])[:, None, None]
        self.weights = stacked([plan.weights for plan in plans])[:, None, None]
        self.matrix, self.kept = matrix[:, None], (matrix.sum(1) > 0)[:, None, None]

    def source_rows(self, place: Place) -> Tensor | None:
        own = list(range(self.first + 1 + len(self.plans)))
        rows = own[: self.first + 1]
        for row, plan in enumerate(self.plans, start=self.first + 1):
            shares = self.k in plan.self_steps and place.side <= plan.self_side
            rows.append(self.first if shares else row)
        return None if rows == own else torch.tensor(rows, device=self.device)

    def map_rows(self, place: Place) -> slice | None:
        wanted = self.crosses or (self.sums is not None and self.sums.keeps(place))
        return slice(self.first, None) if wanted else None

    def edit_maps(self, maps: Tensor, place: Place) -> Tensor:
        source, own = maps[:1], maps[1:]
        if self.crosses:
            moved = torch.where(self.kept, source @ self.matrix, own) * self.weights
            own = torch.where(self.alphas > 0, moved, own)
        maps = torch.cat([source, own])
        if self.sums is not None and self.sums.keeps(place):
            self.sums.add(maps, place)
        return maps


def map_side(size: tuple[int, int]) -> int:
    """The shorter side of the finest grid of maps that is summed, for latents of this (h, w).

    A quarter of the latents': 16 for Stable Diffusion 1.x, 32 for SDXL, which has no map on a grid of 16.
    At least 16, for the quarter of a small model's latents is too coarse to tell words apart.
    """
    return max(16, min(size) // 4)


class MapSum:
    """The cross-attention maps of a run, summed over heads, layers and steps, for each grid that is kept.

    Only grids whose shorter side is at most `side` are; `map_side` gives it for a size of latents.
    """

    def __init__(self, side: int = 16):
        self.side = side
        self.sums: dict[tuple[int, int], Tensor] = {}

    def keeps(self, place: Place) -> bool:
        return place.side <= self.side

    def add(self, maps: Tensor, place: Place) -> None:
        """Add the maps (rows,heads,queries,L) of one layer in one step."""
        key, found = (place.height, place.width), maps.detach().float().sum(1)
        self.sums[key] = self.sums[key] + found if key in self.sums else found

    def largest(self) -> Tensor:
        """(rows,L,h',w'), the sum on the largest grid kept. Raises ValueError if there is none."""
        if not self.sums:
            raise ValueError(f"This UNet has no attention on a grid of at most {self.side} places a side.")
        height, width = max(self.sums)
        return self.sums[height, width].unflatten(1, (height, width)).permute(0, 3, 1, 2)


def word_mask(
    maps: Tensor, tokens: Tensor, size: tuple[int, int], threshold: Tensor | float, pool: bool
) -> Tensor:
    """Where the words with `tokens` (B,L), 1 at theirs, are seen in maps (B,L,h',w'): (B,1,h,w) bool.

    The maps of a row's words are summed, widened by a 3 x 3 maximum with `pool`, brought to `size` and cut at
    `threshold` of their maximum. A row without words has an empty mask.
    """
    seen = (maps * tokens[:, :, None, None].to(maps)).sum(1, keepdim=True)
    if pool:
        seen = F.max_pool2d(seen, 3, stride=1, padding=1)
    seen = F.interpolate(seen, size)
    most = seen.amax((2, 3), keepdim=True)
    return (seen > threshold * most) & (most > 0)


def blend_mask(plans: Sequence[Plan], k: int, sums: MapSum, size: tuple[int, int]) -> Tensor:
    """Where the edits are let through after step k, (B,1,h,w) bool: everywhere before a plan's blend starts.

    LocalBlend: where the blend words are seen in the source or the target, but not the subtracted ones.
    """
    maps = sums.largest()
    source, own = maps[:1].expand(len(plans), -1, -1, -1), maps[1:]
    threshold = torch.tensor([plan.blend_threshold for plan in plans], device=maps.device).view(-1, 1, 1, 1)

    def seen(words: list[Tensor], pool: bool) -> Tensor:
        of_source, of_target = torch.stack(words, dim=1).to(maps.device)
        return word_mask(source, of_source, size, threshold, pool) | word_mask(
            own, of_target, size, threshold, pool
        )

    through = seen([plan.blend for plan in plans], True) & ~seen([plan.subtract for plan in plans], False)
    idle = torch.tensor([not plan.blends or k < plan.blend_from for plan in plans], device=maps.device)
    return through | idle.view(-1, 1, 1, 1)
