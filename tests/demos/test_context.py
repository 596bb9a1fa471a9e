"""What every tab is handed, without a server: which parts are in memory, folders, precision, Stop."""

import importlib.util
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from demos.context import Context, Stops, is_private
from demos.shared.checks import prompt_problem
from textedit_core.models import zoo


def test_a_part_in_memory_says_nothing_of_the_others(tiny_folder, monkeypatch):
    ctx = Context(zoo, str(tiny_folder), "cpu")
    ctx.load(ctx.default, "paint_by_example")
    assert ctx.loaded(ctx.default, "paint_by_example") and not ctx.loaded(ctx.default)
    assert ctx.loaded("", "paint_by_example") and not ctx.loaded("another", "paint_by_example")
    assert ctx.models(ctx.default).clip and ctx.loaded(ctx.default, "clip"), "whoever has read it"
    monkeypatch.setattr(zoo.Models, "diffusion", property(lambda self: pytest.fail("it would be fetched")))
    assert prompt_problem(ctx, ctx.default, "a man in a red hat") == ""


def flags(*arguments: str):
    from app import flags

    return flags(list(arguments))


def test_limits_of_a_host_are_flags_and_also_stand_in_the_environment(monkeypatch, capsys):
    assert (flags().max_cells, flags().dtype, flags().folders) == (64, "auto", False)
    assert flags("--max-cells", "9", "--dtype", "float16", "--folders").max_cells == 9
    given = {"MAX_CELLS": "16", "DTYPE": "bfloat16", "FOLDERS": "1", "SAFETY": "1", "MODELS": "sd"}
    for name, value in given.items():
        monkeypatch.setenv(f"TEXTEDIT_{name}", value)
    found = flags()
    assert (found.max_cells, found.dtype, found.models) == (16, "bfloat16", "sd")
    assert found.folders and found.safety
    assert flags("--max-cells", "3").max_cells == 3, "the command line has the last word"
    monkeypatch.setenv("TEXTEDIT_FOLDERS", "0")
    assert not flags().folders
    for wrong in (["--max-cells", "0"], ["--dtype", "float8"]):
        with pytest.raises(SystemExit):
            flags(*wrong)
        assert wrong[1] in capsys.readouterr().err


def test_visitors_name_folders_only_where_they_sit_at_the_machine(monkeypatch, tiny_folder, tmp_path):
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert is_private("127.0.0.1") and is_private("localhost")
    assert not is_private("0.0.0.0") and not is_private("127.0.0.1", share=True)
    with pytest.raises(ValueError, match="no folders"):
        Context(zoo, str(tiny_folder), "cpu", folders=False).models(str(tmp_path))
    monkeypatch.setenv("SPACE_ID", "someone/studio")
    assert not is_private("127.0.0.1")


def test_the_precision_of_a_host_is_that_of_its_models(tiny_folder):
    assert Context(zoo, str(tiny_folder), "cpu").models("").dtype == torch.float32
    assert Context(zoo, str(tiny_folder), "cpu", dtype="bfloat16").models("").dtype == torch.bfloat16


@pytest.mark.parametrize("hardware", ["cpu-basic", "zero-a10g"])
def test_the_package_of_zerogpu_is_imported_first_and_only_there(hardware, monkeypatch):
    """By the environment of a Space; without it `spaces` need not be installed."""
    decorator, handed = object(), {}
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=decorator))
    monkeypatch.setenv("SPACES_ZERO_GPU", "true" if hardware.startswith("zero") else "")
    path = Path(__file__).parents[2] / "app.py"
    source = path.read_text(encoding="utf-8")
    assert source.index("import spaces") < source.index("from textedit_core")
    spec = importlib.util.spec_from_file_location("app_of_space", path)
    spec.loader.exec_module(app := importlib.util.module_from_spec(spec))

    def create_app(zoo, models, device, **given):
        handed.update(given)
        return SimpleNamespace(launch=lambda **options: None)

    monkeypatch.setattr("demos.app.create_app", create_app)
    monkeypatch.setattr(sys, "argv", ["app.py", "--gpu-seconds", "90"])
    app.main()
    assert handed["gpu"] is (decorator if hardware.startswith("zero") else None)
    assert handed["gpu_seconds"] == 90


def test_a_prompt_is_measured_where_the_diffusion_part_is_in_memory(tiny_folder):
    ctx = Context(zoo, str(tiny_folder), "cpu")
    ctx.load(ctx.default)
    assert "shorten it" in prompt_problem(ctx, ctx.default, "man " * 40)
    assert prompt_problem(ctx, ctx.default, "a man") == ""


def test_stop_waits_for_a_slow_step_however_long_it_takes(monkeypatch):
    stops, patience, started, ended = Stops(), [], threading.Event(), threading.Event()
    real = stops._changed.wait_for

    def waiting(until, timeout=None):
        patience.append(timeout)
        return real(until, 10)

    monkeypatch.setattr(stops._changed, "wait_for", waiting)

    def work():
        with stops.running("mine") as flag:
            started.set()
            flag.wait(5)
            ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait(5)
    assert stops.ask("mine") and ended.is_set() and patience == [None]
    thread.join()


def test_memory_is_chosen_for_all_models_and_keeps_what_is_loaded(tiny_folder):
    ctx = Context(zoo, str(tiny_folder), "cpu", memory="fast", folders=True)
    before = ctx.load("").diffusion
    ctx.use_memory("low")
    after = ctx.models("").diffusion
    assert (before.memory, after.memory, ctx.level) == ("fast", "low", "low")
    assert after.unet is before.unet
    with pytest.raises(ValueError, match="Memory: 'much'"):
        ctx.use_memory("much")
    assert ctx.level == "low"
    with pytest.raises(ValueError, match="the host of this page has set it"):
        Context(zoo, str(tiny_folder), "cpu", folders=False).use_memory("low")
