"""What a trial costs beside its task: our sweeper, hydra-optuna-sweeper and plain Optuna.

    python -m benchmarks.sweep_overhead            about ten minutes on two cores
    python -m benchmarks.sweep_overhead --quick    about one

The task does nothing; four parameters are drawn by the same sampler, with the same settings, in
all ways. A number is the time from the beginning of one trial to that of the next, in ms, over
all trials from when every process had its first: neither Python's start nor imports are in it.
With two workers it is the time in which the two together get one trial further.

The ways run one after another in every round, and each round starts with another way. Ratios
are taken round by round. The machine should be idle.

Then the growth of one study, with one worker: what a trial costs around the 100th and around
the last, in memory and in a journal. The sampler's own time is counted apart, because it grows
by its nature: TPE looks at all trials for each that it draws. The processor's time stands
beside the clock's, because other programs change it less.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.figures import at_least, cpu_model, num_usable_cores, spread, tell
from benchmarks.records import Cost, cost_at, overhead_ms
from benchmarks.sweep_task import SAMPLER_VARIABLE
from benchmarks.sweep_ways import Way, ours, plain, stock, versions

SQLITE = "sqlite:///study.db"
WAYS = (
    ours("ours, basic, memory", "basic", "memory"),
    ours("ours, basic, journal", "basic"),
    ours("ours, basic, sqlite", "basic", SQLITE),
    ours("ours, local, 1 worker, journal", "local"),
    ours("ours, local, 2 workers, journal", "local", workers=2),
    stock("stock, basic, memory", "basic"),
    stock("stock, basic, sqlite", "basic", SQLITE),
    stock("stock, joblib, 2 jobs, memory", "joblib", jobs=2),
    plain("optuna, memory", "memory"),
    plain("optuna, journal", "journal"),
)
# Ours, the other, and what the ratio should be at most.
RATIOS: tuple[tuple[str, str, float | None], ...] = (
    ("ours, basic, memory", "stock, basic, memory", 0.5),
    ("ours, basic, journal", "stock, basic, memory", None),
    ("ours, basic, sqlite", "stock, basic, sqlite", None),
    ("ours, local, 1 worker, journal", "stock, basic, memory", None),
    ("ours, local, 2 workers, journal", "stock, joblib, 2 jobs, memory", None),
)
GROWTH_WAYS = WAYS[:2]
# The trial that the last one is compared with, and how many around each are looked at.
EARLY = 100
WIDTH = 50
WANTED_GROWTH = 1.5


@dataclass(frozen=True)
class Growth:
    """One study that has grown.

    Attributes:
        name: Of the way.
        sampler: Its name.
        num_trials: In the end.
        early: A trial around the 100th.
        late: A trial around the last.
    """

    name: str
    sampler: str
    num_trials: int
    early: Cost
    late: Cost

    @property
    def ratio(self) -> float:
        """How much more a trial costs in the end, the sampler apart."""
        return self.late.own_ms / self.early.own_ms

    @property
    def cpu_ratio(self) -> float:
        """The same of the processor's time."""
        return self.late.cpu_ms / self.early.cpu_ms


