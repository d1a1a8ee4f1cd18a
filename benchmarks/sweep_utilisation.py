"""How busy uneven trials keep their slots: our sweeper beside hydra-optuna-sweeper.

    python -m benchmarks.sweep_utilisation             about eleven minutes
    python -m benchmarks.sweep_utilisation --mean-s 0.2 --per-slot 20

A trial sleeps, which takes no processor: eight slots are honest on two cores, too. The seconds
are drawn once from an exponential distribution and belong to the trials' numbers, so both ways
run the same trials in the same order. Ours are workers of the local launcher; the other's are
jobs of the joblib launcher, launched in batches of as many as there are slots.

    busy       share of the slots' time in trials, from the moment when every slot has its first
               trial until the last one is taken from the queue
    makespan   from the beginning of the first trial to the end of the last, against the ideal
               list schedule: each trial in its turn to the slot that is free first, with no time
               in between. ``at once`` is the ideal with all slots there from the beginning,
               ``as opened`` with each slot there when its process was.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.figures import at_least, cpu_model, num_usable_cores, tell
from benchmarks.records import Record, busy_share, list_schedule_s, opening_s
from benchmarks.sweep_task import SLEEPS_VARIABLE
from benchmarks.sweep_ways import ours, stock, versions

WANTED_BUSY = 0.95
WANTED_MAKESPAN = 1.05


@dataclass(frozen=True)
class Result:
    """One sweep.

    Attributes:
        name: Of the way.
        num_slots: Trials at a time.
        num_trials: In all.
        busy: Share of the slots' time.
        makespan_s: Seconds from the first trial's beginning to the last one's end.
        ideal_s: Of the ideal list schedule.
        ideal_as_opened_s: The same when slots are there only from their own first trial on.
    """

    name: str
    num_slots: int
    num_trials: int
    busy: float
    makespan_s: float
    ideal_s: float
    ideal_as_opened_s: float


def evaluate(
    name: str, records: Sequence[Record], sleeps_s: Sequence[float], num_slots: int
) -> Result:
    """What the records of a sweep say."""
    makespan_s = max(one.end_s for one in records) - records[0].begin_s
    return Result(
        name,
        num_slots,
        len(records),
        busy_share(records, num_slots),
        makespan_s,
        list_schedule_s(sleeps_s, [0.0] * num_slots),
        list_schedule_s(sleeps_s, opening_s(records, num_slots)),
    )


def measure(args: argparse.Namespace, num_slots: int, folder: Path) -> list[Result]:
    """Both ways, with the same sleeps."""
    drawn = random.Random(args.seed)
    sleeps_s = [drawn.expovariate(1 / args.mean_s) for _ in range(args.per_slot * num_slots)]
    path = folder / f"sleeps-{num_slots}.json"
    path.write_text(json.dumps(sleeps_s))
    results: list[Result] = []
    for way in (
        ours("ours, local, journal", "local", workers=num_slots),
        stock("stock, joblib, memory", "joblib", jobs=num_slots),
    ):
        tell(f"{num_slots} slots, {len(sleeps_s)} trials: {way.name}")
        place = folder / f"{num_slots}-{len(results)}"
        records = way.run(place, "random", len(sleeps_s), {SLEEPS_VARIABLE: str(path)})
        results.append(evaluate(way.name, records, sleeps_s, num_slots))
    return results


def header(args: argparse.Namespace) -> str:
    """The machine, the settings and the versions."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    return (
        f"exponential sleeps, mean {args.mean_s:g} s, seed {args.seed}, {args.per_slot} trials a "
        f"slot, {now}\n{cpu_model()}, {num_usable_cores()} cores; {versions()}"
    )


def table(results: Sequence[Result]) -> str:
    """A line a sweep."""
    lines = [
        f"  {'way':<24}{'slots':>5}{'trials':>8}{'busy':>8}{'makespan':>11}"
        f"{'/ ideal at once':>18}{'/ as opened':>13}",
    ]
    for one in results:
        lines.append(
            f"  {one.name:<24}{one.num_slots:>5}{one.num_trials:>8}{one.busy:>8.1%}"
            f"{one.makespan_s:>9.1f} s{one.makespan_s / one.ideal_s:>18.3f}"
            f"{one.makespan_s / one.ideal_as_opened_s:>13.3f}"
        )
    lines.append(
        f"  wanted of ours: busy at least {WANTED_BUSY:.0%}, makespan at most "
        f"{WANTED_MAKESPAN} of the ideal"
    )
    return "\n".join(lines)


def seconds(text: str) -> float:
    """A type of argparse: more than nothing."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return value


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sweep_utilisation",
        description="How busy uneven trials keep their slots.",
    )
    add = parser.add_argument
    add("--slots", type=at_least(1), nargs="+", default=[2, 8], help="default: 2 8")
    add("--per-slot", type=at_least(3), default=50, help="trials a slot (default: %(default)s)")
    add("--mean-s", type=seconds, default=2.0, help="of the sleeps (default: %(default)s)")
    add("--seed", type=at_least(0), default=0, help="of the sleeps (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="where to write the raw numbers")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; 0, or 2 for wrong arguments."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.json is not None and not args.json.parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist")
    with TemporaryDirectory() as name:
        results = [one for num in args.slots for one in measure(args, num, Path(name))]
    if args.json is not None:
        facts = {"machine": header(args), "sweeps": [asdict(one) for one in results]}
        args.json.write_text(json.dumps(facts, indent=1) + "\n")
    print("\n\n".join([header(args), table(results)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
