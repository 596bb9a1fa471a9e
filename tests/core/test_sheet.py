"""Contact sheets and file names: every cell in its place, every value readable, every name different."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont
from torch.nn.functional import max_pool2d

from textedit_core import sheet
from textedit_core.axes import Axis, Cell
from textedit_core.sheet import cell_name, contact_sheet, summary

COLOURS = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])


def cell(size=(8, 8), **coords) -> Cell:
    """A cell of one colour: red by eta, green by seed, no blue."""
    red, green = 2 * coords.get("eta", 0.5) - 1, 2 * coords.get("seed", 0) / 4 - 1
    image = torch.tensor([red, green, -1.0]).view(1, 3, 1, 1).expand(1, 3, *size)
    return Cell(coords, {"eta": 0.5, "seed": 0, "steps": 20, "tune": "full"} | coords, image, 0.25)


def grid(etas=(0.0, 0.5, 1.0), seeds=(0, 4)) -> list[Cell]:
    return [cell(eta=eta, seed=seed) for seed in seeds for eta in etas]


def blocks(picture: Image.Image, size: int) -> list[list[tuple[int, int, int]]]:
    """The colours of the cells, row by row: squares of `size` pixels of one colour that is not white."""
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float()
    high, low = max_pool2d(pixels, size, 1), -max_pool2d(-pixels, size, 1)
    spots = ((high == low).all(0) & (high < 255).any(0)).nonzero().tolist()
    rows = sorted({y for y, _ in spots})
    return [[tuple(high[:, y, x].int().tolist()) for above, x in spots if above == y] for y in rows]


def test_every_cell_is_in_its_place():
    picture = contact_sheet(grid(), "eta", "seed", cell_size=32)
    assert blocks(picture, 32) == [
        [(0, 0, 0), (128, 0, 0), (255, 0, 0)],
        [(0, 255, 0), (128, 255, 0), (255, 255, 0)],
    ]
    turned = contact_sheet(grid(), "seed", "eta", cell_size=32)
    assert blocks(turned, 32) == [
        [(0, 0, 0), (0, 255, 0)],
        [(128, 0, 0), (128, 255, 0)],
        [(255, 0, 0), (255, 255, 0)],
    ]


def test_places_that_are_not_finished_stay_empty():
    picture = contact_sheet(grid()[:2], Axis("eta", (0.0, 0.5, 1.0)), Axis("seed", (0, 4)), cell_size=32)
    assert blocks(picture, 32) == [[(0, 0, 0), (128, 0, 0), sheet._EMPTY], [sheet._EMPTY] * 3]
    first, second = grid()[:2]
    picture = contact_sheet([replace(first, image=None), second], "eta", cell_size=32)
    assert blocks(picture, 32) == [[sheet._EMPTY, (128, 0, 0)]], "a cell without an image is an empty place"


def test_further_axes_become_rows():
    cells = [
        Cell(one.coords | {"steps": steps}, one.settings | {"steps": steps}, one.image, 0)
        for steps in (10, 20)
        for one in grid()
    ]
    assert len(blocks(contact_sheet(cells, "eta", "seed", cell_size=32), 32)) == 4
    assert len(blocks(contact_sheet(cells, "eta", cell_size=32), 32)) == 4
    assert len(blocks(contact_sheet(grid(seeds=(0,)), "eta", cell_size=32), 32)) == 1


def drawn_texts(monkeypatch, *args, **options) -> list[str]:
    texts = []
    draw = sheet.ImageDraw.ImageDraw.text

    def note(self, spot, text, *rest):
        texts.append((spot, text))
        draw(self, spot, text, *rest)

    monkeypatch.setattr(sheet.ImageDraw.ImageDraw, "text", note)
    picture = contact_sheet(*args, **options)
    assert all(0 <= x < picture.width and 0 <= y < picture.height for (x, y), _ in texts)
    return [text for _, text in texts]


def test_axes_values_and_the_shared_settings_are_written(monkeypatch):
    texts = drawn_texts(monkeypatch, grid(), "eta", "seed", title="imagic on toon, a happy man")
    assert {"eta", "seed", "0", "0.5", "1", "4", "imagic on toon, a happy man"} <= set(texts)
    assert "steps 20, tune full" in texts


def test_a_setting_that_differs_is_not_in_the_legend(monkeypatch):
    cells = grid()
    cells[0].settings["steps"] = 3
    assert "tune full" in drawn_texts(monkeypatch, cells, "eta", "seed")


def test_long_texts_are_cut_or_wrapped_and_only_known_letters_are_drawn(monkeypatch):
    long = "a very long text that does not fit into any cell"
    cells = [cell(eta=0.5, prompt=text) for text in (long, "λ é 汉")]
    texts = drawn_texts(monkeypatch, cells, "prompt", cell_size=64, title="ein Löwe " * 60)
    assert "? e ?" in texts and any(text.endswith("...") for text in texts)
    assert sum("Lowe" in text for text in texts) > 3
    assert all(text.isascii() for text in texts)


def test_text_is_dark_on_light_and_large_enough():
    picture = np.asarray(contact_sheet(grid(), "eta", "seed", cell_size=192).convert("L"))
    assert (picture[:, 0] == 255).all() and (picture[0] == 255).all()
    assert (picture[:40] < 60).sum() > 100  # the head has ink
    assert ImageFont.load_default(14).getname()[0]  # a scalable font, not the 11 pixel bitmap


def test_images_of_any_shape_keep_their_proportions():
    wide = contact_sheet([cell(size=(8, 16), eta=0.0)], "eta", cell_size=64)
    red = (np.asarray(wide) == (0, 0, 0)).all(-1)
    assert red.any(0).sum() == 64 and red.any(1).sum() == 32


def test_sources_and_what_is_told_of_each_cell_are_on_it(monkeypatch):
    lines, source = [(f"CLIP {number}",) for number in range(6)], Image.new("RGB", (9, 9), (1, 2, 3))
    texts = drawn_texts(monkeypatch, grid(), "eta", "seed", cell_size=64, lines=lines, sources={"me": source})
    assert {f"CLIP {number}" for number in range(6)} | {"me"} <= set(texts)
    picture = contact_sheet(grid(), "eta", "seed", cell_size=32, lines=lines, sources={"me": source})
    assert blocks(picture, 32)[:2] == blocks(contact_sheet(grid(), "eta", "seed", cell_size=32), 32)
    assert blocks(picture, 32)[2] == [(1, 2, 3)]


def test_no_cell_and_no_such_axis_are_sentences():
    with pytest.raises(ValueError, match="no cell is finished"):
        contact_sheet([], "eta")
    with pytest.raises(ValueError, match="'mood' is no axis of these cells; use one of eta, seed"):
        contact_sheet(grid(), "eta", "mood")


def test_names_are_plain_and_different():
    assert cell_name(cell(eta=0.25, seed=1)) == "eta=0.25 seed=1.png"
    assert cell_name(cell(eta=1.0)) == "eta=1.png"
    texts = ("a/b", "a\\b", "../a", "a:b", "λ", "μ", "x" * 300, "x" * 301, "a b", "")
    odd = [{"prompt": text} for text in texts]
    close = [{"eta": 0.1}, {"eta": 0.1 + 1e-12}, {"eta": 1e-7}, {"eta": -0.5}, {"eta": 0.5}]
    names = [cell_name(Cell(coords, {}, COLOURS, 0)) for coords in odd + close]
    assert len(set(names)) == len(names)
    assert all(len(name) < 110 and not set(name) & set('/\\:*?"<>|') for name in names)


def test_the_summary_is_what_sweep_json_needs():
    assert summary([cell(eta=0.5)]) == [
        {
            "file": "eta=0.5.png",
            "coords": {"eta": 0.5},
            "seconds": 0.25,
            "settings": {"eta": 0.5, "seed": 0, "steps": 20, "tune": "full"},
        }
    ]
