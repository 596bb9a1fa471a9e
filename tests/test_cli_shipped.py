"""The command line and the benchmark on the shipped models: their presets fit, and their mappers are used."""

import pytest
from PIL import Image

from textedit_core import __main__ as cli
from textedit_core import method
from textedit_core.bench.plan import read_contestants
from textedit_core.images import to_pil
from textedit_core.methods import styleclip_mapper
from textedit_core.models import zoo
from textedit_core.models.style import latents
from textedit_core.record import image_sha, read_png
from textedit_core.request import preset, preset_of_projection
from textedit_core.steps import last


@pytest.fixture(scope="module")
def toon():
    return zoo.load("toon", "cpu")


def test_every_preset_names_knobs_of_its_method(toon):
    assert set(toon.presets) <= set(method.names())
    for name in toon.presets:
        own = name != "projection"
        read = preset(toon, name, method.load(name).knobs) if own else preset_of_projection(toon)
        assert set(toon.presets[name]) <= set(read)


@pytest.mark.parametrize("name", ["sunglasses", "surprised"])
def test_a_shipped_mapper_edits_from_the_command_line(toon, name, tmp_path, capsys):
    prompt, out = toon.mappers[name].prompt, tmp_path / "out.png"
    given = ["--prompt", prompt, "--latent-seed", "0", "--device", "cpu", "--out", str(out)]
    given += ["--upscale", "none"]  # the method alone
    assert cli.main(["edit", "styleclip_mapper", *given]) == 0
    assert "fit" not in capsys.readouterr().err, "the mapper is there: nothing is trained"
    latent = latents.from_seed(toon.generator, seed=0)
    wanted = last(styleclip_mapper.edit(toon.generator, toon.mappers[name], latent))
    assert image_sha(Image.open(out)) == image_sha(to_pil(wanted)[0])
    assert image_sha(Image.open(out)) != image_sha(to_pil(latent.image(toon.generator))[0])
    assert read_png(out).prompts == {"prompt": prompt}


def test_the_benchmark_reads_the_mapper_with_its_presets(toon):
    (found,) = read_contestants("styleclip_mapper", toon)
    assert found.settings["steps"] == toon.presets["styleclip_mapper"]["steps"] == 1500
