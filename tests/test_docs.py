"""The documents: their links lead somewhere, their code runs, their numbers are those of the code."""

import ast
import importlib
import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from PIL import Image

import textedit_core
from studies import model_card
from textedit_core import like, method
from textedit_core.__main__ import parse

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "studies", "examples", "demos", "textedit_core")
PAGES = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
CARD = ROOT / "textedit_core" / "weights" / "toon" / "README.md"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NAMED = re.compile(r"`((?:textedit_core|demos|studies|tests|docs|examples)/[\w./-]+)`")  # a path in backticks
METHODS = [name for name in method.names() if name != "projection"]  # those that edit
MODULE = re.compile(r"python -m ((?:textedit_core|studies|tests)[\w.]*)")


def prose(page: Path) -> str:
    """The text of a page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def code(page: Path) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def broken_links(page: Path) -> list[str]:
    """The relative links of a page that lead nowhere."""
    broken = []
    for link in LINK.findall(prose(page)):
        path, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def rows(text: str) -> list[list[str]]:
    """The rows of all tables of a page, without backticks."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_and_path_of_a_page_is_there(page):
    assert broken_links(page) == []
    text = page.read_text(encoding="utf-8")
    unknown = [name for name in NAMED.findall(prose(page)) if not (ROOT / name).exists()]
    assert [name for name in unknown if "NAME" not in name] == []
    assert [name for name in MODULE.findall(text) if importlib.util.find_spec(name) is None] == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One heading\n[a](page.md#one-heading) [b](#none) [c](none.md) [d](https://none)\n")
    assert broken_links(page) == ["#none", "none.md"]


@pytest.mark.parametrize(("page", "side"), [("README.md", 256), ("docs/architecture.md", 64)])
def test_the_code_of_a_page_runs(page, side, tmp_path, monkeypatch):
    (tmp_path / "demos").symlink_to(ROOT / "demos")
    monkeypatch.chdir(tmp_path)
    (block,) = code(ROOT / page)
    exec(compile(block, page, "exec"), {})
    with Image.open("edit.png") as image:
        assert image.size == (side, side)


def test_the_method_of_contributing_is_one(tiny, tmp_path, monkeypatch):
    """It is read, edited with and swept, as the page says; share 0 is the autoencoder's reconstruction."""
    (block,) = code(ROOT / "CONTRIBUTING.md")
    (tmp_path / "mean_colour.py").write_text(block, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("mean_colour")
    how = method.read("mean_colour", module.edit, module.fit)
    assert (list(how.inputs), how.edit_knobs, how.fitted) == (["model", "image"], ("share",), "fitted")

    from textedit_core.cache import Cache
    from textedit_core.request import request, run
    from textedit_core.steps import last
    from textedit_core.sweep import sweep

    picture = Image.linear_gradient("L").convert("RGB")
    asked = request(how, tiny, {"image": picture})
    cells = last(sweep(asked, {"share": [0.0, 0.5, 1.0]}, store := Cache()))
    single = last(run(asked.at(share=1.0), store))
    assert single.costs["fit"].cached and single.costs["edit"].cached
    assert (cells[2].image - last(run(asked.at(share=1.0), Cache())).image).abs().max() < 1e-5
    rebuilt = tiny.diffusion.decode(tiny.diffusion.encode(asked.inputs["image"]))
    assert (cells[0].image - rebuilt).abs().max() < 1e-5
    assert (cells[2].image - rebuilt).abs().max() > 1e-3


def test_the_model_card_says_what_the_manifest_says():
    manifest, text = json.loads((CARD.parent / "manifest.json").read_text()), CARD.read_text(encoding="utf-8")
    assert model_card.measured(manifest) in text, "run python -m studies.model_card"
    scores, table = manifest["scores"], rows(text)
    assert ["autoencoder, PSNR in dB", "autoencoder_psnr_db", str(scores["autoencoder_psnr_db"])] == next(
        row[:3] for row in table if row[1:2] == ["autoencoder_psnr_db"]
    )
    told = {row[0] for row in table}
    assert {*scores["classifier_accuracy"], *scores["mappers"], *manifest["training"]} <= told
    assert all(command in text for command in manifest["command"])
    assert "README.md" not in manifest["files"]  # the card speaks of the manifest, and not the other way


def test_the_card_has_the_facts_that_the_hub_reads():
    facts = yaml.safe_load(CARD.read_text(encoding="utf-8").split("---")[1])
    assert facts["license"] == "mit" and facts["library_name"] == "diffusers" and facts["tags"]


def test_the_papers_of_all_methods_are_cited():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == textedit_core.__version__
    urls = {one["url"].removeprefix("https://arxiv.org/abs/") for one in cited["references"]}
    for name in method.names():
        source = (ROOT / "textedit_core" / "methods" / f"{name}.py").read_text(encoding="utf-8")
        assert set(re.findall(r"arXiv (\d{4}\.\d{5})", ast.get_docstring(ast.parse(source)))) <= urls, name


def test_every_study_is_listed():
    listed = set(re.findall(r"python -m studies\.(\w+)", (ROOT / "studies" / "README.md").read_text()))
    commands = {path.stem for path in (ROOT / "studies").glob("*.py") if "if __name__ ==" in path.read_text()}
    assert listed == commands


def test_the_changelog_names_this_version_and_modules_that_are_there():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## {textedit_core.__version__}" in text
    table = text[text.index("**Modules that moved.**") :].split("In `demos/`")[0]
    moved = [row for row in rows(table) if re.fullmatch(r"[a-z_., 0-9]+", row[0]) and row[0] != "0.1.0"]
    assert len(moved) > 40
    for old, new in moved:
        for name in new.split(", "):
            assert importlib.util.find_spec(f"textedit_core.{name}"), name
        for name in old.split(", "):
            path = ROOT / "textedit_core" / name.replace(".", "/")
            assert not path.with_suffix(".py").exists(), name


def test_the_floors_of_the_architecture_page_are_those_that_are_checked():
    from tests.test_architecture import BASE, ENGINE, FLOORS

    def parts(cell: str) -> set[str]:
        words = cell.split(";")[0].replace(" too, for textedit train", "")
        found = set(re.findall(r"[a-z_]+", words)) & {*FLOORS}
        found |= BASE if "the ground floor" in words or ("one another" in words and not found) else set()
        return found | (ENGINE if "engine" in words else set())

    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    told = {}
    for row in rows(text[text.index("| part |") : text.index("`demos` may import")]):
        owners = set(re.findall(r"\w+", row[0].split("(")[0])) & {*FLOORS}
        for owner in owners:
            told[owner] = parts(row[1]) | ({"training"} if "training too" in row[1] else set())
    assert set(told) == set(FLOORS) - {"__init__"}
    for owner, may in told.items():
        together = ENGINE if owner in ENGINE else {owner}
        assert may | together == set(FLOORS[owner]) | together, owner


def test_the_functions_that_the_architecture_page_walks_through_are_there():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+)\.py`:\s+`([\w.]+)`(?:\s+and\s+`([\w.]+)`)?", text)
    assert len(named) > 12
    for path, *functions in named:
        inner = path if path.startswith(("demos/", "textedit_core/")) else f"textedit_core/{path}"
        module = importlib.import_module(inner.replace("/", "."))
        for function in filter(None, functions):
            found = module
            for part in function.split("."):
                found = getattr(found, part)


@pytest.mark.parametrize("page", ["README.md", "docs/command-line.md", "docs/bench.md", "docs/studies.md"])
def test_the_commands_of_a_page_have_flags_that_are_there(page, monkeypatch):
    def flags_of(path: str, name: str, sweeps: bool) -> list[str]:
        return ["--prompt", "what it was made of", *(["--x", "eta=0"] if "sheet" in path else [])]

    monkeypatch.setattr(like, "flags", flags_of)
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    lines = [*blocks.splitlines(), *re.findall(r"`(textedit (?:edit|sweep|bench) [^`]*)`", text)]
    found = [line for line in lines if line.startswith("textedit ") and "..." not in line and "--out" in line]
    assert found
    for line in found:
        options = parse(shlex.split(line)[1:])
        for word in (one.lstrip("-").partition("=")[0] for one in line.split() if one.startswith("--")):
            name = word.replace("-", "_")
            assert name in options or f"knob {name}" in options, line
            if options["command"] == "bench" and f"knob {name}" in options:
                assert any(name in method.load(one).knobs for one in METHODS), line
