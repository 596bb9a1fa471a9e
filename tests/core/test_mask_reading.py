"""Masks as other tools write them are understood; what could mean two things is refused, not guessed."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from textedit_core.images import mask_at, native_mask, open_image, open_mask, read_mask

SIDE, BOX = 128, (30, 40, 80, 90)


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def wanted(side: int = SIDE, box: tuple[int, int, int, int] = BOX) -> Image.Image:
    found = Image.new("L", (side, side))
    found.paste(255, box)
    return found


def boxed(mode: str, ground, paint) -> Image.Image:
    found = Image.new(mode, (SIDE, SIDE), ground)
    found.paste(paint, BOX)
    return found


def photograph(mode: str = "RGB") -> Image.Image:
    """Texture of many colours: noise of three scales in each channel."""
    draw = np.random.default_rng(3)
    total = np.zeros((SIDE, SIDE, 3))
    for side in (4, 16, 64):
        noise = draw.integers(0, 256, (side, side, 3), dtype=np.uint8)
        total += np.asarray(Image.fromarray(noise).resize((SIDE, SIDE), Image.Resampling.BICUBIC), float)
    total += draw.normal(0, 8, total.shape)
    return Image.fromarray((total / 3).clip(0, 255).astype(np.uint8)).convert(mode)


def cartoon() -> Image.Image:
    """A drawing of flat colours, as the portraits of toon are."""
    found = Image.new("RGB", (SIDE, SIDE), "lightgreen")
    draw = ImageDraw.Draw(found)
    draw.ellipse((30, 20, 98, 100), "peachpuff")
    draw.pieslice((28, 10, 100, 90), 180, 360, "saddlebrown")
    draw.rectangle((20, 100, 108, 128), "royalblue")
    draw.ellipse((48, 52, 56, 60), "white")
    draw.ellipse((72, 52, 80, 60), "white")
    return found.filter(ImageFilter.GaussianBlur(0.6))


def palette_mask(colours: list[int], index: int) -> Image.Image:
    found = boxed("P", 0, index)
    found.putpalette(colours)
    return found


def voc_palette() -> list[int]:
    """The palette of PASCAL VOC and of COCO's label files: bits of the index spread over the channels."""
    found = []
    for index in range(256):
        bits = [(index >> k) & 1 for k in range(8)]
        channels = [sum(bits[3 * k + c] << (7 - k) for k in range(3) if 3 * k + c < 8) for c in range(3)]
        found += channels
    return found


def array_mask(dtype, value) -> Image.Image:
    return Image.fromarray((np.asarray(wanted()) > 0).astype(dtype) * np.array(value, dtype))


def strokes(colour, alpha: int = 255) -> Image.Image:
    """A layer with a box of paint."""
    return boxed("RGBA", (0, 0, 0, 0), (*colour, alpha))


