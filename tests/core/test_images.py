"""Images: every mode opens, hostile and broken files are refused in one sentence, tensors and masks agree."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from textedit_core import images
from textedit_core.images import mask_to_pil, open_image, open_mask, square_mask, square_tensor, to_pil


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gradient(size: tuple[int, int] = (40, 30), mode: str = "RGB") -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8)).convert(mode)


def header_only_png(width: int, height: int) -> bytes:
    """A valid PNG header for any size, with a single byte of pixels: a decompression bomb in little."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0")), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    "mode",
    [
        "1",
        "L",
        "P",
        "LA",
        "RGB",
        "RGBA",
        "CMYK",
        "YCbCr",
        "HSV",
        "LAB",
        "PA",
        "La",
        "RGBa",
        "I",
        "F",
        "I;16",
        "I;16B",
    ],
)
def test_every_mode_of_a_decoded_image_opens(mode):
    image = Image.new(mode, (5, 4))
    if mode in ("LA", "PA", "La", "RGBA", "RGBa"):
        image.putpixel((0, 0), (9,) * len(image.getbands()))  # what is transparent everywhere is refused
    opened = open_image(image)
    assert (opened.mode, opened.size) == ("RGB", (5, 4))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("L", "PNG"),
        ("P", "PNG"),
        ("P", "GIF"),
        ("RGB", "PNG"),
        ("RGBA", "PNG"),
        ("LA", "PNG"),
        ("RGB", "WEBP"),
        ("RGB", "BMP"),
        ("RGB", "TIFF"),
        ("CMYK", "TIFF"),
        ("RGB", "PPM"),
    ],
)
def test_files_of_many_kinds_keep_their_colours(mode, kind, tmp_path):
    source = gradient(mode=mode)
    path = tmp_path / "picture"
    path.write_bytes(encode(source, kind, **({"lossless": True} if kind == "WEBP" else {})))
    found, wanted = np.asarray(open_image(path), int), np.asarray(source.convert("RGB"), int)
    assert np.abs(found - wanted).max() <= 1


def test_a_cmyk_jpeg_is_not_inverted():
    red = open_image(encode(Image.new("RGB", (16, 16), "red").convert("CMYK"), "JPEG"))
    assert red.getpixel((8, 8))[0] > 200 and red.getpixel((8, 8))[1] < 60


def test_one_bit_is_black_and_white():
    opened = open_image(encode(Image.fromarray(np.array([[True, False]]))))
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 0)]


def test_sixteen_bit_grey_is_scaled_not_clipped():
    values = np.array([[0, 256, 32768, 65535]], np.uint16)
    opened = open_image(encode(Image.fromarray(values)))
    assert [opened.getpixel((x, 0))[0] for x in range(4)] == [0, 1, 128, 255]


@pytest.mark.parametrize(("top", "grey"), [(1.0, 128), (255.0, 128)])
def test_float_images_in_either_range(top, grey):
    opened = open_image(Image.fromarray(np.array([[0, top / 2, top]], np.float32)))
    assert opened.getpixel((0, 0))[0] == 0 and opened.getpixel((2, 0))[0] == 255
    assert abs(opened.getpixel((1, 0))[0] - grey) <= 1


def test_transparency_becomes_white():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 128))
    opened = open_image(encode(image))
    assert opened.getpixel((0, 0)) == (255, 255, 255)
    assert opened.getpixel((1, 0)) == (127, 127, 127)


def test_a_transparent_palette_colour_becomes_white():
    image = Image.new("P", (2, 1), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    opened = open_image(encode(image, "PNG", transparency=0))
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 255)]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation):
    upright = Image.new("RGB", (64, 32), "blue")
    upright.paste("red", (0, 0, 16, 16))  # a red corner at the upper left
    undo = {2: (0,), 3: (3,), 4: (1,), 5: (5,), 6: (2,), 7: (6,), 8: (4,)}.get(orientation, ())
    stored = upright
    for turn in undo:
        stored = stored.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_image(encode(stored, "PNG", exif=exif))
    assert np.array_equal(np.asarray(opened), np.asarray(upright))


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    moving = Image.open(io.BytesIO(encode(frames[0], "GIF", save_all=True, append_images=frames[1:])))
    moving.seek(2)
    assert open_image(moving).getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"this is only text, whatever its name", "not an image"),
        (b"", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
        (half(encode(gradient((400, 300)))), "cut short"),
        (half(encode(gradient((400, 300)), "JPEG")), "cut short"),
        (half(encode(gradient((400, 300)), "GIF")), "cut short"),
        (half(encode(gradient((400, 300)), "WEBP")), "cut short|not an image"),
        (header_only_png(10000, 5001), "50 megapixels"),
        (header_only_png(60000, 60000), "50 megapixels"),
        (header_only_png(30, 30), "cut short"),
    ],
    ids=lambda part: part if isinstance(part, str) else "file",
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_broken_and_hostile_files_are_refused_in_one_sentence(data, says, tmp_path):
    path = tmp_path / "upload.png"
    path.write_bytes(data)
    for source in (path, str(path), data):
        with pytest.raises(ValueError, match=says) as refusal:
            open_image(source, "Source")
        text = str(refusal.value)
        assert text.startswith("Source: ") and text.endswith(".") and "\n" not in text


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="60 megapixels"):
        open_image(header_only_png(10000, 6000))


