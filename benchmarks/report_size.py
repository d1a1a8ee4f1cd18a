"""How long a report of a large study takes, part by part.

    python -m benchmarks.report_size --trials 10000

Makes a study in a journal file as a sweep leaves it, each trial with the result.json and
metrics.csv of a run of ours, and reads it in a process of its own, so that imports count.
Processor seconds are those of that process: what else the machine does does not slow them.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.figures import at_least, cpu_model, tell

WANTED_S = 5.0
START = datetime(2026, 1, 1)
_NAMES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds")


def make_study(folder: Path, num_trials: int, num_epochs: int, *, with_folders: bool) -> None:
    """Makes a study that has ended.

    Args:
        folder: Of the sweep; must not exist.
        num_trials: All complete.
        num_epochs: Reported by each trial.
        with_folders: Whether the trials' folders are there.
    """
    import optuna
    from omegaconf import OmegaConf

    from resnet_sweep.study.folder import StudyFolder
    from resnet_sweep.study.storage import close_storage, open_storage

    files = StudyFolder(folder)
    folder.mkdir(parents=True)
    hydra = {"sweeper": {"study_name": folder.name, "storage": None}}
    OmegaConf.save(OmegaConf.create({"hydra": hydra}), files.multirun_yaml)
    storage = open_storage(None, files)
    study = optuna.create_study(storage=storage, study_name=folder.name, directions=["maximize"])
    study.set_user_attr("plan", {"tickets": [], "n_trials": num_trials})
    draw = random.Random(0)
    for number in range(num_trials):
        curve = _curve(draw, num_epochs)
        storage.create_new_trial(study._study_id, _trial(number, curve, draw))
        if with_folders:
            _write_run(folder / "trials" / str(number), curve)
    close_storage(storage)


def _curve(draw: random.Random, num_epochs: int) -> list[dict[str, float]]:
    end = draw.random()
    return [
        {name: end * epoch / num_epochs + draw.gauss(0, 0.01) for name in _NAMES}
        for epoch in range(1, num_epochs + 1)
    ]


def _trial(number: int, curve: Sequence[dict[str, float]], draw: random.Random) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution
    from optuna.trial import TrialState, create_trial

    values = [epoch["val_accuracy"] for epoch in curve]
    trial = create_trial(
        state=TrialState.COMPLETE,
        value=max(values),
        params={"optimizer.lr": 10 ** draw.uniform(-5, -1), "model": draw.choice(["a", "b"])},
        distributions={
            "optimizer.lr": FloatDistribution(1e-5, 1e-1, log=True),
            "model": CategoricalDistribution(["a", "b"]),
        },
        intermediate_values=dict(enumerate(values, start=1)),
        user_attrs={
            **{"ticket": number, "attempt": 0, "worker": f"s-{number % 4}"},
            **{"slot": f"gpu{number % 4}", "folder": f"trials/{number}", "seconds": 100.0},
            **{"best_epoch": 1 + values.index(max(values)), "images_per_s": 1000.0},
        },
    )
    trial.datetime_start = START + timedelta(seconds=25 * number)
    trial.datetime_complete = trial.datetime_start + timedelta(seconds=100)
    return trial


def _write_run(folder: Path, curve: Sequence[dict[str, float]]) -> None:
    folder.mkdir(parents=True)
    best = max(range(len(curve)), key=lambda i: curve[i]["val_accuracy"])
    result = {
        **{"state": "COMPLETE", "objective": curve[best]["val_accuracy"], "seconds": 99.0},
        **{"metric": "best_val_accuracy", "direction": "maximize", "device": "cuda"},
        **{"num_val_images": 600, "chance_accuracy": 0.5, "seed": 0, "precision": "bf16"},
        "best": {"epoch": best + 1, **curve[best]},
        "last": {"epoch": len(curve), **curve[-1]},
    }
    (folder / "result.json").write_text(json.dumps(result))
    lines = [",".join(map(repr, (epoch, *row.values()))) for epoch, row in enumerate(curve, 1)]
    (folder / "metrics.csv").write_text("\n".join([",".join(("epoch", *_NAMES)), *lines]) + "\n")


def measure(folder: Path) -> dict[str, tuple[float, float]]:
    """Seconds of each part, of the clock and of the processor, imports included.

    Args:
        folder: Of the sweep; gets the files of a report.
    """
    found: dict[str, tuple[float, float]] = {}

    def timed(name: str, part: Callable[[], Any]) -> Any:
        begin = time.perf_counter(), time.process_time()
        result = part()
        found[name] = time.perf_counter() - begin[0], time.process_time() - begin[1]
        return result

    report = timed("table", lambda: _table(folder))
    timed("history", lambda: report.history)
    timed("render", lambda: _render(report))
    timed("csv", lambda: report.write_tables(_files(folder)))
    timed("page", lambda: report.write_page(_files(folder), []))
    timed("table from csv", lambda: _load(folder / "results.csv"))
    return found


def _table(folder: Path) -> Any:
    from resnet_sweep.report.report import Report
    from resnet_sweep.report.sources import open_sources

    report = Report(open_sources(folder))
    _ = report.runs
    return report


def _render(report: Any) -> str:
    from resnet_sweep.report.terminal import tell_results

    return tell_results(report, 120, 20)


def _files(folder: Path) -> Any:
    from resnet_sweep.study.folder import StudyFolder

    return StudyFolder(folder)


def _load(path: Path) -> Any:
    from resnet_sweep.report.results import load_results

    return load_results(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark and prints its table.

    Returns:
        0 if the table came in time, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=at_least(1), default=10_000)
    parser.add_argument("--epochs", type=at_least(1), default=20)
    parser.add_argument("--no-folders", action="store_true", help="only the study itself")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.read is not None:
        print(json.dumps(measure(arguments.read)))
        return 0
    with TemporaryDirectory() as folder:
        path = Path(folder) / "large"
        tell(f"making {arguments.trials} trials")
        with_folders = not arguments.no_folders
        make_study(path, arguments.trials, arguments.epochs, with_folders=with_folders)
        command = [sys.executable, "-m", "benchmarks.report_size", "--read", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        size_mib = _size_mib(path / "report.html")
    found = json.loads(done.stdout)
    print(f"{cpu_model()}, Python {platform.python_version()}, {datetime.now():%Y-%m-%d}")
    print(f"{arguments.trials} trials of {arguments.epochs} epochs; seconds, and of the processor")
    for name, (wall_s, cpu_s) in found.items():
        print(f"{name:<16}{wall_s:>8.2f}{cpu_s:>8.2f}")
    print(f"page: {size_mib:.1f} MiB")
    return 0 if found["table"][0] < WANTED_S else 1


def _size_mib(path: Path) -> float:
    return path.stat().st_size / 2**20


if __name__ == "__main__":
    sys.exit(main())
