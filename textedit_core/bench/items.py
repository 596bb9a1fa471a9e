"""Readers of the folders of published benchmarks, and of our own layout."""

from __future__ import annotations

import csv
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from textedit_core.bench.item import Item
from textedit_core.images import square_mask

PIE_SIDE = 512
COCOEE_KNOBS = {"steps": 50, "sampler": "plms", "guidance_scale": 5.0, "seed": 42}
OWN_PICTURES = ("image", "mask", "exemplar", "answer")
OWN_TEXTS = ("prompt", "caption", "target", "group")
LIST_ENDINGS = (".jsonl", ".json", ".tsv", ".csv", ".txt")
IMAGE_KEYS = ("image", "image_path", "img_name", "file_name", "original_image")
PROMPT_KEYS = ("prompt", "target_text", "target", "editing_prompt")


def read_folder(folder: Path) -> list[Item]:
    """The items of a folder in any layout known here, recognised by the files in it.

    items.jsonl: our own (`own_layout`); mapping_file.json: PIE-Bench; GT_3500/: COCOEE; else a list of
    images and target texts, TEdBench. ValueError, a sentence, where none fits.
    """
    if not folder.is_dir():
        raise ValueError(f"There is no folder '{folder}': name toon, pie, tedbench, cocoee, or a folder.")
    if (folder / "items.jsonl").is_file():
        return own_layout(folder)
    if (folder / "mapping_file.json").is_file():
        return pie(folder)
    if (folder / "GT_3500").is_dir():
        return cocoee(folder)
    return tedbench(folder)


