"""The rules of the house, checked in the source: floors, bans, and sizes; and that each check can fail."""

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("textedit_core", "demos", "studies", "tests")
FILES = [*ROOT.glob("*.py"), *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))]
NAMES = [path.relative_to(ROOT).as_posix() for path in FILES]

BASE = {
    "batch",
    "bracketed",
    "building",
    "device",
    "images",
    "knobs",
    "mask_reading",
    "masks",
    "noise",
    "steps",
    "threads",
    "choices",
}
ENGINE = {"costs", "estimate", "large", "method", "relevance", "request", "sweep"}
# Which parts of textedit_core each part may import, by the first name below the package.
FLOORS = {
    **dict.fromkeys(BASE, BASE),
    "details": BASE,
    "record": BASE,
    "cache": BASE,
    "axes": BASE,
    "sheet": BASE | {"axes"},
    "models": BASE | {"models"},
    "metrics": BASE | {"models", "metrics"},
    "methods": BASE | {"models", "metrics"},
    "toon": BASE | {"metrics", "toon"},
    "training": BASE | {"methods", "metrics", "models", "toon", "training"},
    **dict.fromkeys(
        ENGINE, BASE | ENGINE | {"axes", "cache", "details", "methods", "models", "record", "sheet"}
    ),
    "bench": BASE | ENGINE | {"axes", "bench", "cache", "metrics", "models", "record", "sheet", "toon"},
    "like": BASE | {"method", "record"},
    "__main__": BASE | ENGINE | {"axes", "bench", "cache", "like", "models", "record", "training"},
    "__init__": set(),
}
RANDOM_CALLS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"}
UNSEEDABLE_CALLS = {"rand_like", "randn_like", "randint_like"}
GLOBAL_SEEDS = {
    "torch.manual_seed",
    "torch.seed",
    "torch.cuda.manual_seed",
    "torch.cuda.manual_seed_all",
    "torch.random.manual_seed",
    "random.seed",
    "np.random.seed",
    "numpy.random.seed",
    "set_seed",
    "transformers.set_seed",
    "seed_everything",
}
MOST_LINES, MOST_PARAMETERS = 50, 12
PRODUCT = ("app.py", "demos/", "studies/", "textedit_core/")
HELD = {"no_grad", "inference_mode", "enable_grad", "set_grad_enabled", "autocast", "attention_control"}


def core_part(name: str) -> str:
    """The part of textedit_core a file belongs to: "models" for those in textedit_core/models/; or ""."""
    first, *rest = name.removesuffix(".py").split("/")
    return rest[0] if first == "textedit_core" else ""