def measure(args: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Milliseconds a trial of each way, one number a round."""
    found: dict[str, list[float]] = {way.name: [] for way in WAYS}
    for i in range(args.rounds):
        first = i % len(WAYS)
        for way in WAYS[first:] + WAYS[:first]:
            records = way.run(folder / f"{i}-{WAYS.index(way)}", args.sampler, args.trials)
            found[way.name].append(overhead_ms(records, way.num_slots))
            tell(f"round {i + 1} of {args.rounds}: {way.name}: {found[way.name][-1]:.1f} ms")
    return found


def grow(way: Way, sampler: str, num_trials: int, folder: Path) -> Growth:
    """One study of so many trials."""
    tell(f"growth: {way.name}, {sampler}, {num_trials} trials")
    records = way.run(folder, sampler, num_trials, {SAMPLER_VARIABLE: "1"})
    early = cost_at(records, min(EARLY, num_trials // 2), WIDTH)
    return Growth(way.name, sampler, num_trials, early, cost_at(records, num_trials - 1, WIDTH))


def ratios(found: dict[str, list[float]]) -> list[tuple[str, float | None, list[float]]]:
    """Ours over the other's, round by round: names, what is wanted at most, the ratios."""
    return [
        (
            f"{own} / {other}",
            wanted,
            [a / b for a, b in zip(found[own], found[other], strict=True)],
        )
        for own, other, wanted in RATIOS
    ]


def header(args: argparse.Namespace) -> str:
    """The machine, the settings and the versions."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    python = ".".join(map(str, sys.version_info[:3]))
    return (
        f"4 parameters, {args.sampler}, {args.trials} trials, {args.rounds} rounds, {now}\n"
        f"{cpu_model()}, {num_usable_cores()} cores; Python {python}, {versions()}"
    )


def overhead_table(found: dict[str, list[float]]) -> str:
    """Milliseconds and ratios, as median (min - max) over the rounds."""
    lines = [f"  {'way':<34}ms a trial"]
    lines += [f"  {name:<34}{spread(values, 1)}" for name, values in found.items()]
    lines.append(f"  {'ratio, round by round':<92}at most")
    for name, wanted, values in ratios(found):
        most = "-" if wanted is None else f"{wanted:.2f}"
        lines.append(f"  {name:<64}{spread(values, 2):<28}{most}")
    return "\n".join(lines)


def growth_table(grown: Sequence[Growth]) -> str:
    """Cost of an early and of a late trial: by the clock, by the processor, and the sampler's."""
    lines = [
        f"  one study, ms a trial at {EARLY} and at last, median of {WIDTH}; the first ratio at "
        f"most {WANTED_GROWTH}",
        f"  {'way':<22}{'sampler':<8}{'trials':>6}"
        f"{'clock':>13}{'ratio':>7}{'processor':>14}{'ratio':>7}{'in the sampler':>16}",
    ]
    for one in grown:
        clock, cpu, sampler = (
            f"{getattr(one.early, name):.1f} {getattr(one.late, name):.1f}"
            for name in ("own_ms", "cpu_ms", "sampler_ms")
        )
        lines.append(
            f"  {one.name:<22}{one.sampler:<8}{one.num_trials:>6}"
            f"{clock:>13}{one.ratio:>7.2f}{cpu:>14}{one.cpu_ratio:>7.2f}{sampler:>16}"
        )
    return "\n".join(lines)


def as_json(
    args: argparse.Namespace, found: dict[str, list[float]], grown: Sequence[Growth]
) -> dict[str, Any]:
    """The raw numbers."""
    return {
        "machine": header(args),
        "ms_per_trial": found,
        "ratios": {
            name: {"at_most": wanted, "rounds": values, "median": median(values)}
            for name, wanted, values in (ratios(found) if found else ())
        },
        "growth": [
            {**dataclasses.asdict(one), "ratio": one.ratio, "cpu_ratio": one.cpu_ratio}
            for one in grown
        ],
    }


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sweep_overhead",
        description="What a trial costs beside its task.",
    )
    add = parser.add_argument
    add("--trials", type=at_least(20), help="of each way and round (default: 100)")
    add("--rounds", type=at_least(0), help="default: 5; 0 leaves this part out")
    add("--growth", type=at_least(0), help="trials of a growing study (default: 5000; 0: none)")
    add("--growth-samplers", nargs="+", choices=("random", "tpe"), default=["random", "tpe"])
    add("--sampler", choices=("random", "tpe"), default="tpe", help="default: %(default)s")
    add("--quick", action="store_true", help="30 trials, 1 round, growth to 300")
    add("--json", type=Path, metavar="FILE", help="where to write the raw numbers")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; 0, or 2 for wrong arguments."""
    parser = build_parser()
    args = parser.parse_args(argv)
    usual = (30, 1, 300) if args.quick else (100, 5, 5000)
    for name, value in zip(("trials", "rounds", "growth"), usual, strict=True):
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.json is not None and not args.json.parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist")
    if 0 < args.growth < 20:
        parser.error(f"--growth {args.growth}: must be 0 or at least 20")
    with TemporaryDirectory() as name:
        folder = Path(name)
        found = measure(args, folder) if args.rounds else {}
        grown = [
            grow(way, sampler, args.growth, folder / f"growth-{i}-{sampler}")
            for sampler in args.growth_samplers
            for i, way in enumerate(GROWTH_WAYS if args.growth else ())
        ]
    if args.json is not None:
        args.json.write_text(json.dumps(as_json(args, found, grown), indent=1) + "\n")
    parts = [header(args)]
    parts += [overhead_table(found)] if found else []
    parts += [growth_table(grown)] if grown else []
    print("\n\n".join(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
