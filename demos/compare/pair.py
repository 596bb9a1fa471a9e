"""Any two pictures beside one another: rows of a comparison, pins of the tabs, PNGs that were made here."""

from pathlib import Path

import gradio as gr

from demos.compare import comparison, runs
from demos.shared.events import follow
from demos.shared.marks import QUIET, note
from demos.shared.panel import MethodPanel
from demos.shared.pictures import before_after
from demos.shared.results import pin_captions
from demos.shared.sent import as_sent
from textedit_core import images, method, record
from textedit_core.knobs import quoted

SOURCE = "source"
MOST_ADDED = 12
# All that shows a pair waits in one line: what is asked last is answered last.
LANE = {"concurrency_id": "pair", "concurrency_limit": 1}


class Pair:
    """A slider between A and B, the settings in which they differ, both to download.

    Candidates, what can be chosen, are {key: {"label", "path", "record", "source"}}, made from the states.
    `rows` is the state of the comparison's rows; `offer_pins` adds the pins of other tabs.
    """

    def __init__(self, method: str, rows: gr.State) -> None:
        self.rows, self.added = rows, gr.State([])
        self.pins, self.names, self.headlines = [], [], []
        with gr.Column(visible=False) as self.body:
            with gr.Row(elem_classes="sides"):
                self.a = side("A", f"{method}-a")
                self.b = side("B", f"{method}-b")
            look = {"elem_classes": "compare", "elem_id": f"{method}-slider"}
            self.slider = before_after("A and B", 520, **look)
            with gr.Row(elem_classes="actions"):
                self.downloads = [gr.DownloadButton(f"Download {x}", size="sm", min_width=110) for x in "AB"]
            self.differs = gr.HTML(label="What the settings differ in", elem_id=f"{method}-differs")
        self.upload = gr.UploadButton(
            "Add a PNG made here to A and B", file_types=[".png"], size="sm", elem_id=f"{method}-add"
        )
        self.note = gr.HTML(label="About the PNG", elem_id=f"{method}-note")

    @property
    def outputs(self) -> list:
        """What `show` sets."""
        return [self.a, self.b, self.slider, self.differs, self.body, *self.downloads]

    @property
    def states(self) -> list:
        """What the candidates are made of."""
        return [self.rows, self.added, *self.pins]

    def offer_pins(self, panels: dict[str, MethodPanel]) -> None:
        """Offer what is pinned in these panels too."""
        for panel in panels.values():
            if panel.result is not None:
                self.pins.append(panel.result.pins)
                self.names.append(panel.title)
                self.headlines.append(panel.result.headline)

    def wire(self) -> None:
        """Show a choice at once, offer a new pin at once, take a PNG in."""
        chosen = [self.a, self.b, *self.states]
        changed = [self.a.input, self.b.input, *(pin.change for pin in self.pins)]
        asked = LANE | QUIET
        follow(changed, self.choose, chosen, self.outputs, api_name="compare_pair", **asked)
        outputs = [self.added, self.note, *self.outputs]
        self.upload.upload(self.add, [self.upload, *chosen], outputs, api_name="compare_add", **asked)

    # --- the candidates -----------------------------------------------------------------------------------

    def candidates(self, rows: list, added: list, *pins: list) -> dict[str, dict]:
        """All that can be A or B, by key."""
        found = {}
        for row in rows:
            if not row["problem"]:
                found.setdefault(SOURCE, {"label": "Source", "path": row["source"], "record": ""})
                found[row["name"]] = {"label": row["title"], "path": row["edit"], **_made(row)}
        for name, headline, pinned in zip(self.names, self.headlines, pins, strict=True):
            for number, pin in enumerate(pinned, 1):
                said = " · ".join(filter(None, pin_captions(pin, headline)))
                made = {"path": pin["edit"], "record": pin["record"], "source": pin["pictures"][SOURCE]}
                found[f"{name} pin {number}"] = {"label": f"Pinned in {name}, {number}: {said}", **made}
        return found | {f"png {number}": one for number, one in enumerate(added, 1)}

    def show(self, candidates: dict, a: str | None, b: str | None) -> dict:
        """Updates that put two candidates beside one another; a key that is none of theirs is replaced."""
        if len(candidates) < 2:
            return {self.body: gr.update(visible=False)}
        keys = list(candidates)
        a = a if a in candidates else keys[0]
        b = b if b in candidates else next(key for key in keys[::-1] if key != a)
        choices = [(one["label"], key) for key, one in candidates.items()]
        paths = [self.path(candidates, *two) for two in ((a, b), (b, a))]
        updates = {
            self.a: gr.update(choices=choices, value=a),
            self.b: gr.update(choices=choices, value=b),
            self.slider: tuple(paths),
            self.differs: self.say(candidates[a], candidates[b]),
            self.body: gr.update(visible=True),
        }
        return updates | dict(zip(self.downloads, paths, strict=True))

    def path(self, candidates: dict, key: str, other: str) -> str:
        """The picture of `key`; for the source that of the other side, which is cut as that one is."""
        source = candidates[other].get("source") if key == SOURCE else None
        return source or candidates[key]["path"]

    def say(self, a: dict, b: dict) -> str:
        """What the settings differ in, as HTML."""
        if not (a["record"] and b["record"]):
            return note("The source has no settings: choose two edits to see in what theirs differ.")
        return comparison.settings(runs.differences(a["record"], b["record"]), a["label"], b["label"])

    # --- handlers -----------------------------------------------------------------------------------------

    def choose(self, a: str | None, b: str | None, *states: list) -> dict:
        """Put two pictures beside one another: rows of the comparison by name, "source", pins, added PNGs.

        Returns both choices, the two pictures, what their settings differ in as HTML, and both files."""
        updates = self.show(self.candidates(*states), a, b)
        for one, asked in ((self.a, a), (self.b, b)):  # one that stays is not set: it may have moved on since
            if one in updates and updates[one]["value"] == asked:
                del updates[one]["value"]
        return updates

    def add(self, file: str, a: str | None, b: str | None, rows: list, added: list, *pins: list) -> dict:
        """Offer a PNG that the studio saved as A and B, and show it as B."""
        try:
            about = record.read_png(file)
            if about.method not in method.names():
                raise ValueError(f"PNG: this studio has no method {quoted(about.method)}, which made it.")
            images.open_image(file, "PNG")
        except ValueError as error:
            words = str(error).replace("Recall:", "PNG:", 1)
            return {self.note: note(words, "problem")}
        label = f"{Path(file).name}: {about.method.replace('_', ' ')}"
        added = [*added, {"label": label, "path": file, "record": about.to_json()}][-MOST_ADDED:]
        candidates = self.candidates(rows, added, *pins)
        words = f"{label} can be A or B now." + ("" if len(candidates) > 1 else " Add another, or compare.")
        return {
            self.added: added,
            self.note: note(words, "done"),
            **self.show(candidates, a, f"png {len(added)}"),
        }


def side(name: str, elem_id: str) -> gr.Dropdown:
    """A drop-down whose choices change; its value is checked against the candidates."""
    found = gr.Dropdown([], label=name, elem_id=elem_id, min_width=140, filterable=False)
    return as_sent(found)


def _made(row: dict) -> dict:
    return {"record": row["record"], "source": row["source"]}
