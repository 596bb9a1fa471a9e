"""The models box and the box below it: what a host offers, what is told before a fetch, progress."""

import time

import pytest
import torch
from safetensors.torch import save_file

from demos.context import Context, is_private
from demos.shared import adding, models
from tests.added import layers_of, written
from tests.families import write_tiny_family
from textedit_core.models import zoo
from textedit_core.models.hub import Repository


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = write_tiny_family(tmp_path_factory.mktemp("models") / "sd", "sd1")
    (made / "README.md").write_text("---\nlicense: openrail\ntags:\n- a\n---\n# A model\n")
    model = zoo.load(made).diffusion
    save_file(written(layers_of(model), "kohya", model), made / "style.safetensors")
    save_file({"<hat>": torch.randn(2, 32)}, made / "word.safetensors")
    return made


def test_a_public_page_offers_the_list_and_what_its_host_allows(folder, monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert is_private("127.0.0.1") and not is_private("127.0.0.1", public=True)
    allowed = (str(folder), str(folder / "style.safetensors"))
    open_to_all = Context(zoo, "toon", "cpu", folders=False)
    with pytest.raises(ValueError, match="offers toon and sd only, no folders and no other repositories"):
        open_to_all.models("somebody/some-model")
    host = Context(zoo, "toon", "cpu", folders=False, allowed=allowed)
    assert host.models(str(folder)).name == str(folder)
    assert host.models(f"toon + {folder / 'style.safetensors'}").additions is not None
    with pytest.raises(ValueError, match=r"does not offer .*word\.safetensors to add"):
        host.models(f"toon + {folder / 'word.safetensors'}")
    with pytest.raises(ValueError, match=r"does not offer .*style"):
        open_to_all.models(f"toon + {folder / 'style.safetensors'}")


def test_the_flags_of_a_host(monkeypatch):
    from app import flags

    assert not flags([]).public and flags([]).allow_models == ""
    monkeypatch.setenv("TEXTEDIT_ALLOW_MODELS", "a/b, c/d.safetensors")
    assert flags(["--public"]).allow_models == "a/b, c/d.safetensors" and flags(["--public"]).public


def test_the_card_tells_family_size_licence_and_device_before_anything_is_fetched(folder, monkeypatch):
    ctx = Context(zoo, "toon", "cpu")
    said = models.card(ctx, str(folder))
    assert "openrail" in said and "CPU" in said and "ready" in said
    assert "Stable Diffusion 1.x" in models.card(ctx, "sd") and "will fetch" in models.card(ctx, "sd")
    listed = {"style.safetensors": 2 * 10**8}
    monkeypatch.setattr("textedit_core.models.hub._known", {"a/b": Repository("a/b", listed, "mit", "0")})
    said = models.card(ctx, "toon + a/b:0.5")
    assert "will fetch 200 MB" in said and "a/b" in said and "mit" in said
    assert zoo.fetching("toon + a/b:0.5", "diffusion") == ["fetching a/b, 0.2 GB, licence mit"]


def test_loading_tells_how_far_it_is(monkeypatch):
    fetched = iter([0, 0, 1e9, 1e9])
    monkeypatch.setattr("textedit_core.models.source.Source.fetched_bytes", lambda self: next(fetched, 3e9))
    ctx = Context(zoo, "toon", "cpu")
    monkeypatch.setattr(Context, "load", lambda self, name: time.sleep(0.3))
    told = list(models.progress(ctx, "sd", 0.05))
    assert any(words.startswith("Fetching, ") and "of 4.9 GB" in words for words, _ in told)
    assert told[-1][0].startswith("Loading")
    monkeypatch.setattr(Context, "load", lambda self, name: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(models.progress(ctx, "sd", 0.05))


@pytest.fixture
def box(folder):
    import gradio as gr

    with gr.Blocks():
        return adding.AddBox(Context(zoo, str(folder), "cpu"), gr.Dropdown(allow_custom_value=True))


def test_the_box_writes_files_behind_the_models_and_shows_what_is_there(box, folder):
    style, word = folder / "style.safetensors", folder / "word.safetensors"
    name, _ = box.use(str(folder), f"{style}:0.8\n\n{word}\n")
    assert name == f"{folder} + {style}:0.8 + {word}"
    files, said = box.look(name)
    assert files.splitlines() == [f"{style}:0.8", str(word)]
    assert "a LoRA at 0.8, the word &lt;hat&gt;" in said
    assert box.use(name, f"{style}")[0] == f"{folder} + {style}"
    assert box.use(name, "")[0] == str(folder) and box.look(str(folder)) == ("", "")
    _, said = box.use(name, "nothing.safetensors")
    assert "problem" in said and "There is no file" in said


def test_the_models_without_are_in_memory_once(folder):
    ctx = Context(zoo, str(folder), "cpu")
    plain = ctx.load(str(folder)).diffusion
    name = f"{folder} + {folder / 'style.safetensors'}:0.8"
    assert not ctx.loaded(name)
    changed = ctx.load(name).diffusion
    assert ctx.loaded(name) and ctx.models(name).diffusion is changed
    assert (
        changed.vae is plain.vae
        and changed.unet.conv_in.weight.data_ptr() == plain.unet.conv_in.weight.data_ptr()
    )
