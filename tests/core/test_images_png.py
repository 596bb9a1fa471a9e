"""A PNG opens if and only if its compressed data hold every row that its header promises."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.core.test_images import encode, gradient
from textedit_core import images
from textedit_core.images import open_image, open_mask


def png(
    size: tuple[int, int], depth: int, colour: int, interlaced: bool, missing: int = 0, chunk: int = 100
) -> bytes:
    """A PNG of noise with any bit depth and colour type, less the last `missing` bytes of its rows.

    Its compressed data are whole in themselves, in chunks of at most `chunk` bytes.
    """
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    starts = [(0, 0, 1, 1)]
    if interlaced:  # the seven passes of the specification, section 8
        starts = [
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        ]
    rows, noise = b"", np.random.default_rng(0)
    for left, top, across, down in starts:
        columns = len(range(left, size[0], across))
        for _ in range(top, size[1], down) if columns else ():
            rows += b"\0" + noise.bytes((columns * depth * channels + 7) // 8)
    packed = zlib.compress(rows[: len(rows) - missing] if missing >= 0 else rows + bytes(-missing))
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced)
    palette = [(b"PLTE", bytes(range(256)) * 3)] if colour == 3 else []
    data = [(b"IDAT", packed[at : at + chunk]) for at in range(0, len(packed), chunk)]
    chunks = [(b"IHDR", header), *palette, *data, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


PNG_KINDS = [
    (1, 0),
    (2, 0),
    (4, 0),
    (8, 0),
    (16, 0),
    (8, 2),
    (16, 2),
    (1, 3),
    (2, 3),
    (4, 3),
    (8, 3),
    (8, 4),
    (16, 4),
    (8, 6),
    (16, 6),
]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("depth", "colour"), PNG_KINDS)
def test_a_png_is_refused_if_and_only_if_a_byte_of_its_rows_is_missing(depth, colour, interlaced):
    for size in ((1, 1), (3, 1), (1, 7), (5, 3), (13, 9), (33, 17)):
        assert open_image(png(size, depth, colour, interlaced)).size == size
        with pytest.raises(ValueError, match="Source: the file is damaged or cut short"):
            open_image(png(size, depth, colour, interlaced, missing=1), "Source")


@pytest.mark.parametrize("interlaced", [False, True])
def test_more_rows_than_promised_and_odd_chunks_pass(interlaced):
    plain = np.asarray(open_image(png((13, 9), 8, 2, interlaced)))
    for data in (png((13, 9), 8, 2, interlaced, missing=-1000), png((13, 9), 8, 2, interlaced, chunk=1)):
        assert np.array_equal(np.asarray(open_image(data)), plain)


def test_a_png_that_holds_half_its_rows_is_refused_also_as_a_mask_and_unread(tmp_path):
    whole, short = (png((64, 64), 8, 2, False, missing) for missing in (0, 32 * (1 + 3 * 64)))
    assert Image.open(io.BytesIO(short)).convert("RGB").size == (64, 64)  # Pillow says nothing
    path = tmp_path / "short.png"
    path.write_bytes(short)
    for source in (path, short, Image.open(path)):
        for opens in (open_image, open_mask):
            with pytest.raises(ValueError, match="cut short"):
                opens(source)
    unread = Image.open(io.BytesIO(whole))
    assert np.array_equal(np.asarray(open_image(unread)), np.asarray(open_image(whole)))


def test_an_animated_png_opens_and_one_with_a_short_first_frame_does_not():
    frames = [gradient((20, 10)), Image.new("RGB", (20, 10), "red")]
    whole = encode(frames[0], save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(whole)).n_frames == 2
    assert np.array_equal(np.asarray(open_image(whole)), np.asarray(frames[0]))
    at = whole.index(b"IDAT")
    length = struct.unpack(">I", whole[at - 4 : at])[0]
    rows = zlib.compress(zlib.decompress(whole[at + 4 : at + 4 + length])[:-1])
    chunk = struct.pack(">I", len(rows)) + b"IDAT" + rows + struct.pack(">I", zlib.crc32(b"IDAT" + rows))
    with pytest.raises(ValueError, match="cut short"):
        open_image(whole[: at - 4] + chunk + whole[at + 8 + length :])


def test_counting_the_rows_of_a_large_png_holds_little_and_stops_at_the_last_row():
    rows = zlib.compress(bytes(40 * 2**20), 1)
    header = struct.pack(">IIBBBBB", 1000, 1000, 8, 2, 0, 0, 0)
    data = b"".join(
        struct.pack(">I4s", len(body), kind) + body + bytes(4)
        for kind, body in ((b"IHDR", header), (b"IDAT", rows))
    )
    tracemalloc.start()
    images._check_rows(io.BytesIO(bytes(8) + data))
    assert tracemalloc.get_traced_memory()[1] < 2 * 2**20
    tracemalloc.stop()