def imported(tree: ast.AST) -> set[str]:
    """Every module a file imports, at its top or inside functions; `from a import b` counts as a.b."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names}
    return found


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def allows_output(name: str) -> bool:
    return core_part(name) == "" or name.endswith("__main__.py")


def import_faults(name: str, tree: ast.AST) -> list[str]:
    """Imports that go up, sideways between methods, or to what a floor may not know."""
    part, faults = core_part(name), []
    for module in imported(tree):
        top, *rest = module.split(".")
        if top == "":
            faults.append(f"relative import {module}")
        if top in ("gradio", "gradio_client", "spaces") and part:
            faults.append(f"{module} in textedit_core")
        if top == "gradio" and name == "app.py":
            faults.append(f"{module} outside demos")
        if (top == "demos" and part) or (top == "app" and name.startswith(("demos", "textedit_core"))):
            faults.append(f"{module} is above")
        if top == "studies" and not name.startswith(("studies", "tests")):
            faults.append(f"{module} outside studies")
        if top == "tests" and not name.startswith(("studies", "tests")):
            faults.append(f"{module} outside tests")
        if top == "argparse" and not allows_output(name):
            faults.append("argparse outside __main__")
        if top == "pickle" and not name.startswith("tests"):
            faults.append("pickle")
        if part and top == "textedit_core" and rest[0] not in FLOORS[part] | {"__version__"}:
            faults.append(f"{module} is not below {part}")
        if part == "methods" and rest[:1] == ["methods"]:
            faults.append(f"{module} is another method")
    return faults


def random_faults(name: str, tree: ast.AST) -> list[str]:
    """Global seeds outside a `fork_rng` that restores them, and random numbers without a generator."""
    forked = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.With) and any("fork_rng" in ast.unparse(item) for item in block.items)
        for node in ast.walk(block)
    }
    faults = []
    for called, node in calls(tree):
        loose = id(node) not in forked
        if called in GLOBAL_SEEDS and loose and not name.startswith("tests"):
            faults.append(f"{called} seeds globally")
        if not core_part(name):
            continue
        top, _, function = called.rpartition(".")
        given = "generator" in {keyword.arg for keyword in node.keywords}
        drawn = function in UNSEEDABLE_CALLS or (function in RANDOM_CALLS and not given)
        if top == "torch" and loose and drawn:
            faults.append(f"{called} without a generator")
        if top in ("random", "np.random", "numpy.random") and function not in ("Random", "default_rng"):
            faults.append(f"{called} is the global generator")
    return faults


def other_faults(name: str, tree: ast.AST) -> list[str]:
    faults = []
    for called, node in calls(tree):
        if called == "print" and not allows_output(name):
            faults.append("print outside __main__")
        safe = any(
            keyword.arg == "weights_only" and getattr(keyword.value, "value", None) is True
            for keyword in node.keywords
        )
        if called == "torch.load" and not safe:
            faults.append("torch.load without weights_only=True")
    for block in (node for node in ast.walk(tree) if isinstance(node, ast.With)):
        held = {ast.unparse(item.context_expr).split("(")[0].rpartition(".")[2] for item in block.items}
        if held & HELD and holds_yield(block):
            faults.append(f"a yield inside `with {ast.unparse(block.items[0])}`")
    if core_part(name) == "methods" and any(
        isinstance(node, ast.Constant) and node.value == "toon" for node in ast.walk(tree)
    ):
        faults.append("a method that knows which models it has")
    return faults


def holds_yield(node: ast.AST) -> bool:
    """Whether a block yields itself, and not only a function defined in it."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.GeneratorExp):
        return False
    return isinstance(node, ast.Yield | ast.YieldFrom) or any(map(holds_yield, ast.iter_child_nodes(node)))


def knob_types(trees: Iterable[ast.Module]) -> set[str]:
    """The names that modules give to a type with a knob: Seed of `Seed = Annotated[int, Knob(...)]`."""
    assigned = [node for tree in trees for node in tree.body if isinstance(node, ast.Assign)]
    return {ast.unparse(node.targets[0]) for node in assigned if _has_knob(node.value)}


def _has_knob(node: ast.expr) -> bool:
    """Whether an expression is `Annotated[..., Knob(...)]`."""
    return (
        isinstance(node, ast.Subscript)
        and ast.unparse(node.value) == "Annotated"
        and any(called == "Knob" for called, _ in calls(node))
    )


def knobs_of(function: ast.FunctionDef | ast.AsyncFunctionDef, known: set[str]) -> list[ast.arg]:
    """The keyword-only parameters that are knobs of a method."""
    hints = [(one, one.annotation) for one in function.args.kwonlyargs if one.annotation is not None]
    return [one for one, hint in hints if _has_knob(hint) or ast.unparse(hint) in known]


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef, known: set[str]) -> int:
    """The lines of a function from its `def` on, those of its docstring and of its knobs left out."""
    count = function.end_lineno - function.lineno + 1
    knobs = {line for one in knobs_of(function, known) for line in range(one.lineno, one.end_lineno + 1)}
    if ast.get_docstring(function) is not None:
        count -= function.body[0].end_lineno - function.body[0].lineno + 1
    return count - len(knobs)


def size_faults(name: str, tree: ast.AST, known: set[str]) -> list[str]:
    """Functions with too many lines or parameters."""
    faults = []
    for one in ast.walk(tree):
        if not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        lines, knobs = lines_of(one, known), knobs_of(one, known)
        parameters = [*one.args.posonlyargs, *one.args.args, *one.args.kwonlyargs]
        if lines > MOST_LINES:
            faults.append(f"{one.name} has {lines} lines")
        if len(parameters) - len(knobs) > MOST_PARAMETERS:
            faults.append(f"{one.name} has {len(parameters) - len(knobs)} parameters that are no knobs")
    return faults


