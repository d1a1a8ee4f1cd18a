"""Nine short trials, whole: ours beside a shell loop, hydra-optuna-sweeper and Ray Tune.

    python -m benchmarks.sweep --root FOLDER                  cats and dogs; on two cores
    python -m benchmarks.sweep --root FOLDER --device cuda    on the first visible GPU
    python -m benchmarks.sweep --root FOLDER --quick          to see that it works

The same nine trials, three learning rates and three momenta, through

    shell loop          ``python -m resnet_sweep`` nine times, one after another
    optuna, basic       hydra-optuna-sweeper over our application, in one process
    optuna, joblib 2    the same with joblib's launcher and two jobs; and once more with
                        trainer.threads=1 typed
    ray tune            a grid over our application, where ``ray[tune]`` is installed
    ours                our sweeper with the local launcher and one worker or more

all of which train by our trainer, and through

    ..., plain training    a shell loop and joblib's launcher with two jobs over
                           ``benchmarks.plain_app``, a training script as the tutorials have it

Two ratios have something wanted beside them, and they answer two questions. Ours against
``optuna, joblib 2`` has the same trainer on both sides: it is what the sweep engine alone
brings. Ours against ``optuna, joblib 2, plain training`` is what somebody gains who has a plain
script and hydra-optuna-sweeper today, and takes ours whole: trainer and engine.

Every way starts in an empty folder from a warm cache of decoded images; filling it is told
apart. The ways run one after another in every round, each round begins with another way, and
ratios are taken round by round. The machine should be idle.

    wall        of the whole command, with its table and report
    first step  from the command to the first step of its first trial
    end         from the end of the last trial to that of the command
    cores       share of the cores' time that all its processes spent
    GPU         share of its time in which the GPU ran something, by the driver
    training    share of its time in which somebody trained: no start, validation or end

On a CPU trials of equal settings and threads that our trainer ran must end with equal numbers,
whoever started them; where they do not, it is told and the exit code is 1. Of plain training only
is asked that all nine trials are complete: its batches are others, in fp32.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.figures import at_least, spread, tell
from benchmarks.measured import Finished, environment, in_turn, run_measured
from benchmarks.nine import (
    PLAIN_TRAINING,
    POINTS,
    Trial,
    Way,
    differences,
    has_ray_tune,
    read_trials,
    ways,
)
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
from resnet_sweep.sweep.local.gpus import Gpu

BATCH_SIZE = 32
# At a time, of those that are not ours.
JOBS = 2
# How much faster ours should be at least than hydra-optuna-sweeper with joblib as it comes, over
# our application and over a plain one.
JOBLIB = f"optuna, joblib {JOBS}"
WANTED = {JOBLIB: 2.0, f"{JOBLIB}{PLAIN_TRAINING}": 2.0}
PACKAGES = (
    "hydra-core",
    "optuna",
    "hydra-optuna-sweeper",
    "hydra-joblib-launcher",
    "joblib",
    "ray",
)
USUAL: dict[str, dict[str, Any]] = {
    "cpu": {"model": "resnet18", "size": 32, "images": 256, "epochs": 1, "workers": [1, 2]},
    "cuda": {"model": "resnet50", "size": 64, "images": 1024, "epochs": 2, "workers": [1, 2, 4]},
}
QUICK = {"model": "resnet18", "size": 32, "images": 64, "epochs": 1, "rounds": 1}


@dataclass(frozen=True)
class Result:
    """One way, once.

    Attributes:
        wall_s: Of the whole command.
        first_step_s: From the command to its first step.
        end_s: From the end of the last trial to that of the command.
        cpu_busy: Share of the cores' time.
        gpu_busy: Share of the GPU's time; None without one.
        training: Share of the time in which somebody trained.
    """

    wall_s: float
    first_step_s: float
    end_s: float
    cpu_busy: float
    gpu_busy: float | None
    training: float

    @classmethod
    def of(cls, done: Finished) -> Result:
        """What a command's measurements say."""
        return cls(
            done.wall_s,
            done.first_step_s,
            done.end_s,
            done.cpu_busy,
            done.gpu_busy,
            done.training,
        )


@dataclass(frozen=True)
class Measured:
    """All rounds.

    Attributes:
        results: Of each way, one a round.
        trials: Of each way, of all rounds.
    """

    results: dict[str, list[Result]]
    trials: dict[str, list[Trial]]

    @property
    def compared(self) -> dict[str, list[Trial]]:
        """The trials of our trainer, whose numbers must be equal whoever started them."""
        return {
            name: trials
            for name, trials in self.trials.items()
            if not name.endswith(PLAIN_TRAINING)
        }

    def ratios(self) -> list[tuple[str, float | None, list[float]]]:
        """How much faster ours is than another: the names, what is wanted, one ratio a round."""
        mine = [name for name in self.results if name.startswith("ours")]
        others = [name for name in self.results if name not in mine]
        return [
            (
                f"{own}, against {other}",
                WANTED.get(other) if own == mine[-1] else None,
                [
                    b.wall_s / a.wall_s
                    for a, b in zip(self.results[own], self.results[other], strict=True)
                ],
            )
            for own in mine
            for other in others
        ]


