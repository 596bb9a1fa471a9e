"""Painted masks and example pictures: how they are read and shaped, and how they look before an edit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from PIL import Image, ImageChops, ImageDraw
from torch import Tensor

from demos.shared.knobs import KnobGroup
from demos.shared.uploads import opened
from textedit_core import images, masks
from textedit_core.knobs import Knob, knobs
from textedit_core.methods import paint_by_example
from textedit_core.models.diffusion.paint_by_example import PaintByExample

PART = "paint_by_example"  # of the models
EDITOR_SIDE = 640  # pixels of the square on which is painted, whatever the picture has
PREVIEW_SIDE = 480
EXEMPLAR_SIDE = 224  # of the preview
NEARLY_ALL = 0.95  # share of the picture that a mask may not reach
TINT, FRAME = (59, 110, 245), (217, 119, 6)
OPACITY = 0.5  # of what is painted on the canvas, so that what lies below is seen


def place(size: tuple[int, int]) -> masks.Box:
    """Where a picture of this size lies on the canvas: as large as it fits, in the middle."""
    width, height = _scaled(size, EDITOR_SIDE)
    left, top = (EDITOR_SIDE - width) // 2, (EDITOR_SIDE - height) // 2
    return left, top, left + width, top + height


def on_canvas(picture: Image.Image, mask: Image.Image | None = None) -> tuple[Image.Image, list[Image.Image]]:
    """A picture on the canvas, and a mask of its size as what the brush would paint there.

    The canvas is always the same square: on one that changes its size the editor puts layers elsewhere.
    """
    where, ground = place(picture.size), Image.new("RGBA", (EDITOR_SIDE, EDITOR_SIDE))
    size = _scaled(picture.size, EDITOR_SIDE)
    ground.paste(picture.resize(size, Image.Resampling.LANCZOS), where)
    if mask is None:
        return ground, []
    layer = Image.new("RGBA", ground.size)
    layer.paste((*TINT, round(255 * OPACITY)), where, images.scaled_mask(mask, size))
    return ground, [layer]


def painted(layers: Sequence[str | bytes], source: tuple[int, int], size: tuple[int, int]) -> Image.Image:
    """What was painted on a picture of size `source`, or uploaded, as 0 and 255 at size `size`.

    A layer has the size of the canvas, or the shape of the picture at any size. Raises ValueError.
    """
    found = Image.new("L", size)
    for layer in layers or ():
        mask = images.open_mask(layer, "Mask")
        if mask.size == (EDITOR_SIDE, EDITOR_SIDE):
            mask = mask.crop(place(source))
        images.check_shape(mask, source)
        found = ImageChops.lighter(found, images.scaled_mask(mask, size))
    return found


def shaped(
    mask: Image.Image,
    *,
    mask_smooth: Annotated[
        float, Knob(0, 10, 0.5, label="Round the edge", help="blur, in percent of its longer side")
    ] = 0.0,
    mask_invert: Annotated[bool, Knob(label="Invert: repaint all but this")] = False,
) -> Tensor:
    """The mask (1,1,H,W) of a picture of 0 and 255, rounded, then inverted.

    Raises ValueError for an empty one, and for one that leaves nearly nothing as it is.
    """
    found = images.native_mask(mask)
    if found.any():
        found = masks.binary(masks.blurred(found, masks.longest_side(found) * mask_smooth / 100))
    if mask_invert:
        found = masks.inverted(found)
    masks.box(found)  # refuses an empty mask
    if (share := masks.coverage(found)) > NEARLY_ALL:
        raise ValueError(
            f"Mask: it covers {100 * share:.0f} % of the picture, and leaves nothing to fit in with; "
            "paint less, or invert it."
        )
    return found


def grown(mask: Tensor, grow: float) -> Tensor:
    """The mask as the method grows it, by percent of its longer side."""
    return masks.binary(masks.grown(mask, round(masks.longest_side(mask) * grow / 100)))


def squared(
    picture: Image.Image,
    side: int,
    *,
    exemplar_fit: Annotated[Literal["pad", "crop"], Knob(label="Where it is not square")] = "pad",
    exemplar_left: Annotated[float, Knob(0, 100, 1, label="Left, %")] = 0.0,
    exemplar_right: Annotated[float, Knob(0, 100, 1, label="Right, %")] = 100.0,
    exemplar_top: Annotated[float, Knob(0, 100, 1, label="Top, %")] = 0.0,
    exemplar_bottom: Annotated[float, Knob(0, 100, 1, label="Bottom, %")] = 100.0,
) -> Image.Image:
    """A part of an example picture as a square of `side`: "pad" adds white, "crop" takes its middle.

    Raises ValueError for sides out of order.
    """
    sides = exemplar_left, exemplar_top, exemplar_right, exemplar_bottom
    cut = images.crop_box(picture, *sides, "Crop of the exemplar")
    return images.to_pil(images.square_tensor(cut, side, exemplar_fit))[0]


KNOBS = knobs(paint_by_example.edit)
TOOLS, CROP = KnobGroup.of(shaped), KnobGroup.of(squared)  # shape the mask; cut the exemplar


def touched(values: dict) -> bool:
    """Whether anything is painted, or a tool makes a mask of nothing."""
    return values["mask_invert"] or any(images.open_mask(layer).getbbox() for layer in values["mask"])


def mask_of(values: dict, source: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """The mask that the widgets describe, (1,1,H,W) of `size` for a picture of `source`. ValueError."""
    return shaped(painted(values["mask"], source, size), **TOOLS.arguments(values))


def exemplar_of(values: dict, side: int = EXEMPLAR_SIDE) -> Image.Image:
    """The example picture that the widgets describe. Raises ValueError."""
    picture = opened(values["exemplar"], "Exemplar")
    return squared(picture, side, **CROP.arguments(values))


def with_defaults(values: dict) -> dict:
    """The values of widgets, and the default of every tool and knob that has no widget."""
    known = TOOLS.knobs | CROP.knobs | KNOBS
    return {name: knob.default for name, knob in known.items()} | values


# --- what the page shows before an edit -------------------------------------------------------------------


@dataclass(frozen=True)
class Canvas:
    """What `prepare` has to know of a model, here for a smaller copy of a picture."""

    size: int
    latent_scale: int
    device: str = "cpu"


@dataclass(frozen=True)
class Preview:
    """The mask over the source and its share of it, from 0 to 1.

    framed: whether a frame shows the part that is worked on.  advice: if there is any.  grow: what would
    mend the mask.
    """

    picture: Image.Image
    share: float
    framed: bool = False
    advice: str = ""
    grow: float | None = None


def preview(values: dict, model: PaintByExample | None) -> Preview:
    """Where would be repainted, and what part of the picture would be worked on, on a smaller copy.

    Without the model the part is not known, and nothing is advised. Raises ValueError as `edit` would.
    """
    source = opened(values["image"])
    size = _small(source.size)
    mask = mask_of(values, source.size, size)
    given = {name: KNOBS[name].check(values[name]) for name in ("grow", "context", "feather")}
    used = grown(mask, given["grow"])
    share = masks.coverage(used)
    if model is None:
        return Preview(overlaid(source, used, None), share)
    scale = max(size) / max(source.size)
    canvas = Canvas(max(1, round(model.size * scale)), max(1, int(model.latent_scale * scale)))
    small = images.native_tensor(source.resize(size))
    region = paint_by_example.prepare(canvas, small, mask, **given)
    tiny = masks.coverage(region.mask) < paint_by_example.SMALLEST
    where = None if region.where == (0, 0, *size) else region.where
    return Preview(
        overlaid(source, used, where),
        share,
        where is not None,
        paint_by_example.advice(region) or "",
        growth(canvas, small, mask, given) if tiny else None,
    )


def growth(canvas: Canvas, image: Tensor, mask: Tensor, given: dict) -> float:
    """The least growth, in steps of five percent, with which the mask is large enough; else the most."""
    most = int(KNOBS["grow"].knob.maximum)
    for grow in range(5 * (int(given["grow"]) // 5 + 1), most, 5):
        region = paint_by_example.prepare(canvas, image, mask, **given | {"grow": grow})
        if masks.coverage(region.mask) >= paint_by_example.SMALLEST:
            return float(grow)
    return float(most)


def overlaid(source: Image.Image, mask: Tensor, where: masks.Box | None) -> Image.Image:
    """The source with the mask in colour over it, and a frame around the part that is worked on."""
    size = _scaled(source.size, PREVIEW_SIDE)
    base = source.resize(size, Image.Resampling.LANCZOS)
    alpha = images.mask_to_pil(mask)[0].resize(size, Image.Resampling.BILINEAR)
    base.paste(Image.new("RGB", size, TINT), mask=alpha.point(lambda value: round(value * 0.55)))
    if where:
        scale = [size[0] / mask.shape[3], size[1] / mask.shape[2]] * 2
        left, top, right, bottom = (round(side * by) for side, by in zip(where, scale, strict=True))
        ImageDraw.Draw(base).rectangle((left, top, right - 1, bottom - 1), outline=FRAME, width=3)
    return base


def mask_problems(values: dict) -> dict[str, str]:
    """The sentence for a mask, or its growth, that cannot be used; the source can be opened."""
    size = opened(values["image"]).size
    try:
        left = grown(mask_of(values, size, _small(size)), grow := values["grow"])
    except ValueError as error:
        return {"mask": str(error)}
    if not left.any():
        return {"grow": f"Nothing of the mask is left at {grow:g} %: shrink it less."}
    return {"grow": f"The mask covers everything at {grow:g} %: grow it less."} if left.all() else {}


def exemplar_problems(values: dict) -> dict[str, str]:
    """The sentence for an exemplar, or its crop, that cannot be used."""
    if not values["exemplar"]:
        return {"exemplar": "Add an exemplar: a picture of what is to appear in the mask."}
    try:
        exemplar_of(values)
    except ValueError as error:
        return {"exemplar_left" if str(error).startswith("Crop") else "exemplar": str(error)}
    return {}


def _small(size: tuple[int, int]) -> tuple[int, int]:
    """The size of the copy on which a mask is looked at."""
    return _scaled(size, min(PREVIEW_SIDE, max(size)))


def _scaled(size: tuple[int, int], longer: int) -> tuple[int, int]:
    """A size of the same shape whose longer side is this."""
    return tuple(max(1, round(side * longer / max(size))) for side in size)