def circles(sources: Mapping[str, ast.AST]) -> list[list[str]]:
    """The groups of modules that import one another, directly or by way of others, wherever they do so."""
    modules = {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): tree
               for name, tree in sources.items()}  # fmt: skip
    direct = {}
    for module, tree in modules.items():
        wanted = imported(tree)
        wanted |= {one.rpartition(".")[0] for one in wanted if one not in modules}
        direct[module] = {one for one in wanted if one in modules and one != module}

    def reached(start: str) -> set[str]:
        seen, waiting = set(), list(direct[start])
        while waiting:
            if (module := waiting.pop()) not in seen:
                seen.add(module)
                waiting += direct[module]
        return seen

    above = {module: reached(module) for module in direct}
    groups = {
        frozenset(other for other in above[module] if module in above[other])
        for module in direct
        if module in above[module]
    }
    return sorted(map(sorted, groups))


TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in zip(NAMES, FILES, strict=True)}
KNOB_TYPES = knob_types(tree for name, tree in TREES.items() if name.startswith("textedit_core/"))


def faults(name: str, source: str) -> list[str]:
    tree = ast.parse(source)
    found = import_faults(name, tree) + random_faults(name, tree) + other_faults(name, tree)
    if name.startswith(PRODUCT):
        found += size_faults(name, tree, KNOB_TYPES)
    if tree.body and not ast.get_docstring(tree):
        found.append("no docstring at its top")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_file_keeps_the_rules(name):
    assert faults(name, (ROOT / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("textedit_core/images.py", "import gradio as gr"),
        ("textedit_core/__main__.py", "def f():\n    from gradio import Blocks"),
        ("app.py", "import gradio"),
        ("textedit_core/cache.py", "from textedit_core.models.zoo import load"),
        ("textedit_core/sweep.py", "from textedit_core import bench"),
        ("textedit_core/axes.py", "from textedit_core.request import Request"),
        ("textedit_core/record.py", "import textedit_core.models.clip"),
        ("textedit_core/knobs.py", "from textedit_core.cache import key"),
        ("textedit_core/models/clip.py", "from textedit_core.methods.imagic import fit"),
        ("textedit_core/models/clip.py", "from textedit_core.cache import key"),
        ("textedit_core/methods/imagic.py", "from textedit_core.methods import sdedit"),
        ("textedit_core/methods/imagic.py", "from textedit_core.methods.sdedit import edit"),
        ("textedit_core/methods/imagic.py", "from .sdedit import edit"),
        ("textedit_core/methods/imagic.py", "from textedit_core.sweep import sweep"),
        ("textedit_core/bench/run.py", "from textedit_core.training import loop"),
        ("textedit_core/training/loop.py", "import demos.app"),
        ("demos/app.py", "from tests.bundles import write_tiny_bundle"),
        ("textedit_core/images.py", "import argparse"),
        ("textedit_core/training/loop.py", "print('step')"),
        ("textedit_core/noise.py", "import torch\ntorch.manual_seed(0)"),
        ("demos/app.py", "import numpy as np\nnp.random.seed(0)"),
        ("textedit_core/training/loop.py", "import random\nrandom.seed(0)"),
        ("textedit_core/methods/imagic.py", "import torch\nn = torch.randn(3)"),
        ("textedit_core/methods/imagic.py", "import torch\nn = torch.randn_like(z)"),
        ("textedit_core/toon/portraits.py", "import random\nn = random.random()"),
        ("textedit_core/toon/portraits.py", "import numpy as np\nn = np.random.normal()"),
        ("textedit_core/models/clip.py", "import torch\nw = torch.load('w.pt')"),
        ("textedit_core/models/clip.py", "import torch\nw = torch.load('w.pt', weights_only=False)"),
        ("textedit_core/models/clip.py", "import pickle"),
        (
            "textedit_core/methods/imagic.py",
            "import torch\ndef f():\n    with torch.no_grad():\n        yield 1",
        ),
        ("textedit_core/methods/imagic.py", "if model.name == 'toon':\n    pass"),
        ("textedit_core/bench/run.py", "from studies import speed"),
        ("textedit_core/toon/world.py", "from textedit_core.training import loop"),
    ],
)
def test_a_broken_rule_is_found(name, line):
    assert len(faults(name, f'"""A file."""\n{line}\n')) >= 1


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "textedit_core/methods/imagic.py",
            "from textedit_core.models.clip import Clip\nimport torch\n"
            "n = torch.randn(3, generator=g)\ng = torch.Generator().manual_seed(1)",
        ),
        (
            "textedit_core/methods/imagic.py",
            "def f():\n    with torch.no_grad():\n        def g():\n            yield 1",
        ),
        ("textedit_core/training/loop.py", "with torch.random.fork_rng():\n    torch.manual_seed(0)"),
        ("textedit_core/training/__main__.py", "import argparse\nprint('done')"),
        ("demos/app.py", "import gradio\nfrom textedit_core import cache\nprint('http://')"),
    ],
)
def test_what_the_rules_allow_is_no_fault(name, line):
    assert faults(name, f'"""A file."""\n{line}\n') == []


