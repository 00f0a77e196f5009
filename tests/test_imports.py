"""Which module may import which, and that all but ``recbole_plugin`` and what runs it work without RecBole."""

import ast
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import recbole_sibrar
from recbole_sibrar.recbole_plugin.run import run

PACKAGE = Path(recbole_sibrar.__file__).parent

# From the bottom to the top: a module imports those of its own layer and of the rows below it.
ROWS = [
    {"errors"},
    {"checked", "files", "progress", "hook", "hub", "layers", "properties"},
    {"data"},
    {"checkpoint"},
    {"kinds", "scenarios"},
    {"models"},
    {"evaluation"},
    {"convert", "report", "serving"},
    {"recbole_plugin"},
    {"dataset", "experiments", "doctor", "service"},
    {"cli"},
]
ROW_OF = {layer: row for row, layers in enumerate(ROWS) for layer in layers}


def module_name(path):
    parts = ("recbole_sibrar", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def layer_of(module):
    return module.split(".")[1]


def imported(module):
    """The modules that a module imports anywhere in its code."""
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            within = [f"{node.module}.{alias.name}" for alias in node.names]
            names |= {name if name in MODULES else node.module for name in within}
    return names


# ``hook`` is what lets RecBole, once it is imported, know the plugin: the one arrow that points up.
ARROWS = {module: imported(module) for module in MODULES if module not in ("recbole_sibrar", "recbole_sibrar.hook")}


@pytest.mark.parametrize("module", ARROWS)
def test_arrows_point_down(module):
    own = layer_of(module)
    for name in ARROWS[module] & set(MODULES) - {"recbole_sibrar"}:
        other = layer_of(name)
        assert other == own or ROW_OF[other] < ROW_OF[own], f"{module} imports {name}"
    assert own == "recbole_plugin" or not any(name.split(".")[0] == "recbole" for name in ARROWS[module])


BARE = {"tuple", "list", "dict", "set", "frozenset", "Callable", "Iterable", "Iterator", "Sequence", "Mapping"}


def without_contents(annotation):
    """Whether an annotation names a container and not what is in it."""
    if isinstance(annotation, ast.Subscript):
        return without_contents(annotation.slice)
    own = isinstance(annotation, ast.Name) and annotation.id in BARE
    return own or any(map(without_contents, ast.iter_child_nodes(annotation)))


def untyped(tree):
    """``function.argument`` and ``function ->`` of all functions and methods without a full type."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            given = node.args
            arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            said = {f"{node.name}.{entry.arg}": entry.annotation for entry in arguments if entry}
            said = {what: kind for what, kind in said.items() if what.split(".")[1] not in ("self", "cls")}
            if node.name != "__init__":
                said[f"{node.name} ->"] = node.returns
            yield from (what for what, kind in said.items() if kind is None or without_contents(kind))


@pytest.mark.parametrize("module", MODULES)
def test_functions_say_their_types(module):
    assert list(untyped(ast.parse(MODULES[module].read_text(encoding="utf-8")))) == []


def test_the_check_of_types_sees_what_it_looks_for():
    tree = ast.parse(
        "def f(a, *, b: int, **c): ...\n"
        "def g(h: dict[str, list], i: list[tuple[int, str]] | None) -> None:\n    def _j(k) -> int: ...\n"
        "class K:\n    def m(self, d) -> list: ...\n    async def _n(self, e: int): ..."
    )
    assert sorted(untyped(tree)) == ["_j.k", "_n ->", "f ->", "f.a", "f.c", "g.h", "m ->", "m.d"]


def test_there_is_no_circle():
    TopologicalSorter({module: names & set(ARROWS) for module, names in ARROWS.items()}).prepare()


def test_the_checks_above_see_what_they_look_for():
    assert "recbole_sibrar.models.losses" in ARROWS["recbole_sibrar.models.training_step"]
    assert "recbole_sibrar.recbole_plugin.run" in ARROWS["recbole_sibrar.cli.command_line"]
    assert "recbole.config" in ARROWS["recbole_sibrar.recbole_plugin.run"]


# What a person does with a model elsewhere: the arguments are its checkpoint, and modules that are not to be there.
WITHOUT_RECBOLE = """
import sys
checkpoint, *absent = sys.argv[1:]
sys.modules.update(dict.fromkeys(absent))

import importlib
import pkgutil
import recbole_sibrar.errors
assert "torch" not in sys.modules and "pandas" not in sys.modules

import pandas as pd
import torch
from recbole_sibrar.cli import main
from recbole_sibrar.evaluation.metrics import ndcg
from recbole_sibrar.serving.recommender import Recommender

recommender = Recommender.load(checkpoint)
recommender.add_items(pd.DataFrame({"item_id": ["new"], "genres": ["group1 any"], "picture": ["1.0 1.5 -5.0"]}))
found = recommender.recommend(["u1", ["i3", "i5"], {"gender": "F"}], k=5)
assert len(found) == 15
hits = torch.tensor([rows["item"].isin(["i1", "i2"]).tolist() for _, rows in found.groupby("user", sort=False)])
assert ((0 <= ndcg(hits, torch.full((3,), 2), k=5)) & (ndcg(hits, torch.full((3,), 2), k=5) <= 1)).all()
assert recommender.recommend(["u1"], candidates=["new"])["item"].tolist() == ["new"]

state = torch.load(checkpoint, weights_only=True)
torch.save({**state, "config": {**state["config"], "model": "BPR"}}, "bpr.pth")
assert main(["recommend", "--checkpoint", "bpr.pth", "--users", "u1"]) == 2

for layer in ("data", "models", "convert", "serving"):
    package = importlib.import_module(f"recbole_sibrar.{layer}")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
assert main(["recommend", "--checkpoint", checkpoint, "--users", "u1"]) == 0
assert main(["export", "--checkpoint", checkpoint, "--output", "embeddings"]) == 0
assert main(["doctor"]) == 0
assert main(["convert", "table", "--name", "shop", "--interactions", "orders.csv", "--output", "atomic"]) == 0
for command in (["run"], ["compare"], ["tune"], ["reproduce", "ml-1m"], ["missing", "x"], ["gap", "x"], ["models"]):
    assert main(command) == 2
assert "recbole" not in sys.modules or sys.modules["recbole"] is None
"""


@pytest.fixture
def elsewhere(tiny):
    """A folder with a checkpoint and a table of interactions."""
    result = run("SiBraR", "tiny", None, tiny.options(scenario="item_cold", single_branch="both", run_name="run"))
    rows = "".join(f"u{user},i{item}\n" for user, item in tiny.pairs)
    Path("orders.csv").write_text(f"user_id,item_id\n{rows}")
    return f"results/{result.name}/model.pth"


def test_serving_metrics_and_conversion_need_no_recbole(elsewhere):
    """Where it cannot be imported, nor what else is needed elsewhere only."""
    absent = ["recbole", "ray", "matplotlib", "tabulate", "statsmodels", "jinja2", "pyarrow", "hyperopt"]
    use_without_recbole(sys.executable, elsewhere, absent)


@pytest.mark.slow
def test_a_new_environment_with_what_serving_needs(elsewhere, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    packages = ("torch", "numpy", "pandas", "scikit-learn", "pyyaml", "tqdm")
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    use_without_recbole(python, elsewhere)


def use_without_recbole(python, checkpoint, absent=()):
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    command = [python, "-c", WITHOUT_RECBOLE, checkpoint, *absent]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("RecBole is not installed, which training, evaluation") == 8
