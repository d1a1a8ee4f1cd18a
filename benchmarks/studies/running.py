"""Runs the sweeps of a study and keeps what is committed of them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.figures import tell
from benchmarks.measured import the_gpu
from benchmarks.options import facts_of
from benchmarks.studies.study import Study, Sweep, Tables
from resnet_sweep import load_history, load_results

PACKAGES = ("hydra-core", "omegaconf", "optuna", "pandas")
# Some trials may fail: that a training diverges is a result.
_CODES = (0, 3)
_KEPT = ("results.csv", "history.csv", "report.html", "best.yaml")
# Tables name the images' folder so.
FOLDER = "FOLDER"


def run(
    study: Study, scale: str, root: Path, more: Sequence[str], folder: Path, note: str = ""
) -> None:
    """Runs all sweeps of a study in the working directory and writes its tables into a folder.

    A sweep that has been run is not run again: the same command goes on.

    Args:
        study: What to run.
        scale: One of the study's.
        root: Folder of cats and dogs.
        more: Typed behind every sweep, how many workers for instance.
        folder: The study's in docs/studies; made if it is not there.
        note: Said beside the machine.

    Raises:
        RuntimeError: A sweep did not end well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Before anything runs: of the code that trains.
    told = {"study": study.name, "scale": scale, "note": note, **facts()}
    sweeps = study.sweeps[scale]
    for sweep in sweeps:
        _run_one(command(sweep, str(root), more))
    outputs = [Path("outputs") / sweep.name for sweep in sweeps]
    done = [sys.executable, "-m", "resnet_sweep.report", *map(str, outputs)]
    subprocess.run([*done, "--output", str(folder)], check=True, stdout=subprocess.DEVNULL)
    # The images may lie below the others.
    places = {str(root): FOLDER, str(folder.resolve()): f"docs/studies/{folder.name}"}
    for name in _KEPT:
        _without_places(folder / name, {**places, f"{Path.cwd()}/": ""})
    told["sweeps"] = [
        {"name": sweep.name, "command": shlex.join(command(sweep, FOLDER, more))}
        | _measured(Path("outputs") / sweep.name)
        for sweep in sweeps
    ]
    (folder / "study.json").write_text(json.dumps(told, indent=1) + "\n")


def tables(folder: Path) -> Tables:
    """The committed tables of a study.

    Args:
        folder: The study's in docs/studies.
    """
    return Tables(load_results(folder / "results.csv"), load_history(folder / "history.csv"))


def command(sweep: Sweep, root: str, more: Sequence[str]) -> list[str]:
    """A sweep as it is typed.

    Args:
        sweep: Which one.
        root: Folder of cats and dogs.
        more: Typed behind it.
    """
    # What confirms an earlier study takes that one's images with all its other settings.
    images = [] if "study=confirm" in sweep.overrides else [f"data.root={root}"]
    return ["python", "-m", "resnet_sweep", "-m", *sweep.overrides, *images, *more]


def facts() -> dict[str, Any]:
    """What numbers depend on beside the settings: code, machine, versions, date."""
    return {"commit": _commit(), **facts_of([], the_gpu(), *PACKAGES)}


def _run_one(typed: Sequence[str]) -> None:
    tell(shlex.join(typed))
    done = subprocess.run([sys.executable, *typed[1:]], stdout=sys.stderr)
    if done.returncode not in _CODES:
        raise RuntimeError(f"exit code {done.returncode} of {shlex.join(typed)}")


def _measured(folder: Path) -> dict[str, Any]:
    """How long a sweep took, from its first trial to the end of its last; stops are left in."""
    runs = load_results(folder)
    ended = runs["started"] + pd.to_timedelta(runs["seconds"], unit="s")
    wall = ended.max() - runs["started"].min()
    epochs = int(runs["epochs"].fillna(0).sum())
    return {"wall_s": round(wall.total_seconds(), 1), "num_runs": len(runs), "num_epochs": epochs}


def _without_places(path: Path, places: Mapping[str, str]) -> None:
    """Takes out where on this machine the study, its sweeps and the images lay."""
    if not path.exists():
        return  # best.yaml, where nothing is complete.
    text = path.read_text()
    for place, name in places.items():
        text = text.replace(place, name)
    path.write_text(text)


def _commit() -> str | None:
    """Of the code, with ``-dirty`` where it is otherwise; None where there is no git."""
    typed = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run([*typed, "--abbrev=12"], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None