def test_a_file_without_a_docstring_is_found():
    assert faults("textedit_core/images.py", "import io\n") == ["no docstring at its top"]


def test_every_part_of_the_core_has_its_floor():
    assert {core_part(name) for name in NAMES} - {""} <= set(FLOORS)


def test_no_modules_import_one_another():
    assert circles(TREES) == []


@pytest.mark.parametrize(
    "last",
    [
        "import textedit_core.a",
        "from textedit_core import a",
        "from textedit_core.a import x",
        "def f():\n    from textedit_core.a import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from textedit_core.a import x",
    ],
)
def test_a_circle_of_imports_is_found(last):
    files = {
        "textedit_core/a.py": "from textedit_core.b import x",
        "textedit_core/b/__init__.py": "from textedit_core import c",
        "textedit_core/c.py": last,
        "textedit_core/d.py": "from textedit_core import a",
    }
    found = circles({name: ast.parse(text) for name, text in files.items()})
    assert found == [["textedit_core.a", "textedit_core.b", "textedit_core.c"]]
    assert circles({name: ast.parse(text) for name, text in files.items() if not name.endswith("c.py")}) == []


def test_functions_have_at_most_fifty_lines_without_their_docstrings_and_knobs():
    knobs = "".join(f"    k{k}: Seed = 0,\n" for k in range(40))
    whole = f'def edit(\n    z,\n    *,\n{knobs}):\n    """What.\n\n    Why.\n    """\n'
    for extra, expected in ((46, []), (47, ["edit has 51 lines"])):
        tree = ast.parse(whole + "    z += 1\n" * extra)
        assert size_faults("textedit_core/methods/a.py", tree, {"Seed"}) == expected


def test_functions_have_at_most_twelve_parameters_that_are_no_knobs():
    own = ", ".join(f"a{k}" for k in range(11))
    knobs = "k0: Seed = 0, k1: Annotated[int, Knob(0, 1, 1)] = 0"
    for last, expected in (
        ("size: int", []),
        ("size: int, seed: int = 0", ["f has 13 parameters that are no knobs"]),
        ("size: int, eta: Eta = 0", ["f has 13 parameters that are no knobs"]),
    ):
        tree = ast.parse(f"def f({own}, *, {knobs}, {last}):\n    pass\n")
        assert size_faults("textedit_core/a.py", tree, {"Seed"}) == expected
    tree = ast.parse(f"def f({own}, size, seed: Seed):\n    pass\n")
    assert len(size_faults("textedit_core/a.py", tree, {"Seed"})) == 1, "a knob is keyword-only"


def test_names_of_knobs_are_read_from_the_source():
    assert {"Seed", "GuidanceScale", "Steps"} <= KNOB_TYPES
    assert "Latent" not in KNOB_TYPES and "Box" not in KNOB_TYPES
