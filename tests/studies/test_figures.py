"""The papers' figures on tiny models: every system and value has its column, every picture its row."""

import json

import pytest
from PIL import Image

from studies import figures


@pytest.mark.parametrize("paper", ["imagic", "null_text", "styleclip", "paint_by_example"])
def test_a_paper_is_drawn_from_its_examples(tiny_folder, tmp_path, paper, monkeypatch):
    shown = {}

    def noted(rows):
        shown[len(shown)] = rows
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(figures, "figure", noted)
    monkeypatch.setattr(figures, "ETAS", (0.0, 1.0))
    monkeypatch.setattr(figures, "LAMBDAS", (0.0, 5.0))
    monkeypatch.setattr(figures, "ALPHAS", (0.0, 2.0))
    monkeypatch.setattr(figures, "BETAS", (0.1,))
    monkeypatch.setattr(figures, "INVERSIONS", ("ddim", "direct"))
    out, words = tmp_path / "out", []
    if paper == "null_text":  # the tiny models read short prompts alone
        told = tmp_path / "examples" / "prompt_to_prompt"
        told.mkdir(parents=True)
        Image.linear_gradient("L").convert("RGB").save(told / "01.png")
        texts = {"source_prompt": "a man", "prompt": "a cat"}
        (told / "index.json").write_text(json.dumps([{"image": "01.png", "label": "a cat", "fields": texts}]))
        words = ["--examples", str(tmp_path / "examples")]
    figures.main([paper, "--out", str(out), "--models", str(tiny_folder), "--rows", "1", *words])
    assert {path.stem for path in out.iterdir()} == set(figures.FIGURES[paper])
    for rows in shown.values():
        assert rows
        for _, pictures in rows:
            assert next(iter(pictures)) in ("source", "alpha 0")
            assert all(picture.shape[2] == picture.shape[3] for picture in pictures.values())


def test_the_sheet_has_a_column_for_each_name_and_a_row_for_each_label():
    import torch

    row = {"source": torch.zeros(1, 3, 8, 8), "eta 1": torch.ones(1, 3, 8, 8)}
    one, two = figures.figure([("first", row)]), figures.figure([("first", row), ("second", row)])
    assert two.height - one.height >= figures.CELL and one.width >= 2 * figures.CELL
    assert one.getpixel((one.width - figures.CELL // 2, one.height // 2 + 20)) == (255, 255, 255)
    with pytest.raises(ValueError, match="There is no example"):
        figures.figure([])
