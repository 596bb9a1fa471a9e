"""python -m studies.pick_paint_examples --out demos/examples/paint_by_example: portraits, masks, parts.

A held-out portrait at the models' size, the box in which a part is to change, and that part of another
portrait. Which ones is chosen by eye, of those that the toon model makes with seed 0 by the attribute
classifier: their numbers among the edits of `held_out_part_edits`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from textedit_core import images
from textedit_core.toon.parts import held_out_part_edits
from textedit_core.toon.render import render

PICKED = (41, 46, 47, 12, 50, 34, 48, 66)
FINE = 128  # pixels at which parts are found and exemplars drawn
EXEMPLAR = 96


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=64, help="pixels of the models' pictures")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    edits, rows = held_out_part_edits(max(PICKED) + 1, FINE), []
    for number, edit in enumerate((edits[at] for at in PICKED), start=1):
        kinds = ("source", "mask", "exemplar")
        names = {kind: f"{number:02d}-{kind}.png" for kind in kinds}
        mask = images.mask_to_pil(edit.mask(FINE))[0].resize((options.size, options.size))
        render(edit.scene, options.size).save(options.out / names["source"], optimize=True)
        mask.point(lambda value: 255 * (value >= 128)).convert("1").save(options.out / names["mask"])
        example = images.to_pil(edit.exemplar(FINE, EXEMPLAR))[0]
        example.save(options.out / names["exemplar"], optimize=True)
        files = {kind: names[kind] for kind in kinds[1:]}
        label = getattr(edit.other, edit.asked)
        rows.append({"image": names["source"], "label": label, "files": files})
    (options.out / "index.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
