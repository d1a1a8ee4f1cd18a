"""Many small trials on one device: how many workers should share it, and how.

    python -m benchmarks.sharing --root FOLDER --device cuda    the first visible GPU
    python -m benchmarks.sharing --root FOLDER                  the cores

Sweeps of our own sweeper whose trials differ in their seed alone, at 32, 64, 128 and 224 pixels,
by one worker and by several: on a GPU ``hydra.launcher.workers_per_gpu`` of 1, 2 and 4, each with
NVIDIA's MPS (``hydra.launcher.mps=auto``) and without it (``never``); on a CPU 1 and 2 workers
with their share of the cores. Where MPS is not installed its ways are left out.

    images/s   of all workers together, from when each has begun its second trial until the first
               runs out of trials; validation and what lies between trials are inside
    ratio      against one worker, round by round

Every worker gets the same number of trials. The ways run one after another in every round, and
each round begins with another way.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.figures import at_least, spread, tell
from benchmarks.measured import environment, in_turn, run_measured
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
from benchmarks.stamps import steady_images_per_s
from resnet_sweep.sweep.local.gpus import Gpu
from resnet_sweep.sweep.local.mps import COMMAND

BATCH_SIZE = 32
# What the launcher logs when it has started its own.
_MPS_STARTED = "MPS started"
# More workers must bring at least so much more to be recommended: they take memory and cores.
WORTH = 1.05
USUAL: dict[str, dict[str, Any]] = {
    "cpu": {"model": "resnet18", "sizes": [32, 64], "images": 128, "epochs": 2, "workers": [1, 2]},
    "cuda": {
        "model": "resnet50",
        "sizes": [32, 64, 128, 224],
        "images": 1024,
        "epochs": 4,
        "workers": [1, 2, 4],
    },
}
QUICK = {"sizes": [32], "images": 64, "epochs": 1, "rounds": 1, "trials": 3}


@dataclass(frozen=True)
class Way:
    """How a device is shared.

    Attributes:
        workers: That share it.
        mps: Whether through MPS.
    """

    workers: int
    mps: bool

    @property
    def name(self) -> str:
        """In tables."""
        plural = "s" if self.workers > 1 else ""
        return f"{self.workers} worker{plural}{', MPS' if self.mps else ''}"


# Of one size: images a second of each way, one a round.
Rates = dict[Way, list[float]]


def ways(workers: Sequence[int], gpu: bool, has_mps: bool) -> list[Way]:
    """All ways, one worker first."""
    found = [Way(1, False)]
    for num in sorted(set(workers) - {1}):
        found += [Way(num, False)] + ([Way(num, True)] if gpu and has_mps else [])
    return found


def command_of(args: argparse.Namespace, images: Images, way: Way) -> list[str]:
    """The sweep of one way."""
    seeds = ",".join(map(str, range(args.trials * way.workers)))
    gpu = args.device == "cuda"
    mps = [f"hydra.launcher.mps={'auto' if way.mps else 'never'}"] if gpu else []
    return [
        *(*OURS, "-m", f"model={args.model}", *images.overrides, *slots(way.workers, gpu), *mps),
        *(f"trainer.epochs={args.epochs}", f"trainer.batch_size={BATCH_SIZE}"),
        *(f"trainer.device={args.device}", f"trainer.seed={seeds}", "hydra.sweep.dir=sweep"),
    ]


def measure(
    args: argparse.Namespace,
    images: Images,
    found: Sequence[Way],
    gpu: Gpu | None,
    folder: Path,
) -> Rates:
    """One size, every way once a round."""
    env = environment(gpu, folder / "cache")
    rates: Rates = {way: [] for way in found}
    for i in range(args.rounds):
        for way in in_turn(found, i):
            place = folder / f"{images.size}-{i}-{found.index(way)}"
            done = run_measured(command_of(args, images, way), place, env, gpu)
            if way.mps and _MPS_STARTED not in done.output:
                raise RuntimeError(f"MPS did not start\n{done.output[-4000:]}")
            rates[way].append(steady_images_per_s(done.stamps, way.workers))
            tell(
                f"{images.size} pixels, round {i + 1} of {args.rounds}: {way.name}: "
                f"{rates[way][-1]:.0f} images/s"
            )
    return rates


def ratios(rates: Rates) -> dict[Way, list[float]]:
    """Each way against one worker, round by round."""
    alone = rates[Way(1, False)]
    return {way: [a / b for a, b in zip(own, alone, strict=True)] for way, own in rates.items()}


def recommended(rates: Rates) -> tuple[Way, float]:
    """The fewest workers that are nearly as fast as the fastest way, and their ratio."""
    middle = {way: median(values) for way, values in ratios(rates).items()}
    enough = max(middle.values()) / WORTH
    best = min(
        (way for way in middle if middle[way] >= enough),
        key=lambda way: (way.workers, -middle[way]),
    )
    return best, middle[best]


def table(results: Mapping[int, Rates]) -> str:
    """A line a way and size, as median (min - max) over the rounds."""
    lines = [f"  {'pixels':<8}{'way':<18}{'images/s':<28}ratio"]
    for size, rates in results.items():
        for way, values in ratios(rates).items():
            rate = spread(rates[way], 1)
            lines.append(f"  {size:<8}{way.name:<18}{rate:<28}{spread(values, 2)}")
    return "\n".join(lines)


def recommendation(results: Mapping[int, Rates], gpu: bool) -> str:
    """One line, drawn from the numbers."""
    key = "hydra.launcher.workers_per_gpu" if gpu else "hydra.launcher.workers"
    parts = []
    for size, rates in results.items():
        way, ratio = recommended(rates)
        how = " with MPS" if way.mps else " without MPS" if gpu and way.workers > 1 else ""
        parts.append(f"{size} pixels: {key}={way.workers}{how} ({ratio:.2f}x)")
    return "  recommended: " + "; ".join(parts)


def as_json(
    facts: dict[str, Any], args: argparse.Namespace, results: Mapping[int, Rates]
) -> dict[str, Any]:
    """The raw numbers."""
    return {
        "machine": facts,
        "model": args.model,
        "epochs": args.epochs,
        "trials_per_worker": args.trials,
        "sizes": [
            {
                "size": size,
                "images_per_s": {way.name: values for way, values in rates.items()},
                "ratios": {way.name: values for way, values in ratios(rates).items()},
                "recommended": recommended(rates)[0].name,
            }
            for size, rates in results.items()
        ],
    }


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(
        "sharing",
        "How many workers should share one device.",
        quick="32 pixels, 64 images, 1 epoch, 3 trials a worker, 1 round",
    )
    add = parser.add_argument
    add("--model", help="default: resnet18, on a GPU resnet50")
    add("--sizes", type=at_least(32), nargs="+", help="default: 32 64, on a GPU 32 64 128 224")
    add("--images", type=at_least(2), help="for training (default: 128, on a GPU 1024)")
    add("--epochs", type=at_least(1), help="of a trial (default: 2, on a GPU 4)")
    add("--workers", type=at_least(1), nargs="+", help="default: 1 2, on a GPU 1 2 4")
    add("--trials", type=at_least(3), help="a worker (default: 4)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; 0, or 2 for wrong arguments."""
    parser = build_parser()
    args = parser.parse_args(argv)
    fill(args, QUICK if args.quick else {})
    fill(args, {**USUAL[args.device], "rounds": 3, "trials": 4})
    gpu = check_options(parser, args)
    has_mps = shutil.which(COMMAND) is not None
    found = ways(args.workers, gpu is not None, has_mps)
    sets = [Images.of(args, size) for size in dict.fromkeys(args.sizes)]
    with TemporaryDirectory() as name:
        for images in sets:
            decode(parser, images, Path(name, "cache"), BATCH_SIZE)
        results = {one.size: measure(args, one, found, gpu, Path(name)) for one in sets}
    facts = facts_of(sets, gpu)
    title = (
        f"{args.model}, batch {BATCH_SIZE}, {args.images} images, {args.epochs} epochs, "
        f"{args.trials} trials a worker, {args.rounds} rounds, on {args.device}"
    )
    parts = [header(title, facts), table(results), recommendation(results, gpu is not None)]
    if gpu is not None and not has_mps:
        parts.append(f"  MPS is left out: {COMMAND} is not installed")
    publish(args, as_json(facts, args, results), parts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
