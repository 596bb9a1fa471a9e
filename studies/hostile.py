"""Malformed pictures as a careless or hostile visitor uploads them, each by its number."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

FORMATS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tiff"}
HEADS = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    b"GIF89a",
    b"RIFF\x00\x00\x00\x00WEBP",
    b"BM",
    b"II*\x00",
    b"%PDF-1.7",
)
TEXTS = (
    "This is no picture.",
    "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "<html><body><img src=x onerror=alert(1)></body></html>",
    "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
    "push graphic-context\nfill 'url(https://127.0.0.1/x.png\"|ls \"-la)'\npop graphic-context\n",
    "#!/bin/sh\necho no\n",
    '{"image": null}',
)


def malformed(number: int, folder: Path) -> Path:
    """A file that no honest camera wrote. The same number gives the same file."""
    rng = np.random.default_rng(number)
    makers: tuple[Callable, ...] = (
        _text,
        _cut,
        _noise_after_a_head,
        _damaged_png,
        _bomb,
        _empty,
        _archive,
        _lying,
    )
    data, ending = makers[number % len(makers)](rng, number // len(makers))
    path = folder / f"upload-{number}{ending}"
    path.write_bytes(data)
    return path


RECORDS = (
    "{",
    "null",
    "[1, 2]",
    "[" * 100_000,
    "{}",
    '{"method": "imagic"}',
    {"method": "telepathy"},
    {"method": "../../etc/passwd"},
    {"method": "<script>alert(1)</script>"},
    {"method": "x" * 5000},
    {"method": ["imagic"]},
    {"models": 5},
    {"prompts": {"prompt": 5}},
    {"prompts": ["a", "b"]},
    {"knobs": {"eta": 1e9}},
    {"knobs": {"eta": 10**400}},
    {"knobs": {"eta": float("nan")}},
    {"knobs": {"steps": "many"}},
    {"knobs": {"steps": [1]}},
    {"knobs": {"seed": -1}},
    {"knobs": {"tune": "everything"}},
    {"knobs": "eta=1"},
    {"method": "styleclip_directions", "knobs": {"alpha": 1e30}},
    {"method": "styleclip_mapper", "knobs": {"train_steps": 0.5}},
    {"method": "paint_by_example", "knobs": {"exemplar_left": "x"}},
    {"method": "sdedit", "knobs": {"strength": 7}},
)  # what a PNG may say of itself: texts as they are, or what is wrong in a record that is right otherwise


def lying_record(number: int, folder: Path) -> Path:
    """A good PNG that carries settings which no page ever wrote."""
    said = RECORDS[number % len(RECORDS)]
    if not isinstance(said, str):
        said = json.dumps({"method": "imagic", "models": "toon", "prompts": {}, "knobs": {}} | said)
    text = PngImagePlugin.PngInfo()
    text.add_text("textedit", said)
    path = folder / f"settings-{number}.png"
    good(number).save(path, pnginfo=text)
    return path


def good(number: int, size: int = 48) -> Image.Image:
    """A picture that differs with the number."""
    pixels = np.random.default_rng(10_000 + number).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)


def _saved(rng: np.random.Generator, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def _text(rng: np.random.Generator, number: int) -> tuple[bytes, str]:
    return TEXTS[number % len(TEXTS)].encode(), ".png"


def _cut(rng: np.random.Generator, number: int) -> tuple[bytes, str]:
    kind = list(FORMATS)[number % len(FORMATS)]
    data = _saved(rng, kind)
    return data[: int(len(data) * rng.uniform(0.02, 0.7))], FORMATS[kind]


def _noise_after_a_head(rng: np.random.Generator, number: int) -> tuple[bytes, str]:
    return HEADS[number % len(HEADS)] + rng.bytes(int(rng.integers(1, 5000))), ".png"


def _damaged_png(rng: np.random.Generator, number: int) -> tuple[bytes, str]:
    data = bytearray(_saved(rng, "PNG"))
    for place in rng.integers(60, len(data) - 60, 40):
        data[place] ^= 0xFF
    return bytes(data), ".png"


def _bomb(rng: np.random.Generator, number: int) -> tuple[bytes, str]:
    side = int(rng.integers(8_000, 2**31 - 1))
    chunk = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return HEADS[0] + body + struct.pack(">I", 0) + b"IEND\xaeB`\x82", ".png"


def _empty(rng: np.random.Generator, number: int) -> tuple[bytes, str]:
    return bytes(number % 4), ".jpg"


def _archive(rng: np.random.Generator, number: int) -> tuple[bytes, str]:
    heads = (b"PK\x03\x04", b"\x1f\x8b\x08", b"7z\xbc\xaf", b"\x7fELF", b"MZ", b"\x80\x04\x95")
    return heads[number % len(heads)] + rng.bytes(300), ".png"


def _lying(rng: np.random.Generator, number: int) -> tuple[bytes, str]:
    """A PNG whose header claims another size than its checksum was made for."""
    data = bytearray(_saved(rng, "PNG"))
    data[20:24] = struct.pack(">I", 4_000 + number)
    return bytes(data), ".png"
