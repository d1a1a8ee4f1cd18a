"""The published study whole, from the command to the report: ``-m study=lr_trials``.

    python -m benchmarks.study --root FOLDER --device cuda            six trials, one seed
    python -m benchmarks.study --root FOLDER --size 64 --epochs 1 --images 320      on two cores

Three settings of the optimizer on ResNet-50 and on Plain-50, with the study's own recipe: batch
32, 20 epochs of 3,000 images at 224 pixels, validated on a fifth as many. What is made smaller is
told in the table. The images are decoded before; how long that took is told apart.

    wall       from the command until it has ended, with its table and its report
    start      from the command to the first step of its first trial
    trials     from there to the end of the last trial
    end        from there to the end of the command: the table, results.csv, report.html
    busy       sum over all trials of the time from their first step to their end
    training   the training phases' part of it
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.figures import at_least, spread, tell
from benchmarks.measured import Finished, environment, run_measured
from benchmarks.nine import OURS, slots
from benchmarks.options import (
    Images,
    check_options,
    decode,
    facts_of,
    fill,
    header,
    new_parser,
    publish,
)
from benchmarks.stamps import epochs_of, times_of, trials_s
from resnet_sweep.sweep.local.gpus import Gpu

NUM_TRIALS = 6
BATCH_SIZE = 32
RECIPE = {"size": 224, "epochs": 20, "images": 3000}
# Of the recipe unchanged, on one H200.
WANTED_GPU_S = 120.0
COLUMNS = ("number", "model", "optimizer.lr", "state", "objective", "best_epoch", "seconds")
# Some trials may fail: that a training diverges is a result.
_CODES = (0, 3)


@dataclass(frozen=True)
class Study:
    """The study, once.

    Attributes:
        wall_s: From the command to its end.
        start_s: To the first step.
        trials_s: From there to the end of the last trial.
        end_s: From there to the end.
        busy_s: Sum over the trials.
        training_s: Sum over their training phases.
        cpu_busy: Share of the cores' time.
        gpu_busy: Share of the GPU's time; None without one.
        rows: Of results.csv, one a trial.
    """

    wall_s: float
    start_s: float
    trials_s: float
    end_s: float
    busy_s: float
    training_s: float
    cpu_busy: float
    gpu_busy: float | None
    rows: list[dict[str, str]]

    @classmethod
    def of(cls, done: Finished, rows: list[dict[str, str]]) -> Study:
        """What a command's measurements say."""
        first_s, last_s = times_of(done.stamps, "step")[0], times_of(done.stamps, "ended")[-1]
        return cls(
            done.wall_s,
            done.first_step_s,
            last_s - first_s,
            done.end_s,
            sum(trials_s(done.stamps)),
            sum(one.ended_s - one.began_s for one in epochs_of(done.stamps)),
            done.cpu_busy,
            done.gpu_busy,
            rows,
        )


def measure(args: argparse.Namespace, images: Images, gpu: Gpu | None, folder: Path) -> list[Study]:
    """The whole study, once a round."""
    env = environment(gpu, folder / "cache")
    command = [*OURS, "-m", "study=lr_trials", *images.overrides, f"trainer.device={args.device}"]
    command += [*slots(args.workers, gpu is not None), "hydra.sweep.dir=study"]
    # Six trials, as published, of which the study itself takes three seeds each.
    command.append("hydra.sweeper.repeats=1")
    if args.epochs != RECIPE["epochs"]:
        command.append(f"trainer.epochs={args.epochs}")
    studies: list[Study] = []
    for i in range(args.rounds):
        place = folder / str(i)
        done = run_measured(command, place, env, gpu, codes=_CODES)
        with (place / "study" / "results.csv").open(newline="") as stream:
            rows = [{key: row.get(key, "") for key in COLUMNS} for row in csv.DictReader(stream)]
        rows.sort(key=lambda row: int(row["number"]))
        if len(rows) != NUM_TRIALS or not (place / "study" / "report.html").exists():
            raise RuntimeError(f"the study did not come to its report\n{done.output[-4000:]}")
        studies.append(Study.of(done, rows))
        tell(f"round {i + 1} of {args.rounds}: {done.wall_s:.1f} s")
    return studies


def changes(args: argparse.Namespace) -> str:
    """What is not as the study has it."""
    names = {"size": "pixels", "epochs": "epochs", "images": "training images"}
    other = [
        f"{getattr(args, name):,} {what} in place of {RECIPE[name]:,}"
        for name, what in names.items()
        if getattr(args, name) != RECIPE[name]
    ]
    return f"SMALLER than the study: {', '.join(other)}" if other else "the recipe is the study's"


def table(args: argparse.Namespace, studies: Sequence[Study]) -> str:
    """A line a part as median (min - max) over the rounds, then the last round's trials."""
    lines = [f"  {changes(args)}; {args.workers} workers", f"  {'part':<12}seconds"]
    for name in ("wall", "start", "trials", "end", "busy", "training"):
        lines.append(f"  {name:<12}{spread([getattr(one, f'{name}_s') for one in studies], 1)}")
    lines.append(f"  {'cores':<12}{spread([100 * one.cpu_busy for one in studies], 0)} %")
    gpu = [100 * one.gpu_busy for one in studies if one.gpu_busy is not None]
    if gpu:
        lines.append(f"  {'GPU':<12}{spread(gpu, 0)} %")
    if gpu and "SMALLER" not in changes(args):
        lines.append(f"  wanted of the wall on an H200: at most {WANTED_GPU_S:.0f} s")
    lines += ["", "  " + "".join(f"{column:<14}" for column in COLUMNS)]
    for row in studies[-1].rows:
        lines.append("  " + "".join(f"{row[column][:8]:<14}" for column in COLUMNS).rstrip())
    return "\n".join(lines)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(
        "study",
        "The published study whole, from the command to the report.",
        quick="32 pixels, 64 images, 1 epoch, 1 round",
    )
    add = parser.add_argument
    add("--size", type=at_least(32), help="pixels (default: 224)")
    add("--epochs", type=at_least(1), help="of a trial (default: 20)")
    add("--images", type=at_least(2), help="for training (default: 3000)")
    add("--workers", type=at_least(1), default=1, help="on the device (default: %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; 0, or 2 for wrong arguments."""
    parser = build_parser()
    args = parser.parse_args(argv)
    fill(args, {"size": 32, "epochs": 1, "images": 64} if args.quick else {})
    fill(args, {**RECIPE, "rounds": 1})
    gpu = check_options(parser, args)
    images = Images.of(args, args.size)
    with TemporaryDirectory() as name:
        decode_s = decode(parser, images, Path(name, "cache"), BATCH_SIZE)
        studies = measure(args, images, gpu, Path(name))
    facts = {**facts_of(images, gpu, "hydra-core", "optuna"), "decode_s": decode_s}
    raw = {
        "machine": facts,
        "workers": args.workers,
        "epochs": args.epochs,
        "rounds": [asdict(one) for one in studies],
    }
    title = f"study=lr_trials, {args.rounds} rounds; decoding once took {decode_s:.1f} s"
    publish(args, raw, [header(title, facts), table(args, studies)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
