"""Images in and out: safe opening, PIL <-> tensors (B,3,H,W) in [-1,1], masks (B,1,H,W), 1 = change."""

import io
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

import numpy as np
import torch
from PIL import Image, ImageCms, ImageFile, ImageOps

from textedit_core import mask_reading
from textedit_core.mask_reading import MaskReading

# The sizes (width, height) that SDXL was trained on up to an aspect of 4, each about 1024 x 1024 (arXiv
# 2307.01952, appendix I); the other way round too.
_WIDE = ((1024, 1024), (1088, 960), (1152, 896), (1216, 832), (1280, 768), (1344, 768), (1472, 704))
_WIDER = ((1536, 640), (1600, 640), (1728, 576), (1856, 512), (1984, 512), (2048, 512))
BUCKETS = (*_WIDE, *_WIDER, *((height, width) for width, height in (*_WIDE, *_WIDER)))
LONGEST = 4.0  # the largest aspect of a picture worked on at its own; a longer one is cut to it
MAX_BYTES = 20 * 2**20
MAX_PIXELS = 50_000_000
# Only decoders that work on bitmaps: Pillow would also run Ghostscript on an .eps, for one.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
ENDINGS = {f".{name.lower()}" for name in FORMATS} | {".jpg", ".tif"}
Fit = Literal["crop", "pad", "native"]
Opened = TypeVar("Opened")
_RESAMPLING = Image.Resampling.LANCZOS
_PIECE = 2**18  # bytes of a PNG held at once, packed or unpacked, while its rows are counted
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type: grey, RGB, palette, grey + alpha, RGBA
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def open_image(source: str | os.PathLike[str] | bytes | Image.Image, field: str = "Image") -> Image.Image:
    """Decode an upload in full and return it as an upright RGB image.

    `source` is a path, a file's bytes, or a PIL image. At most 20 MB and 50 megapixels; the size is read from
    the header, so that a decompression bomb is refused before it is decoded. EXIF rotation is applied,
    transparency is flattened on white, 16 bits a channel are scaled to 8 by as many of them as are used, 8,
    10, 12, 14 or 16, of an animation the first frame is taken. ValueError, one sentence that starts with
    `field`, for anything that cannot be opened, and for a picture of which nothing is to be seen.
    """
    return _decode(source, field, _to_rgb)


def files_in(folder: str | os.PathLike[str], field: str = "Image") -> list[Path]:
    """The picture files of a folder, by name. ValueError where there is none."""
    found = sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in ENDINGS)
    if not found:
        raise ValueError(f"{field}: '{folder}' holds no pictures.")
    return found


def open_mask(source: str | os.PathLike[str] | bytes | Image.Image, field: str = "Mask") -> Image.Image:
    """Open a mask under the rules of `open_image`, as a grey image of 0 and 255, where 255 = change here.

    How masks of many kinds are read is in `mask_reading`; ValueError also for a picture that is none.
    """
    return read_mask(source, field).image


def read_mask(source: str | os.PathLike[str] | bytes | Image.Image, field: str = "Mask") -> MaskReading:
    """As `open_mask`, with what the file was taken for; the text of it says both kind and share."""
    return _decode(source, field, _to_reading)


def mask_at(mask: Image.Image, size: tuple[int, int], field: str = "Mask") -> Image.Image:
    """A mask of 0 and 255, brought to the size (width, height) of its picture; the smallest dot is not lost.

    ValueError, a sentence that starts with `field`, for one of another shape than the picture.
    """
    check_shape(mask, size, field)
    return mask if mask.size == size else scaled_mask(mask, size)


def check_shape(mask: Image.Image, size: tuple[int, int], field: str = "Mask") -> None:
    """ValueError, a sentence that starts with `field`, for a mask of another shape than its picture."""
    if abs(mask.width * size[1] - mask.height * size[0]) > 2 * max(*mask.size, *size):
        other, own = (" x ".join(map(str, one)) for one in (mask.size, size))
        raise ValueError(
            f"{field}: its size {other} has another shape than the image's {own}; "
            "use a mask of the same picture."
        )