def own_layout(folder: Path) -> list[Item]:
    """FOLDER/items.jsonl, one JSON object a line: {"image": "images/cat.png", "prompt": "a black cat"}.

    `image`, and where there is one `mask`, `exemplar`, `answer`: paths below the folder. `prompt`: the wanted
    result; `caption`, `target`: before and after, in the same words but for the edit. `name`: the
    image's unless given. `group`: a word the report sorts by. `knobs`: settings by name. ValueError, with the
    number of the line, for anything else.
    """
    items: list[Item] = []
    lines = (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            paths = {key: folder / found[key] for key in OWN_PICTURES if key in found}
            texts = {key: str(found[key]) for key in OWN_TEXTS if key in found}
            name = found.get("name", Path(found["image"]).stem)
            items.append(
                Item(
                    safe_name(str(name)),
                    paths.get("image"),
                    prompt=texts.get("prompt", ""),
                    caption=texts.get("caption", ""),
                    target=texts.get("target", ""),
                    mask=paths.get("mask"),
                    exemplar=paths.get("exemplar"),
                    answer=paths.get("answer"),
                    group=texts.get("group", ""),
                    knobs=dict(found.get("knobs", {})),
                )
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"items.jsonl: line {number} is no item; write it as "
                '{"image": "images/cat.png", "prompt": "a black cat"}.'
            ) from error
    return _distinct(items, folder)


def pie(folder: Path) -> list[Item]:
    """PIE-Bench (arXiv 2310.01506): mapping_file.json and annotation_images/.

    The prompts without their brackets. The blended word becomes prompt_to_prompt's blend words, and the new
    one is weighted twice, as in the published runs; the group is the type of the edit.
    """
    mapping = _json(folder / "mapping_file.json")
    items: list[Item] = []
    for name, entry in mapping.items():
        source, target = (_without_brackets(entry[key]) for key in ("original_prompt", "editing_prompt"))
        words = entry.get("blended_word", "").split()
        items.append(
            Item(
                safe_name(name),
                folder / "annotation_images" / entry["image_path"],
                prompt=target,
                caption=source,
                target=target,
                mask=partial(_pie_mask, tuple(entry.get("mask", ()))),
                group=str(entry.get("editing_type_id", "")),
                knobs={"blend_words": " ".join(words), "word_weights": f"{words[-1]}=2"} if words else {},
            )
        )
    return _distinct(items, folder)


def pie_mask(runs: tuple[int, ...], side: int = PIE_SIDE) -> np.ndarray:
    """PIE-Bench's mask, flat (start, length) pairs in rows, as (side,side) of 0 and 1; its border is 1."""
    flat = np.zeros(side * side, dtype=np.uint8)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        flat[start : start + length] = 1
    mask = flat.reshape(side, side)
    mask[[0, -1], :] = 1
    mask[:, [0, -1]] = 1
    return mask


def cocoee(folder: Path) -> list[Item]:
    """COCOEE (arXiv 2211.13227): GT_3500/, Ref_3500/ and Mask_bbox_3500/, by the ids found in the first.

    The masks are white where the exemplar is to go. The settings are those of the published run: PLMS with 50
    steps, lambda 5, seed 42, the exemplar squashed to the encoder's square. Two things differ: that run drew
    each batch's noise after the last one's, here every item has the noise of its seed; and it kept the
    decoded picture whole, here what lies outside of the mask stays the source's.
    """
    names = sorted(path.name.removesuffix("_GT.png") for path in (folder / "GT_3500").glob("*_GT.png"))
    if not names:
        raise ValueError(f"COCOEE: '{folder / 'GT_3500'}' holds no files such as 000000000001_GT.png.")
    return [
        Item(
            safe_name(name),
            folder / "GT_3500" / f"{name}_GT.png",
            mask=folder / "Mask_bbox_3500" / f"{name}_mask.png",
            exemplar=folder / "Ref_3500" / f"{name}_ref.png",
            knobs=COCOEE_KNOBS,
            squash=True,
        )
        for name in names
    ]


def tedbench(folder: Path) -> list[Item]:
    """TEdBench (arXiv 2210.09276): images, and one list of (image, target text).

    The list is a JSON list, JSON lines, or lines of "image, text" or "image<tab>text"; the only file of such
    an ending in the folder. Images are looked for beside it, in originals/ and in images/.
    """
    lists = [path for path in sorted(folder.iterdir()) if path.suffix in LIST_ENDINGS and path.is_file()]
    lists = [path for path in lists if path.stem.lower() not in ("readme", "license")]
    if len(lists) != 1:
        raise ValueError(
            f"'{folder}' is in no layout known here: one list of images and target texts is wanted, or "
            f"items.jsonl; there are {len(lists)} lists."
        )
    items: list[Item] = []
    for image, text in _pairs(lists[0]):
        places = [folder / part / image for part in ("", "originals", "images")]
        found = next((place for place in places if place.is_file()), places[0])
        items.append(Item(safe_name(f"{len(items) + 1:03d}-{Path(image).stem}"), found, prompt=text))
    return _distinct(items, folder)


def safe_name(name: str) -> str:
    """The name with all characters replaced that a folder's name cannot have."""
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip(".-") or "item"


def _pairs(path: Path) -> list[tuple[str, str]]:
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".json":
        rows = _json(path)
        rows = list(rows.items()) if isinstance(rows, dict) else rows
    elif path.suffix == ".jsonl":
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    else:
        mark = "\t" if "\t" in text else ","
        rows = [_two(line, mark) for line in text.splitlines() if line.strip()]
    return [_pair(row, path) for row in rows if not _is_heading(row)]


def _two(line: str, mark: str) -> list[str]:
    """The two fields of a line; a text with commas in it need not be quoted."""
    fields = next(csv.reader([line], delimiter=mark, skipinitialspace=True))
    return fields if len(fields) == 2 else line.split(mark, 1)


def _pair(row: Any, path: Path) -> tuple[str, str]:
    if isinstance(row, dict):
        known = ([row[key] for key in keys if key in row] for keys in (IMAGE_KEYS, PROMPT_KEYS))
        image, text = (values[0] if values else None for values in known)
    else:
        image, text = row[:2] if isinstance(row, list | tuple) and len(row) >= 2 else (None, None)
    if not (isinstance(image, str) and isinstance(text, str) and image.strip() and text.strip()):
        raise ValueError(f"{path.name}: {row!r} is no pair of an image and a target text.")
    return image.strip(), text.strip()


def _is_heading(row: Any) -> bool:
    return isinstance(row, list | tuple) and str(row[0]).strip().lower() in IMAGE_KEYS


def _pie_mask(runs: tuple[int, ...], size: int) -> Tensor:
    return square_mask(Image.fromarray(pie_mask(runs) * 255), size)


def _without_brackets(text: str) -> str:
    return " ".join(text.replace("[", "").replace("]", "").split())


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name}: it is no JSON; take it as it was published.") from error


def _distinct(items: list[Item], folder: Path) -> list[Item]:
    if not items:
        raise ValueError(f"'{folder}' has no items.")
    seen: set[str] = set()
    for item in items:
        if item.name in seen:
            raise ValueError(f"'{folder}' has two items called '{item.name}': give each a name of its own.")
        seen.add(item.name)
    return items