# Each draws the same box in a way of its own: (picture, format, what it is read as).
KINDS = {
    "black and white": (wanted(), "PNG", "black and white"),
    "1-bit PNG": (wanted().convert("1"), "PNG", "black and white"),
    "1-bit TIFF, fax": (wanted().convert("1"), "TIFF", "black and white"),
    "SAM: bool": (Image.fromarray(np.asarray(wanted()) > 0), "PNG", "black and white"),
    "SAM: 0 and 1": (array_mask(np.uint8, 1), "PNG", "label mask"),
    "SAM: 0 and 255": (array_mask(np.uint8, 255), "PNG", "black and white"),
    "SAM: logits as floats": (
        Image.fromarray(np.where(np.asarray(wanted()) > 0, 7.5, -12.0).astype(np.float32)),
        "TIFF",
        "black and white",
    ),
    "a network's 0.0 and 1.0": (array_mask(np.float32, 1), "TIFF", "black and white"),
    "SAM: overlay of matplotlib": (strokes((30, 144, 255), 153), "PNG", "painted layer"),
    "SAM: overlay, faint": (strokes((200, 40, 90), 89), "PNG", "painted layer"),
    "COCO: category ids": (array_mask(np.uint8, 17), "PNG", "label mask"),
    "COCO: palette": (palette_mask(voc_palette(), 1), "PNG", "label mask"),
    "VOC: palette, a dark blue class": (palette_mask([0, 0, 0, 0, 0, 9], 1), "PNG", "label mask"),
    "palette, 0 and 1 on a ramp": (palette_mask([k for k in range(256) for _ in "rgb"], 1), "GIF", "label"),
    "cityscapes: instance ids of 16 bits": (array_mask(np.uint16, 26001), "PNG", "black and white"),
    "16 bits, 0 and 1": (array_mask(np.uint16, 1), "PNG", "black and white"),
    "16 bits, 0 and 65535": (array_mask(np.uint16, 65535), "TIFF", "black and white"),
    "32 bits, 0 and 1": (array_mask(np.int32, 1), "TIFF", "black and white"),
    "red on black": (boxed("RGB", "black", "red"), "PNG", "strokes"),
    "blue on black": (boxed("RGB", "black", "blue"), "PNG", "strokes"),
    "dark blue on black": (boxed("RGB", "black", (0, 0, 90)), "BMP", "strokes"),
    "red on black, RGBA": (boxed("RGBA", "black", (255, 0, 0, 255)), "PNG", "strokes"),
    "red on white": (boxed("RGB", "white", "red"), "PNG", "strokes"),
    "black on green": (boxed("RGB", "green", "black"), "PNG", "strokes"),
    "GIMP: layer at 40 %": (strokes((255, 255, 255), 102), "PNG", "painted layer"),
    "GIMP: layer at 40 %, black": (strokes((0, 0, 0), 102), "WEBP", "painted layer"),
    "GIMP: LA": (strokes((255, 255, 255)).convert("LA"), "PNG", "painted layer"),
    "Photoshop: TIFF with alpha": (strokes((255, 0, 0)), "TIFF", "painted layer"),
    "CMYK": (wanted().convert("RGB").convert("CMYK"), "TIFF", "black and white"),
    "CMYK, red": (boxed("RGB", "black", "red").convert("CMYK"), "TIFF", "strokes"),
    "matplotlib: viridis": (boxed("RGB", (68, 1, 84), (253, 231, 37)), "PNG", "strokes"),
    "whole layer at 40 %, painted red": (
        Image.merge("RGBA", (*boxed("RGB", "black", "red").split(), Image.new("L", (SIDE, SIDE), 102))),
        "PNG",
        "strokes",
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_mask_of_another_tool_is_understood(name):
    image, kind, says = KINDS[name]
    options = {"lossless": True} if kind == "WEBP" else {"compression": "group4"} if "fax" in name else {}
    found = read_mask(encode(image, kind, **options))
    assert found.image.mode == "L" and found.image.tobytes() == wanted().tobytes()
    assert found.kind.startswith(says) and str(found).endswith(", 15 % of the picture")
    assert open_mask(found.image).tobytes() == wanted().tobytes(), "read twice is read once"


@pytest.mark.parametrize("paint", ["white", "red", "blue", (0, 0, 120)])
@pytest.mark.parametrize("quality", [60, 95])
def test_the_noise_of_a_jpeg_is_no_mask(paint, quality):
    found = np.asarray(open_mask(encode(boxed("RGB", "black", paint), "JPEG", quality=quality))) > 0
    assert (found != (np.asarray(wanted()) > 0)).mean() < 0.01


def test_all_labels_are_the_mask_and_the_ground_is_not():
    labels = np.zeros((SIDE, SIDE), np.uint8)
    for k, value in enumerate((1, 2, 17, 180, 255)):
        labels[10 + 20 * k : 25 + 20 * k, 20:90] = value
    for image in (Image.fromarray(labels), Image.fromarray(labels.astype(np.uint16) * 100)):
        found = read_mask(encode(image))
        assert np.array_equal(np.asarray(found.image) > 0, labels > 0) and found.kind == "label mask"
    coloured = Image.fromarray(labels)
    coloured.putpalette(voc_palette())
    for image in (coloured, coloured.convert("RGB")):
        found = read_mask(encode(image))
        assert np.array_equal(np.asarray(found.image) > 0, labels > 0) and found.kind == "label mask"


def test_labels_that_begin_at_one_have_their_ground_at_the_rim():
    trimap = np.full((SIDE, SIDE), 2, np.uint8)
    trimap[40:90, 30:80] = 3
    trimap[45:85, 35:75] = 1
    found = read_mask(encode(Image.fromarray(trimap)))
    assert found.image.tobytes() == wanted().tobytes() and found.kind == "label mask on 2"


@pytest.mark.parametrize("soft", [1.5, 6, 20])
def test_a_soft_edge_is_cut_at_half(soft):
    blurred = wanted().filter(ImageFilter.GaussianBlur(soft))
    least = blurred.getextrema()[1] / 2 if blurred.getextrema()[1] < 255 else 127.5
    assert np.array_equal(np.asarray(open_mask(blurred)) > 0, np.asarray(blurred) >= least)
    layer = Image.new("RGBA", (SIDE, SIDE), "red")
    layer.putalpha(blurred)
    assert abs(read_mask(layer).share - read_mask(blurred).share) < 0.02


def test_overlapping_strokes_of_a_faint_layer_all_count():
    layer = strokes((255, 255, 255), 102)
    layer.paste((255, 255, 255, 235), (50, 60, 60, 70))
    assert open_mask(encode(layer)).tobytes() == wanted().tobytes()


def plain_cartoon() -> Image.Image:
    """A drawing that is nearly all of two colours."""
    found = Image.new("RGB", (SIDE, SIDE), "lightgreen")
    found.paste("royalblue", (40, 100, 90, 128))
    return found


@pytest.mark.parametrize("picture", [photograph, cartoon, plain_cartoon])
def test_a_hole_in_a_picture_is_what_is_to_change(picture):
    erased = picture()
    erased.putalpha(wanted().point(lambda one: 255 - one))
    for kind in ("PNG", "TIFF"):
        found = read_mask(encode(erased, kind))
        assert found.image.tobytes() == wanted().tobytes() and "erased hole" in found.kind
    if picture is plain_cartoon:
        return
    shown = picture()
    shown.putalpha(wanted())
    with pytest.raises(ValueError, match=r"^--mask: it is a picture cut out of its surroundings"):
        read_mask(encode(shown), "--mask")


@pytest.mark.parametrize("picture", [photograph, cartoon])
@pytest.mark.parametrize("paint", ["white", "red", "black"])
def test_strokes_on_a_picture_are_refused(picture, paint):
    flattened = picture()
    flattened.paste(paint, BOX)
    for data in (encode(flattened), encode(flattened, "JPEG"), encode(picture())):
        with pytest.raises(ValueError, match=r"^Mask: it .*; (save|use) .*\.$"):
            read_mask(data)


def test_a_grey_picture_is_refused_and_a_smooth_gradient_is_not():
    for picture in (photograph("L"), cartoon().convert("L")):
        with pytest.raises(ValueError, match="it is a grey picture, or painted onto one"):
            read_mask(picture)
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (64, 1)))
    assert read_mask(ramp).share == 0.5