def test_the_global_limit_of_pillow_stays_and_is_not_needed(monkeypatch):
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ValueError):
        open_image(header_only_png(60000, 60000))
    assert limit == Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ValueError, match="3600 megapixels"):
        open_image(header_only_png(60000, 60000))


def test_files_over_twenty_megabytes_are_refused(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(encode(gradient()) + b"\0" * images.MAX_BYTES)
    for source in (path, path.read_bytes()):
        with pytest.raises(ValueError, match="at most 20 MB"):
            open_image(source)


@pytest.mark.parametrize("source", [None, 3, "no/such/file.png", "."])
def test_no_file_is_a_sentence(source):
    with pytest.raises(ValueError, match=r"^Image: .*\.$"):
        open_image(source)


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_tensors_and_images_round_trip(fit):
    image = gradient((32, 32))
    tensor = square_tensor(image, 32, fit)
    assert tensor.shape == (1, 3, 32, 32) and tensor.dtype == torch.float32
    assert tensor.min() >= -1 and tensor.max() <= 1
    assert np.array_equal(np.asarray(to_pil(tensor)[0]), np.asarray(image))


def test_crop_keeps_the_middle_and_pad_keeps_everything():
    wide = Image.new("RGB", (90, 30), "black")
    wide.paste("red", (30, 0, 60, 30))
    crop, pad = square_tensor(wide, 30, "crop"), square_tensor(wide, 30, "pad")
    assert torch.equal(crop[0, :, 15, 15], torch.tensor([1.0, -1, -1])) and crop[0, 0].mean() > 0.99
    assert torch.equal(pad[0, :, 2, 15], torch.tensor([1.0, 1, 1]))  # white above
    assert torch.equal(pad[0, :, 15, 2], torch.tensor([-1.0, -1, -1]))  # the black left end is still there


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3000, 2)])
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_any_shape_becomes_a_square(size, fit):
    assert square_tensor(Image.new("RGB", size), 16, fit).shape == (1, 3, 16, 16)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="'crop' or 'pad'"):
        square_tensor(gradient(), 16, "stretch")


def test_values_outside_are_clamped_and_nan_is_no_black_image():
    assert to_pil(torch.full((2, 3, 4, 4), 9.0))[1].getpixel((0, 0)) == (255, 255, 255)
    with pytest.raises(ValueError, match="not numbers"):
        to_pil(torch.full((1, 3, 4, 4), float("nan")))


def test_a_painted_layer_is_a_mask_by_its_opacity():
    layer = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    layer.paste((0, 0, 0, 255), (0, 0, 4, 8))
    layer.putpixel((6, 6), (255, 255, 255, 127))
    mask = square_mask(layer, 8)
    assert mask.shape == (1, 1, 8, 8)
    assert mask[0, 0, :, :4].min() == 1 and mask[0, 0, :, 4:].max() == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1"])
def test_an_opaque_image_is_a_mask_by_its_brightness(mode):
    drawn = Image.new("L", (8, 8), 0)
    drawn.paste(255, (2, 2, 6, 6))
    mask = square_mask(open_mask(encode(drawn.convert(mode))), 8)
    assert mask.sum() == 16 and mask[0, 0, 2:6, 2:6].min() == 1
    assert np.unique(np.asarray(mask_to_pil(mask)[0])).tolist() == [0, 255]


def test_a_mask_lies_where_the_image_lies_and_padding_is_kept():
    wide = Image.new("L", (90, 30), 0)
    wide.paste(255, (30, 0, 60, 30))
    assert square_mask(wide, 30, "crop").mean() == 1
    everything = square_mask(Image.new("L", (90, 30), 255), 30, "pad")
    assert everything[0, 0, 15].min() == 1 and everything[0, 0, :9].max() == 0


def test_an_empty_layer_is_an_empty_mask():
    assert square_mask(Image.new("RGBA", (8, 8), (255, 255, 255, 0)), 8).sum() == 0


def test_a_picture_and_a_mask_at_their_own_size():
    picture = Image.effect_noise((7, 5), 60).convert("RGB")
    tensor = images.native_tensor(picture)
    assert tensor.shape == (1, 3, 5, 7)
    assert images.to_pil(tensor)[0].tobytes() == picture.tobytes()
    drawn = Image.new("L", (7, 5), 0)
    drawn.paste(255, (2, 1, 4, 3))
    mask = images.native_mask(drawn)
    assert mask.shape == (1, 1, 5, 7) and mask.sum() == mask[..., 1:3, 2:4].sum() == 4


def test_a_crop_box_is_in_percent_and_never_empty():
    picture = Image.new("RGB", (200, 100))
    picture.paste("red", (50, 20, 100, 80))
    cut = images.crop_box(picture, 25, 20, 50, 80)
    assert cut.size == (50, 60) and cut.getcolors() == [(3000, (255, 0, 0))]
    assert images.crop_box(picture, 0, 0, 100, 100).size == (200, 100)
    assert images.crop_box(picture, 10, 10, 10.1, 10.1).size == (1, 1)
    nan = float("nan")
    for sides in ((50, 0, 20, 100), (0, 0, 101, 100), (-1, 0, 100, 100), (0, 30, 100, 30), (0, nan, 9, 9)):
        with pytest.raises(ValueError, match="Exemplar crop: left must be less than right"):
            images.crop_box(picture, *sides, field="Exemplar crop")
