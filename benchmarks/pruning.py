"""What pruning saves and what it costs: the same search with and without it.

    python -m benchmarks.pruning

For every seed two sweeps look for the learning rate of a ResNet-18 on the digits, 20 trials
each, with the same sampler and the same seeds of sampler and training: one with
``hydra/sweeper/pruner=none``, one with successive halving. The sampler learns from pruned trials as
well, so the two sweeps draw different values once it has begun to. The gap is the best validation
accuracy without pruning less the best with it; the share is the epochs trained with pruning over
those without. A third of the images trains, so that the best do not all reach 1.0.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import pandas as pd
import torch

from resnet_sweep import load_results
from resnet_sweep.data.build import num_cores

WANTED_GAP = 0.01
WANTED_SHARE = 0.5
PRUNERS = ("none", "successive_halving")
SEARCH = (
    "model=resnet18",
    "data=digits",
    "data.num_train=480",
    "scheduler=cosine",
    "optimizer.lr=tag(log,interval(1e-5,1e-1))",
)


@dataclass(frozen=True)
class Outcome:
    """How one sweep ended.

    Attributes:
        best: Validation accuracy of its best trial.
        num_epochs: Trained by all its trials together.
        num_pruned: Trials that were given up.
    """

    best: float
    num_epochs: int
    num_pruned: int


def outcome_of(folder: Path) -> Outcome:
    """Reads a sweep that has ended; epochs are counted in the trials' metrics.csv."""
    table = load_results(folder)
    complete = table[table["state"] == "COMPLETE"]
    epochs = sum(len(pd.read_csv(path)) for path in (folder / "trials").glob("*/metrics.csv"))
    return Outcome(complete["objective"].max(), epochs, int((table["state"] == "PRUNED").sum()))


def run_sweep(
    folder: Path, pruner: str, seed: int, num_trials: int, more: Sequence[str]
) -> Outcome:
    """Runs one sweep as a user does.

    Args:
        folder: The sweep's; must not exist.
        pruner: A choice of hydra/sweeper/pruner.
        seed: Of the sampler and of the training.
        num_trials: In total.
        more: Overrides, typed last.

    Raises:
        subprocess.CalledProcessError: The sweep has failed.
    """
    command = [
        *(sys.executable, "-m", "resnet_sweep", "-m"),
        *SEARCH,
        f"hydra/sweeper/pruner={pruner}",
        f"hydra.sweeper.n_trials={num_trials}",
        f"hydra.sweeper.sampler.seed={seed}",
        f"trainer.seed={seed}",
        f"hydra.sweep.dir='{folder}'",
        *more,
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return outcome_of(folder)


def table_of(pairs: Sequence[tuple[int, Outcome, Outcome]]) -> str:
    """The pairs and their medians as text.

    Args:
        pairs: Seed, outcome without pruning, outcome with it.
    """
    lines = ["seed   best: none  pruned    gap   epochs: none  pruned  share  trials pruned"]
    gaps, shares = [], []
    for seed, plain, pruned in pairs:
        gaps.append(plain.best - pruned.best)
        shares.append(pruned.num_epochs / plain.num_epochs)
        lines.append(
            f"{seed:4d}   {plain.best:10.4f}  {pruned.best:6.4f}  {gaps[-1]:+.4f}"
            f"  {plain.num_epochs:12d}  {pruned.num_epochs:6d}  {shares[-1]:5.2f}"
            f"  {pruned.num_pruned:13d}"
        )
    lines.append(f"median gap {median(gaps):+.4f}, wanted at most {WANTED_GAP}")
    lines.append(f"median share of epochs {median(shares):.2f}, wanted at most {WANTED_SHARE}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the pairs and prints them."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pruning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--num-trials", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="keep the sweeps here")
    parser.add_argument("overrides", nargs="*", help="typed behind those of every sweep")
    arguments = parser.parse_args(argv)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    print(
        f"{datetime.now():%Y-%m-%d %H:%M}, {device}, {num_cores()} cores, torch "
        f"{torch.__version__}, {arguments.num_trials} trials a sweep"
    )
    pairs = []
    with TemporaryDirectory() as temporary:
        root = (arguments.folder or Path(temporary)).absolute()
        for seed in arguments.seeds:
            plain, pruned = (
                run_sweep(
                    root / f"{pruner}-{seed}",
                    pruner,
                    seed,
                    arguments.num_trials,
                    arguments.overrides,
                )
                for pruner in PRUNERS
            )
            pairs.append((seed, plain, pruned))
            print(table_of(pairs[-1:]).splitlines()[1], flush=True)
    print(f"\n{table_of(pairs)}")


if __name__ == "__main__":
    main()
