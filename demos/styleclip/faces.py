"""The face in a picture of one's own: four clicks or a detector, and the square that is cut out for it."""

import gradio as gr

from demos.shared.marks import Tile, figures, note
from demos.shared.pictures import thumbnail
from demos.shared.uploads import opened
from demos.styleclip import latents as runs
from textedit_core import images
from textedit_core.models.style import face_detector
from textedit_core.models.style.alignment_of_faces import aligned, square_of_points, write_points

SIDE = 128  # pixels of the face as it is shown
WHY = (
    "Generators of faces know them upright and of one size. Click on the picture above: the eyes, then the "
    "corners of the mouth, left as you see them."
)
ORDER = ("the left eye", "the right eye", "the left corner of the mouth", "the right corner of the mouth")


def can_find() -> bool:
    """Whether this host has a detector."""
    return face_detector.is_installed()


def click(marked: str, chosen: gr.SelectData) -> tuple[str, str]:
    """A click on the picture adds a point; the fifth begins anew. Returns the points and what comes next."""
    points = (marked or "").split()
    points = [*(points if len(points) < len(ORDER) else []), write_points([chosen.index])]
    return " ".join(points), note(next_word(points))


def next_word(points: list[str]) -> str:
    """What is to be clicked on next."""
    left = ORDER[len(points) :]
    return f"Now click on {left[0]}, as you see it." if left else "This is the face as it will be edited."


def find(image: str | None) -> tuple[str, str]:
    """Ask the detector for the four points."""
    try:
        if not image:
            raise ValueError("Add a picture first.")
        points = write_points(face_detector.find_face(opened(image, runs.OWN)))
    except ValueError as error:
        return "", note(str(error), "problem")
    return points, note(next_word(points.split()))


def problem(image: str, points: str | None) -> dict[str, str]:
    """Why the points cannot be used, by field, or nothing."""
    try:
        if (points or "").strip():
            aligned(opened(image, runs.OWN), square_of_points(points), 16)
    except ValueError as error:
        return {"face": str(error)}
    return {}


def say(image: str | None, points: str) -> tuple[str, str]:
    """The square that is cut out, as HTML, and what is still to be done."""
    marked = (points or "").split()
    if not image or not marked:
        return "", note(WHY)
    if len(marked) < len(ORDER):
        return "", note(next_word(marked))
    try:
        square = square_of_points(points)
        face = aligned(opened(image, runs.OWN), square, SIDE)
    except ValueError as error:
        return "", note(str(error), "problem")
    picture = thumbnail(images.square_tensor(face, SIDE))
    tile = Tile(picture, "The face", (f"{square.side:.0f} pixels of your picture",))
    return figures([tile], "The face as it is cut out", "latent"), note(next_word(marked))