def scaled_mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A mask of 0 and 255 at another size (width, height); the smallest dot is not lost."""
    scaled = mask.resize(size, Image.Resampling.BILINEAR)
    least = min(128, max(1, scaled.getextrema()[1]))
    return scaled.point(lambda value: 255 * (value >= least))


def square_tensor(image: Image.Image, size: int, fit: Fit = "crop") -> torch.Tensor:
    """A PIL image made square and resized: a (1,3,size,size) float tensor in [-1,1].

    "crop" keeps the largest centred square; "pad" keeps everything and adds white on the short side.
    """
    return native_tensor(_square(image.convert("RGB"), size, fit, "white"))


def native_size(
    picture: tuple[int, int], side: int, multiple: int = 8, buckets: Sequence[tuple[int, int]] = ()
) -> tuple[int, int]:
    """The (width, height) at which a model of side x side works on a picture of this (width, height).

    About side x side pixels in the picture's own aspect, both sides multiples of `multiple`; of `buckets`,
    where there are any, the one whose aspect is nearest. A square picture gives (side, side).
    """
    aspect = min(LONGEST, max(1 / LONGEST, picture[0] / picture[1]))
    if buckets:
        return min(buckets, key=lambda one: abs(math.log(one[0] / one[1] / aspect)))
    width, height = side * aspect**0.5, side / aspect**0.5
    return max(1, round(width / multiple)) * multiple, max(1, round(height / multiple)) * multiple


def sized_tensor(image: Image.Image, size: tuple[int, int]) -> torch.Tensor:
    """A PIL image scaled until it covers (width, height), and cut to it: (1,3,height,width) in [-1,1]."""
    return native_tensor(ImageOps.fit(image.convert("RGB"), size, _RESAMPLING))


def sized_mask(image: Image.Image, size: tuple[int, int]) -> torch.Tensor:
    """A mask, read as by `open_mask`, placed as `sized_tensor` places images: (1,1,height,width), 0 and 1."""
    return _mask_tensor(ImageOps.fit(_to_binary(image), size, Image.Resampling.BOX))


def native_tensor(image: Image.Image) -> torch.Tensor:
    """A PIL image at its native size: a (1,3,H,W) float tensor in [-1,1]."""
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]
    return pixels.to(torch.float32) / 127.5 - 1


def to_pil(images: torch.Tensor) -> list[Image.Image]:
    """Tensors (B,3,H,W) as B images; values outside [-1,1] are clamped, NaN is a ValueError, never black."""
    if torch.isnan(images).any():
        raise ValueError(
            "The result holds values that are not numbers; use 32-bit precision or a smaller learning rate."
        )
    pixels = ((images.detach().float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return [Image.fromarray(one.permute(1, 2, 0).contiguous().numpy()) for one in pixels]


def square_mask(image: Image.Image, size: int, fit: Fit = "crop") -> torch.Tensor:
    """A mask made square and resized: a (1,1,size,size) float tensor of 0 and 1, where 1 = change here.

    It is read as by `open_mask`, and `fit` places it as `square_tensor` places the image; what padding added
    is never changed.
    """
    return _mask_tensor(_square(_to_binary(image), size, fit, 0, Image.Resampling.BOX))


def native_mask(image: Image.Image) -> torch.Tensor:
    """A mask, read as by `open_mask`, at its native size: a (1,1,H,W) float tensor of 0 and 1."""
    return _mask_tensor(_to_binary(image))


def crop_box(
    image: Image.Image, left: float, top: float, right: float, bottom: float, field: str = "Crop box"
) -> Image.Image:
    """The part of an image between sides given in percent of its width and height.

    ValueError, a sentence that starts with `field`, for sides out of order or outside of 0 to 100.
    """
    if not (0 <= left < right <= 100 and 0 <= top < bottom <= 100):
        raise ValueError(
            f"{field}: left must be less than right and top less than bottom, all from 0 to 100 percent."
        )
    x, y = image.width / 100, image.height / 100
    corner = int(left * x), int(top * y)
    end = max(corner[0] + 1, round(right * x)), max(corner[1] + 1, round(bottom * y))
    return image.crop((*corner, *end))


def mask_to_pil(masks: torch.Tensor) -> list[Image.Image]:
    """Masks (B,1,H,W) in [0,1] as B grey images, white = change here."""
    pixels = (masks.detach().float().cpu() * 255).round().clamp(0, 255).to(torch.uint8)
    return [Image.fromarray(one[0].contiguous().numpy()) for one in pixels]


def _mask_tensor(mask: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(mask) >= 128).to(torch.float32)[None, None]


def _decode(
    source: str | os.PathLike[str] | bytes | Image.Image, field: str, convert: Callable[[Image.Image], Opened]
) -> Opened:
    opened = source if isinstance(source, Image.Image) else _open_header(source, field)
    _check_pixels(opened.size, field)
    try:
        if getattr(opened, "is_animated", False):
            opened.seek(0)
        file = getattr(opened, "fp", None)  # of a file that is not read yet
        if opened.format == "PNG" and file is not None:
            _check_rows(file)
        return convert(ImageOps.exif_transpose(_loaded(opened)))
    except (mask_reading.UnclearMaskError, _NothingToSeeError) as error:
        raise ValueError(f"{field}: {error}") from None
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise ValueError(
            f"{field}: the file is damaged or cut short; save it again as PNG or JPEG."
        ) from error


def _loaded(opened: Image.Image) -> Image.Image:
    """The pixels of an opened image; those of a PNG in colour with 16 bits, of which few are used, scaled.

    Of 16 bits Pillow keeps the upper eight, so that a picture of 12 would be black. Read as if the bytes were
    in the other order, the same file gives the lower eight.
    """
    file = opened.fp if isinstance(opened, ImageFile.ImageFile) else None
    tile = opened.tile[0] if isinstance(opened, ImageFile.ImageFile) and len(opened.tile) == 1 else None
    opened.load()
    if tile is None or not isinstance(file, io.BytesIO) or tile.args not in ("RGB;16B", "RGBA;16B"):
        return opened
    pixels = np.array(opened)
    if pixels[..., :3].max() > 63:  # more than 14 bits
        return opened
    lower = Image.open(io.BytesIO(file.getvalue()), formats=("PNG",))
    assert isinstance(lower, ImageFile.ImageFile)
    lower.tile = [tile._replace(args=tile.args.replace("16B", "16L"))]
    lower.load()
    colours = (pixels[..., :3].astype(np.uint16) << 8) | np.asarray(lower)[..., :3]
    most = int(colours.max())
    table = (np.arange(most + 1) * (255 / _range(most))).round().astype(np.uint8)
    pixels[..., :3] = table[colours]
    scaled = Image.fromarray(pixels)
    scaled.info = {name: value for name, value in opened.info.items() if name == "exif"}
    return scaled


def _range(largest: float) -> float:
    """The full range of whole numbers up to this: of 8, 10, 12, 14 or 16 bits, or the number itself above."""
    return next((2.0**bits - 1 for bits in (8, 10, 12, 14, 16) if largest <= 2.0**bits - 1), largest)


def _open_header(source: str | os.PathLike[str] | bytes, field: str) -> Image.Image:
    """Open a file far enough to know its kind and size; the file itself is read into memory and closed."""
    if not isinstance(source, str | bytes | os.PathLike):
        raise ValueError(f"{field}: choose or upload an image first.")
    data = source if isinstance(source, bytes) else _read(Path(source), field)
    if len(data) > MAX_BYTES:
        raise ValueError(_too_large(len(data), field))
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"{field}: the image has far too many pixels; "
            f"use one of at most {MAX_PIXELS // 1_000_000} megapixels."
        ) from error
    except Exception as error:  # a header may break a decoder in any way
        raise ValueError(
            f"{field}: this is not an image the studio can read; use PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF."
        ) from error


def _read(path: Path, field: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                raise ValueError(_too_large(os.fstat(file.fileno()).st_size, field))
            return data
    except OSError as error:
        raise ValueError(f"{field}: there is no readable file '{path}'; check the path.") from error


def _too_large(size: int, field: str) -> str:
    return f"{field}: the file has {size / 2**20:.1f} MB; use one of at most {MAX_BYTES // 2**20} MB."


def _check_pixels(size: tuple[int, int], field: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"{field}: the image is {width} x {height}, {width * height / 1e6:.0f} megapixels; "
            f"use one of at most {MAX_PIXELS // 1_000_000} megapixels."
        )
    if width * height == 0:
        raise ValueError(f"{field}: the image is empty; use one with at least one pixel.")


def _check_rows(file: BinaryIO) -> None:
    """Raise for a PNG whose compressed data end before its last row; Pillow would leave the rest black.

    The rows are unpacked a piece at a time and only counted, no further than the header promises them.
    """
    place, unpack = file.tell(), zlib.decompressobj()
    try:
        parts = _header_and_data(file)
        missing = _unpacked_bytes(next(parts))
        for packed in parts:
            while missing > 0 and (rows := unpack.decompress(packed, _PIECE)):
                missing, packed = missing - len(rows), unpack.unconsumed_tail
            if missing <= 0:
                return
            if unpack.eof:
                break
        raise ValueError(f"{missing} bytes of the rows are missing")
    finally:
        file.seek(place)


def _header_and_data(file: BinaryIO) -> Iterator[bytes]:
    """The 13 bytes of a PNG's header, then its compressed data in pieces, up to the chunk after them."""
    file.seek(8)
    header, begun = b"", False
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        end = file.tell() + length + 4
        if kind == b"IHDR":
            header = file.read(13)
        if kind == b"IDAT":
            if not begun:
                yield header
            begun = True
            while length > 0 and (piece := file.read(min(length, _PIECE))):
                yield piece
                length -= len(piece)
        elif begun:
            return
        file.seek(end)


