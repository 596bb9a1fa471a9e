"""Every bad upload of the design is one sentence beside the field, through the running app."""

import struct
import zlib

import pytest
from gradio_client import handle_file
from PIL import Image


def write(tmp_path, kind: str) -> str:
    path = tmp_path / f"{kind}.png"
    if kind == "text":
        path.write_text("This is no picture, whatever its name says.")
    elif kind == "truncated":
        Image.effect_noise((200, 200), 80).save(path)
        path.write_bytes(path.read_bytes()[:3000])
    elif kind == "bomb":
        header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
        chunk = b"IHDR" + header
        body = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + body + struct.pack(">I", 0) + b"IEND\xaeB`\x82")
    elif kind == "pixels":
        Image.new("1", (8000, 7000)).save(path)
    elif kind == "large":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(21 * 2**20))
    elif kind == "empty":
        path.write_bytes(b"")
    return str(path)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("text", "not an image the studio can read"),
        ("truncated", "damaged or cut short"),
        ("bomb", "far too many pixels|megapixels"),
        ("pixels", "56 megapixels"),
        ("large", "21.0 MB; use one of at most 20 MB"),
        ("empty", "not an image the studio can read"),
    ],
)
def test_a_bad_upload_is_refused_with_a_sentence_that_names_the_field(client, tmp_path, kind, says):
    path = write(tmp_path, kind)
    with pytest.raises(Exception, match=says) as caught:
        client.predict(image=handle_file(path), prompt="a red hat", api_name="/imagic_edit")
    assert "image: Source image:" in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I;16", "1"])
def test_any_mode_and_shape_is_edited(client, tmp_path, mode):
    path = tmp_path / ("odd.tiff" if mode == "CMYK" else "odd.png")
    Image.effect_noise((37, 61), 60).convert("RGB" if mode == "CMYK" else "L").convert(mode).save(path)
    asked = {"image": handle_file(str(path)), "prompt": "a red hat", "sizing": "pad"}
    settings = {"embedding_steps": 1, "finetune_steps": 0, "steps": 1}
    edited = client.predict(**asked, **settings, api_name="/imagic_edit")[0]
    with Image.open(edited) as image:
        assert image.size == (32, 32) and image.mode == "RGB"


def test_rotation_in_the_file_is_applied_before_anything_is_shown(client, tmp_path):
    upright = Image.new("RGB", (40, 40), "white")
    upright.paste("black", (0, 0, 40, 12))
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees clockwise
    path = tmp_path / "turned.png"
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    settings = {"embedding_steps": 1, "finetune_steps": 0, "steps": 1}
    out = client.predict(image=handle_file(str(path)), prompt="a hat", **settings, api_name="/imagic_edit")
    with Image.open(out[4]) as source:
        assert source.getpixel((16, 2))[0] < 60 and source.getpixel((16, 29))[0] > 200
