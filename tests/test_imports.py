"""Which part may know which: by what really gets loaded, and by what the files import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "resnet_sweep"
HEAVY = ("torch", "torchvision", "pandas", "numpy", "optuna", "sklearn", "PIL", "rich")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--cfg", "job"], ["optimizer.lrr=0.1"], ["optimizer.lr=-1"], ["-m", "model=x,y"]],
    ids=" ".join,
)
def test_help_config_and_refusals_load_nothing_heavy(arguments, tmp_path):
    script = (
        "import runpy, sys\n"
        f"sys.argv = ['resnet_sweep', *{arguments!r}]\n"
        "try:\n"
        "    runpy.run_module('resnet_sweep', run_name='__main__', alter_sys=True)\n"
        "except SystemExit:\n"
        "    pass\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "LOADED []", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_plugins_load_nothing_heavy_into_applications_that_do_not_use_them():
    script = (
        "import sys, resnet_sweep.sweep.sweeper, resnet_sweep.sweep.launcher\n"
        f"print([name for name in {HEAVY!r} + ('sqlalchemy', 'pynvml') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "[]\n", done.stderr


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def room_imports(room: str) -> set[str]:
    return {name for path in (PACKAGE / room).rglob("*.py") for name in imports_of(path)}


# Downward only: what a room may not know.
@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("models", ["optuna", "pandas", "resnet_sweep.data", "resnet_sweep.training"]),
        ("data", ["hydra", "omegaconf", "optuna", "resnet_sweep.models", "resnet_sweep.training"]),
        ("training", ["hydra", "omegaconf", "optuna", "resnet_sweep.report"]),
        (
            "sweep",
            ["torch", "resnet_sweep.training", "resnet_sweep.models", "resnet_sweep.data"],
        ),
        ("study", ["torch", "hydra", "resnet_sweep.sweep", "resnet_sweep.report"]),
        ("report", ["torch", "resnet_sweep.training", "resnet_sweep.models", "resnet_sweep.data"]),
    ],
)
def test_rooms_import_downward_only(room, forbidden):
    above = {
        f"resnet_sweep.{name}"
        for name in ("app", "run", "config", "hooks", "outcome", "__main__", "summary", "status")
    }
    for name in room_imports(room):
        assert name not in above
        assert not any(name == bad or name.startswith(f"{bad}.") for bad in forbidden), name