def _unpacked_bytes(header: bytes) -> int:
    """The size of a PNG's rows, each with its filter byte, from the 13 bytes of its header."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    total = 0
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0:
            total += rows * (1 + -(-columns * depth * _PNG_CHANNELS[colour] // 8))
    return total


class _NothingToSeeError(ValueError):
    """A picture that is transparent everywhere: a sentence without the name of its field."""


def _to_rgb(image: Image.Image) -> Image.Image:
    image = _to_eight_bits(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        alpha = rgba.getchannel("A")
        if alpha.getbbox() is None:
            raise _NothingToSeeError("it is transparent everywhere; use a picture with something to be seen.")
        flat = Image.new("RGB", image.size, "white")
        flat.paste(rgba, mask=alpha)
        return flat
    return image.convert("RGB")


def _to_reading(image: Image.Image) -> MaskReading:
    if image.mode.startswith(("I", "F")) and "transparency" not in image.info:
        return mask_reading.read(mask_reading.levels(image))
    return mask_reading.read(_to_eight_bits(image))


def _to_binary(image: Image.Image) -> Image.Image:
    if image.mode == "L" and sum(image.histogram()[1:255]) == 0:
        return image  # read already
    return _to_reading(image).image


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Modes that Pillow converts badly or not at all, as 8 bits a channel; every other mode as it is.

    Grey of 16 bits, 32 bits or floats is scaled by the full range of the narrowest type that holds it: whole
    numbers by 8, 10, 12, 14 or 16 bits (many cameras and scanners write 12 into 16), or by the largest value
    above that; floats by 1, by 255, or as whole numbers.
    """
    if image.mode == "La":
        return image.convert("LA")
    if image.mode == "LAB":
        spaces = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, *spaces, outputMode="RGB")
        assert converted is not None  # it is only where the image is changed in place
        return converted
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0, neginf=0)
    largest = float(values.max())
    if image.mode == "F" and largest <= 1:
        full = 1.0
    else:
        full = _range(largest)
    grey = Image.fromarray((values.clip(0, full) * (255 / full)).round().astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _square(
    image: Image.Image, size: int, fit: Fit, colour: str | int, resampling: Image.Resampling = _RESAMPLING
) -> Image.Image:
    if fit == "crop":
        return ImageOps.fit(image, (size, size), resampling)
    if fit == "pad":
        width, height = (max(1, round(side * size / max(image.size))) for side in image.size)
        square = Image.new(image.mode, (size, size), colour)
        square.paste(image.resize((width, height), resampling), ((size - width) // 2, (size - height) // 2))
        return square
    raise ValueError(f"Resize: '{fit}' makes no square; use 'crop' or 'pad'.")
