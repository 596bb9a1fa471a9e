"""python -m studies.example_results: the finished results that the app shows with its examples.

Every example of every tab is edited as a click on it and on Edit would: at the presets of the bundled models
and the seed that the page shows. The pictures go beside the examples, each with its record, under the
fingerprint of the weights that drew them. After new weights, presets or examples it is to be run again; a
test says so.
"""

from __future__ import annotations

import argparse
import io
import logging
import threading
from pathlib import Path

import gradio as gr

from demos import examples
from demos.app import TABS
from demos.context import Context
from demos.examples import finished
from demos.shared.tab import Run, Tab
from textedit_core.models import zoo

log = logging.getLogger(__name__)
MODELS = "toon"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=examples.HERE, help="the folder of all examples")
    parser.add_argument("--method", help="of this method only")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    ctx = Context(zoo, MODELS, "cpu")
    for tab in tabs(ctx):
        name = tab.view.name
        if options.method in (None, name):
            results = {number: result_of(tab, number) for number in range(len(tab.examples.examples))}
            weights = finished.weights_of(ctx.models(MODELS), tab.view.part)
            finished.write(name, weights, results, options.out)


def tabs(ctx: Context) -> list[Tab]:
    """The tabs of one method that have examples."""
    with gr.Blocks():
        models = gr.Dropdown([MODELS], value=MODELS)
        built = [module.build(ctx, models) for module in TABS if examples.read(module.METHOD)]
    return [tab for tab in built if isinstance(tab, Tab)]


def values_of(tab: Tab, number: int) -> dict:
    """The values of the tab's widgets, by name, after a click on an example."""
    asked = tab.inputs | tab.extra | tab.unfinished
    values = {name: widget.value for name, widget in asked.items()}
    values |= tab.examples.values(number, tab.from_example, tab.at_first(MODELS))
    if "mask" in values:  # the page sends what is painted as files
        values["mask"] = [png(layer) for layer in values["mask"]["layers"]]
    return values


def result_of(tab: Tab, number: int) -> dict:
    """The result of an example, as plain data."""
    values = values_of(tab, number)
    run = Run.of(tab.view.read(tab.ctx, values), threading.Event(), values)
    shown = next(one for one in reversed(list(tab.finish(run))) if tab.result.shown in one)[tab.result.shown]
    log.info("%s %d: %s", tab.view.name, number + 1, shown["words"])
    return shown | {"words": ", ".join([*shown["words"].split(", ")[:-1], "made beforehand"])}


def png(layer) -> bytes:
    """A picture as the bytes of a PNG."""
    file = io.BytesIO()
    layer.save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()
