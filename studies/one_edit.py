"""What one edit on the page enters: the project's functions and files, from the button to the UNet.

python -m studies.one_edit

The page is served on the bundled models with two steps of each stage; the picture is prepared, then eta is
moved and Edit pressed. Counted are the distinct functions and files of demos/ and textedit_core/ that this
second press enters in any thread, whatever for; and those on the stack when the UNet is called: the way
of eta. Lambdas, comprehensions and generated methods count with what they stand in.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FACE = ROOT / "demos" / "examples" / "imagic" / "01.png"
STEPS = {"embedding_steps": 2, "finetune_steps": 2, "steps": 2}


class Entered:
    """The functions that were entered while `counting`, as (file, first line, name)."""

    def __init__(self) -> None:
        self.counting, self.found, self.way = False, set(), []

    def __call__(self, frame, event: str, argument: object) -> None:
        code = frame.f_code
        if self.counting and event == "call" and not code.co_name.startswith("<"):
            if place := own(code):
                self.found.add(place)
            if code.co_name == "forward" and code.co_filename.endswith("unet_2d_condition.py"):
                self.way = list(stack(frame))


def own(code) -> tuple[str, int, str] | None:
    """Where a function of the project stands; None for one of a library."""
    path = Path(code.co_filename)
    if any(path.is_relative_to(ROOT / part) for part in ("demos", "textedit_core")):
        return path.relative_to(ROOT).as_posix(), code.co_firstlineno, code.co_name
    return None


def stack(frame) -> Iterator[tuple[str, int, str]]:
    """The project's functions that are at work in a frame, the innermost first."""
    while frame is not None:
        if (place := own(frame.f_code)) and not place[2].startswith("<"):
            yield place
        frame = frame.f_back


def main() -> None:
    entered = Entered()
    threading.setprofile(entered)  # of the threads that serve the page, which start from here on
    from gradio_client import Client, handle_file

    from demos.app import LAUNCH_KWARGS, create_app
    from textedit_core.models import zoo

    demo = create_app(zoo, models="toon", device="cpu")
    _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, _frontend=False, **LAUNCH_KWARGS)
    client = Client(address, verbose=False, httpx_kwargs={"timeout": 300})
    asked = {"image": handle_file(str(FACE)), "prompt": "a happy person", **STEPS}
    client.predict(**asked, eta=0.5, api_name="/imagic_edit")
    entered.counting = True
    client.predict(**asked, eta=0.7, api_name="/imagic_edit")
    entered.counting = False
    demo.close()
    for file, line, name in sorted(entered.found):
        sys.stdout.write(f"{file}:{line} {name}\n")
    sys.stdout.write("On the stack when the UNet is called:\n")
    for file, line, name in reversed(entered.way):
        sys.stdout.write(f"  {file}:{line} {name}\n")
    files = {file for file, _, _ in entered.way}
    sys.stdout.write(f"{len(set(entered.way))} functions in {len(files)} files are on the way of eta\n")
    files = {file for file, _, _ in entered.found}
    sys.stdout.write(f"{len(entered.found)} functions in {len(files)} files are entered\n")


if __name__ == "__main__":
    main()
