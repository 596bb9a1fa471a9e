"""Every method by every way in, on the shipped models at one preset: the same picture.

The ways share one cache folder: a way that asks for the same thing finds what the first has made, and one
that asks for anything else makes it anew, which its costs or another picture tell.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TOON
from textedit_core import __main__ as cli
from textedit_core import cache as caches
from textedit_core import method
from textedit_core.bench import lines, plan, trial
from textedit_core.bench.item import Item
from textedit_core.bench.run import work
from textedit_core.cache import Cache
from textedit_core.images import to_pil
from textedit_core.models import zoo
from textedit_core.record import image_sha, read_png
from textedit_core.request import request, run
from textedit_core.steps import last

EXAMPLES = Path(__file__).parents[1] / "demos" / "examples"
# Of the shipped presets all but these: fewer steps show as well that each way takes what a preset says.
FEWER = {
    "imagic": {"embedding_steps": 12, "finetune_steps": 12, "steps": 8},
    "styleclip_optimizer": {"steps": 10},
    "tedigan": {"steps": 10},
    "text2live": {"steps": 12},
    "projection": {"steps": 15},
}
FACE = EXAMPLES / "imagic" / "01.png"
PAINT = EXAMPLES / "paint_by_example"
BEFORE, AFTER = "a grimacing person with long blue hair", "a happy person with long blue hair"
PROJECTED = {"latent": FACE}
# What is given to each method, by the names of its inputs; pictures by their files.
GIVEN = {
    "sdedit": {"image": FACE, "prompt": AFTER},
    "imagic": {"image": FACE, "prompt": AFTER},
    "prompt_to_prompt": {"image": FACE, "source_prompt": BEFORE, "prompt": AFTER},
    "paint_by_example": {
        "image": PAINT / "01-source.png",
        "mask": PAINT / "01-mask.png",
        "exemplar": PAINT / "01-exemplar.png",
    },
    "styleclip_optimizer": {"prompt": AFTER, **PROJECTED},
    "tedigan": {"prompt": AFTER, **PROJECTED},
    "styleclip_mapper": {"prompt": "a person with sunglasses", **PROJECTED},
    "styleclip_directions": {"neutral": BEFORE, "prompt": AFTER, **PROJECTED},
    "latent_directions": {"neutral": BEFORE, "prompt": AFTER, **PROJECTED},
    "styleflow": {"prompt": "a person with sunglasses", **PROJECTED},
    "text2live": {"image": FACE, "source_prompt": BEFORE, "prompt": AFTER},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> Path:
    """The shipped models, whose presets have FEWER steps."""
    place = tmp_path_factory.mktemp("models") / "toon"
    place.mkdir()
    for one in TOON.iterdir():
        (place / one.name).symlink_to(one)
    presets = json.loads((TOON / "presets.json").read_text())
    for name, fewer in FEWER.items():
        assert all(value < presets[name][step] for step, value in fewer.items())
        presets[name] |= fewer
    (place / "presets.json").unlink()
    (place / "presets.json").write_text(json.dumps(presets))
    return place


@pytest.fixture(scope="module")
def toon(shipped):
    return zoo.load(shipped)


@pytest.fixture(scope="module")
def drawn(folder, shipped, tmp_path_factory):
    """The picture of each method from the command line, made once: {method: path}."""
    out = tmp_path_factory.mktemp("drawn")

    def draw(name: str) -> Path:
        path = out / f"{name}.png"
        if not path.exists():
            flags = {"image" if key == "latent" else key: value for key, value in GIVEN[name].items()}
            words = [f"--{key.replace('_', '-')}={value}" for key, value in flags.items()]
            words += ["--models", str(shipped), "--device", "cpu", "--cache", str(folder), "--out", str(path)]
            assert cli.main(["edit", name, *words]) == 0
        return path

    return draw


def test_every_method_that_edits_is_here():
    edits = []
    for name in method.names():
        try:
            edits.append(method.load(name).name)
        except ValueError:  # it prepares an image only
            continue
    assert sorted(GIVEN) == sorted(edits)


@pytest.mark.parametrize("name", GIVEN)
def test_from_python(name, toon, folder, drawn):
    opened = {key: Image.open(one) if isinstance(one, Path) else one for key, one in GIVEN[name].items()}
    path = drawn(name)
    result = last(run(request(name, toon, opened), Cache(folder=folder)))
    assert image_sha(to_pil(result.image)[0]) == image_sha(Image.open(path))
    assert {stage for stage, cost in result.costs.items() if not cost.cached} == set()
    assert result.record == read_png(path)


@pytest.mark.parametrize("name", GIVEN)
def test_in_the_bench(name, toon, folder, drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "Cache", lambda: Cache(folder=folder))
    given, path = GIVEN[name], drawn(name)
    item = Item(
        name="one",
        image=given.get("image", FACE),
        prompt=given.get("prompt", ""),
        target=given.get("prompt", "") if "source_prompt" in given or "neutral" in given else "",
        caption=given.get("source_prompt", given.get("neutral", "")),
        mask=given.get("mask"),
        exemplar=given.get("exemplar"),
    )
    contestants = plan.read_contestants(name, toon)
    bench = plan.Bench("ways", [item], contestants, toon, tmp_path, cache=Cache(folder=folder))
    (record,) = work(bench)
    assert "error" not in record, record["error"]
    (cell,) = record["cells"]
    opened = {key: Image.open(one) if isinstance(one, Path) else one for key, one in given.items()}
    plain = last(run(request(name, toon, opened), Cache(folder=folder))).edited
    assert image_sha(Image.open(tmp_path / cell["file"])) == image_sha(to_pil(plain)[0]), "as it was made"
    assert record["edit_rows"] in (0, None) and record.get("fit_rows") in (0, None)
    assert lines.read(tmp_path)
    made, wanted = read_png(tmp_path / cell["file"]), read_png(path)
    assert (made.method, made.prompts) == (wanted.method, wanted.prompts)
    finishing = method.load(name).finish_knobs
    told = {key: value for key, value in wanted.knobs.items() if "projection" not in key}
    assert made.knobs == {key: value for key, value in told.items() if key not in finishing}


@pytest.fixture(scope="module")
def page(shipped, folder):
    """A client of the page on the shipped models, whose cache is the folder of the other ways."""
    from gradio_client import Client

    from demos.app import LAUNCH_KWARGS, create_app

    usual, caches.default = caches.default, Cache(folder=folder)
    demo = create_app(zoo, models=str(shipped), device="cpu", folders=True)
    _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, _frontend=False, **LAUNCH_KWARGS)
    yield Client(address, verbose=False, httpx_kwargs={"timeout": 300})
    demo.close()
    caches.default = usual


# The fields of Compare that SDEdit does not need.
NOTHING = {
    "source_prompt": "",
    "mask": {"background": None, "layers": [], "composite": None},
    "exemplar": None,
}


def asked_on_the_page(name: str) -> dict:
    """What a visitor fills in; everything else stands as the page opens."""
    from gradio_client import handle_file

    asked = {"image" if key == "latent" else key: value for key, value in GIVEN[name].items()}
    asked = {key: handle_file(str(one)) if isinstance(one, Path) else one for key, one in asked.items()}
    if "mask" in asked:
        asked["mask"] = {"background": None, "layers": [asked["mask"]], "composite": None}
    if name == "styleclip_mapper":
        asked |= {"mapper": "sunglasses", "prompt": None}
    if name == "styleflow":
        asked |= {"attributes": "sunglasses", "prompt": None}
    if "latent" in GIVEN[name]:
        asked["origin"] = "picture"
    return {key: value for key, value in asked.items() if value is not None}


@pytest.mark.parametrize("name", GIVEN)
def test_on_the_page(name, page, drawn, shipped):
    path, asked = drawn(name), asked_on_the_page(name)
    if name == "sdedit":
        page.predict(**asked, **NOTHING, methods=["sdedit"], api_name="/compare")
        *_, shown = page.predict(a="source", b="sdedit", api_name="/compare_pair")
    else:
        out = page.predict(**asked, api_name=f"/{name}_edit")
        returns = page.view_api(return_format="dict", print_info=False)["named_endpoints"][f"/{name}_edit"]
        labels = [one["label"] for one in returns["returns"]]
        shown = dict(zip(labels, out, strict=False))["Edit"]
    got, wanted = (np.asarray(Image.open(one).convert("RGB")).astype(int) for one in (shown, path))
    # Keeping the attention maps for the page rounds otherwise, in the last bit of a pixel.
    assert abs(got - wanted).max() <= (1 if name == "prompt_to_prompt" else 0)
    made = read_png(shown)
    assert (made.method, made.models) == (name, str(shipped))
