"""The installed library: what its wheel holds, and commands that answer before anything heavy is imported."""

import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "diffusers", "numpy", "gradio")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> list[str]:
    """The names in a wheel built from a copy of the checkout, without the network."""
    pytest.importorskip("setuptools", "77")
    import shutil

    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "requirements.txt", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    left = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "textedit_core", copy / "textedit_core", ignore=left)
    (copy / "demos").mkdir()
    (copy / "demos" / "__init__.py").touch()
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        out,
        copy,
    ]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        return opened.namelist()


def test_the_wheel_holds_the_library_whole_and_nothing_else(wheel):
    files = [path for path in (ROOT / "textedit_core").rglob("*") if path.is_file()]
    wanted = {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    found = {name for name in wheel if ".dist-info/" not in name}
    assert found == wanted
    assert {"textedit_core/py.typed", "textedit_core/methods/styleclip_templates.txt"} <= found
    manifest = json.loads((ROOT / "textedit_core/weights/toon/manifest.json").read_text())
    assert {f"textedit_core/weights/toon/{name}" for name in manifest["files"]} <= found


def test_its_dependencies_are_those_of_the_requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["dependencies"]["file"] == ["requirements.txt"]
    assert "dependencies" in project["project"]["dynamic"]


@pytest.mark.parametrize(
    "words", [["--help"], ["edit", "--help"], ["bench", "--help"], ["train", "--help"]], ids=" ".join
)
def test_help_imports_nothing_heavy(words):
    script = (
        "import sys\nfrom textedit_core.__main__ import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout.startswith("usage: textedit") and ran.stdout.splitlines()[-1] == "[]", ran.stderr


def test_training_without_its_packages_is_one_sentence(monkeypatch, capsys, tmp_path):
    from textedit_core.__main__ import main
    from textedit_core.training import __main__ as training

    monkeypatch.setattr(training, "DRAWING", ("dicebear_of_nobody",))
    with pytest.raises(SystemExit) as end:
        main(["train", "toon", "--out", str(tmp_path / "out")])
    assert end.value.code == 2
    assert "dicebear_of_nobody" in (said := capsys.readouterr().err) and "requirements-dev.txt" in said
    assert not (tmp_path / "out").exists()