@pytest.mark.parametrize(("paint", "share"), [(0, 0), (255, 1), (1, 1)])
def test_one_value_alone(paint, share):
    found = read_mask(encode(Image.new("L", (9, 7), paint)))
    assert found.share == share
    assert str(read_mask(Image.new("RGBA", (9, 7)))) == "painted layer, 0 % of the picture"


@pytest.mark.parametrize("alpha", [127, 128, 102])
def test_a_translucent_layer_that_is_painted_all_over_is_all_of_it(alpha):
    assert read_mask(Image.new("RGBA", (9, 7), (59, 110, 245, alpha))).share == 1


def test_a_small_share_is_told_with_its_digit():
    dot = Image.new("L", (SIDE, SIDE))
    dot.paste(255, (0, 0, 8, 8))
    assert str(read_mask(dot)) == "black and white, 0.4 % of the picture"


def test_a_mask_of_the_same_shape_at_another_size():
    small = wanted(32, (8, 8, 16, 16))
    large = mask_at(small, (128, 128))
    assert large.getbbox() == (32, 32, 64, 64) and set(large.tobytes()) == {0, 255}
    assert mask_at(large, (32, 32)).tobytes() == small.tobytes()
    assert mask_at(Image.new("L", (1000, 667), 255), (500, 334)).size == (500, 334)
    dot = Image.new("L", (400, 400))
    dot.putpixel((200, 200), 255)
    assert mask_at(dot, (40, 40)).getbbox() is not None
    with pytest.raises(ValueError, match=r"^--mask: its size 32 x 32 has another shape"):
        mask_at(small, (64, 32), "--mask")


def test_a_mask_as_a_tensor_is_read_the_same_way():
    assert native_mask(boxed("RGB", "black", "blue")).sum() == 2500


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_a_picture_of_which_nothing_is_seen_is_refused(mode):
    empty = Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert(mode)
    options = {"transparency": empty.getpixel((0, 0))} if mode == "P" else {}
    with pytest.raises(ValueError, match=r"^Exemplar: it is transparent everywhere; .*\.$"):
        open_image(encode(empty, **options), "Exemplar")


@pytest.mark.parametrize(
    ("most", "full"), [(200, 255), (1000, 1023), (4095, 4095), (16000, 16383), (60000, 65535)]
)
def test_grey_of_few_of_sixteen_bits_is_scaled_by_those(most, full):
    values = [0, most // 2, most]
    opened = open_image(encode(Image.fromarray(np.array([values], np.uint16))))
    assert [opened.getpixel((x, 0))[0] for x in range(3)] == [round(one * 255 / full) for one in values]


def png_of_sixteen_bits(values: np.ndarray, exif: bytes = b"") -> bytes:
    """A PNG in colour with 16 bits a channel, which Pillow itself cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = [(b"IHDR", header), *([(b"eXIf", exif)] if exif else []), (b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in [*parts, (b"IEND", b"")])


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("channels", [3, 4])
def test_colour_of_few_of_sixteen_bits_is_scaled_by_those(bits, channels):
    values = np.random.default_rng(0).integers(0, 2**bits, (20, 30, channels))
    values[0, 0] = 2**bits - 1
    if channels == 4:
        values[..., 3] = 65535
    found = np.asarray(open_image(png_of_sixteen_bits(values)), float)
    assert np.abs(found - values[..., :3] * 255 / (2**bits - 1)).max() <= 1


def test_colour_of_twelve_bits_keeps_its_rotation_and_its_transparency():
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.zeros((4, 6, 4), int)
    values[..., 0], values[..., 3] = 4095, 65535
    values[:, :3, 3] = 0
    opened = open_image(png_of_sixteen_bits(values, exif.tobytes().removeprefix(b"Exif\0\0")))
    assert opened.size == (4, 6)
    assert opened.getpixel((1, 0)) == (255, 255, 255) and opened.getpixel((1, 5)) == (255, 0, 0)