def measure(args: argparse.Namespace, images: Images, gpu: Gpu | None, folder: Path) -> Measured:
    """Warms the files up with one run, then every way once a round."""
    env = environment(gpu, folder / "cache")
    common = [f"model={args.model}", *images.overrides, f"trainer.epochs={args.epochs}"]
    common += [f"trainer.batch_size={BATCH_SIZE}", f"trainer.device={args.device}"]
    tell("warm-up")
    warm_up = [sys.executable, "-m", "resnet_sweep", *common]
    run_measured(warm_up, folder / "warm-up", env)
    found = ways(gpu is not None, JOBS, args.workers)
    measured = Measured({way.name: [] for way in found}, {way.name: [] for way in found})
    for i in range(args.rounds):
        for way in in_turn(found, i):
            place = folder / f"{i}-{found.index(way)}"
            result = _run_way(way, common, place, env, gpu, measured)
            tell(f"round {i + 1} of {args.rounds}: {way.name}: {result.wall_s:.1f} s")
    return measured


def _run_way(
    way: Way,
    common: Sequence[str],
    place: Path,
    env: Mapping[str, str],
    gpu: Gpu | None,
    measured: Measured,
) -> Result:
    done = run_measured(way.command(common), place, env, gpu)
    try:
        trials = read_trials(place)
    except RuntimeError as error:
        raise RuntimeError(f"{way.name}: {error}\n{done.output[-4000:]}") from None
    result = Result.of(done)
    measured.results[way.name].append(result)
    measured.trials[way.name] += trials
    return result


def table(args: argparse.Namespace, measured: Measured) -> str:
    """A line a way, then a line a ratio, each as median (min - max) over the rounds."""
    has_gpu = args.device == "cuda"
    lines = [
        f"  {'way':<34}{'wall, s':<24}{'first step, s':<22}{'end, s':>6}{'cores':>7}"
        f"{'GPU' if has_gpu else '':>7}{'training':>10}"
    ]
    for name, results in measured.results.items():
        gpu = [one.gpu_busy for one in results if one.gpu_busy is not None]
        lines.append(
            f"  {name:<34}{spread([one.wall_s for one in results], 1):<24}"
            f"{spread([one.first_step_s for one in results], 1):<22}"
            f"{median(one.end_s for one in results):>6.1f}"
            f"{median(one.cpu_busy for one in results):>7.0%}"
            f"{format(median(gpu), '.0%') if gpu else '':>7}"
            f"{median(one.training for one in results):>10.0%}"
        )
    if not has_ray_tune():
        lines.append('  ray tune is left out: it is not installed; pip install "ray[tune]"')
    lines.append(f"  {'times as fast, round by round':<82}wanted")
    for name, wanted, ratios in measured.ratios():
        least = "-" if wanted is None else f"{wanted:.2f}"
        lines.append(f"  {name:<58}{spread(ratios, 2):<24}{least}")
    return "\n".join(lines)


def equality(args: argparse.Namespace, measured: Measured) -> tuple[bool, str]:
    """Whether the trials are as they must be, and a line that says so."""
    num_trials = sum(map(len, measured.trials.values()))
    differing = differences(measured.compared)
    if args.device != "cpu":
        return True, f"  {num_trials} trials, all complete; a GPU's sums may differ between runs"
    if differing:
        return False, "\n".join(["  equal settings and threads, other numbers:", *differing])
    threads = sorted({one.threads for some in measured.compared.values() for one in some})
    counts = " and ".join(map(str, threads))
    return True, (
        f"  {num_trials} trials, all complete; by our trainer, equal settings with equal threads "
        f"({counts}) ended with equal numbers"
    )


def as_json(facts: dict[str, Any], args: argparse.Namespace, measured: Measured) -> dict[str, Any]:
    """The raw numbers."""
    return {
        "machine": facts,
        "model": args.model,
        "epochs": args.epochs,
        "batch_size": BATCH_SIZE,
        "ways": {
            name: {
                "rounds": [asdict(one) for one in results],
                "trials": [asdict(one) for one in measured.trials[name]],
            }
            for name, results in measured.results.items()
        },
        "ratios": {
            name: {"wanted": wanted, "rounds": ratios, "median": median(ratios)}
            for name, wanted, ratios in measured.ratios()
        },
        "differences": differences(measured.compared),
    }


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(
        "sweep", "Nine short trials, whole, beside the peers.", quick="64 images, 1 round"
    )
    add = parser.add_argument
    add("--model", help="default: resnet18, on a GPU resnet50")
    add("--size", type=at_least(32), help="pixels (default: 32, on a GPU 64)")
    add("--images", type=at_least(2), help="for training (default: 256, on a GPU 1024)")
    add("--epochs", type=at_least(1), help="of a trial (default: 1, on a GPU 2)")
    add("--workers", type=at_least(1), nargs="+", help="of ours (default: 1 2, on a GPU 1 2 4)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; 0, 1 where trials differ that must not, 2 for wrong arguments."""
    parser = build_parser()
    args = parser.parse_args(argv)
    fill(args, {"rounds": 3, **(QUICK if args.quick else {})})
    fill(args, USUAL[args.device])
    gpu = check_options(parser, args)
    images = Images.of(args, args.size)
    with TemporaryDirectory() as name:
        decode_s = decode(parser, images, Path(name, "cache"), BATCH_SIZE)
        measured = measure(args, images, gpu, Path(name))
    facts = {**facts_of(images, gpu, *PACKAGES), "decode_s": decode_s}
    is_equal, line = equality(args, measured)
    title = (
        f"{len(POINTS)} trials of {args.model}, {args.size} pixels, {args.images} images, "
        f"{args.epochs} epochs, batch {BATCH_SIZE}, {args.rounds} rounds; decoding once took "
        f"{decode_s:.1f} s"
    )
    parts = [header(title, facts), table(args, measured), line]
    publish(args, as_json(facts, args, measured), parts)
    return 0 if is_equal else 1


if __name__ == "__main__":
    sys.exit(main())
