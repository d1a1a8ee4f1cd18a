"""How many trials a second the processes of one study can take, from each storage.

    python -m benchmarks.claims            about a quarter of an hour on two cores
    python -m benchmarks.claims --quick    about two

So many processes, started before and let go at the same moment, take planned trials from one
study, draw one value and end the trial, until none is left. Ours is the sweep's own queue;
beside it, in the same rounds, Optuna's own: ``enqueue_trial`` and ``study.ask()``, on storages
that are opened as its documentation opens them. The rate is of all processes together: trials
over the time from the start to the last end. A wait is what one process spends until it has
its trial, its turn included.

``twice`` counts tickets that were given to more than one process, ``left`` those that nobody
got within the time, ``more`` trials that nobody has planned, ``died`` processes that an error
ended: each the worst of all rounds. All four must be 0 for ours, or the exit code is 1.

PostgreSQL is a server of the benchmark's own with the settings of its package, unless
``--postgresql`` names an empty database; without either its rows are left out. The file of a
journal and of SQLite, and the server's data, lie in the folder for temporary files: on another
disk, set TMPDIR.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from benchmarks.claiming import Case, Claimed, run_optuna, run_ours
from benchmarks.figures import at_least, cpu_model, num_usable_cores, spread, tell
from benchmarks.postgresql import MISSING, new_database, running_server, server_binaries
from benchmarks.sweep_ways import versions

STORAGES = ("journal", "sqlite", "postgresql")
WAYS: dict[str, Callable[[Case], list[Claimed]]] = {"ours": run_ours, "optuna": run_optuna}


@dataclass(frozen=True)
class Round:
    """How one case went once.

    Attributes:
        way: ours or optuna.
        storage: journal, sqlite or postgresql.
        num_workers: Processes.
        per_s: Trials taken and ended in a second, by all together.
        wait_ms: Until a process had its trial; median.
        late_ms: The same of the slowest twentieth.
        twice: Tickets given to more than one.
        left: Tickets given to nobody.
        more: Trials beside the tickets.
        died: Processes that an error ended.
        error: The first such error.
    """

    way: str
    storage: str
    num_workers: int
    per_s: float
    wait_ms: float
    late_ms: float
    twice: int
    left: int
    more: int
    died: int
    error: str

    @property
    def is_exact(self) -> bool:
        """Whether each ticket was given once, and nothing else."""
        return not (self.twice or self.left or self.more or self.died)


def evaluate(way: str, case: Case, claimed: Sequence[Claimed]) -> Round:
    """What all processes have claimed together."""
    given = Counter(ticket for one in claimed for ticket in one.tickets)
    more = given.pop(None, 0)
    ended_s = max(one.ended_s for one in claimed)
    began_s = min(one.began_s for one in claimed)
    waits_ms = sorted(1000 * wait for one in claimed for wait in one.took_s)
    errors = [one.error for one in claimed if one.error]
    return Round(
        way,
        case.storage,
        case.num_workers,
        per_s=(given.total() + more) / (ended_s - began_s) if ended_s else 0.0,
        wait_ms=median(waits_ms) if waits_ms else 0.0,
        late_ms=quantiles(waits_ms, n=20)[-1] if len(waits_ms) > 1 else 0.0,
        twice=sum(count > 1 for count in given.values()),
        left=case.num_tickets - len(given),
        more=more,
        died=len(errors),
        error=errors[0] if errors else "",
    )


def measure(args: argparse.Namespace, folder: Path, server: str | None) -> list[Round]:
    """All cases, all rounds; each round begins with another case."""
    kinds = [
        (storage, num, way)
        for storage in args.storages
        for num in args.workers
        for way in args.ways
        if storage != "postgresql" or server is not None
    ]
    found = []
    for number in range(args.rounds):
        first = number % len(kinds)
        for i, (storage, num, way) in enumerate(kinds[first:] + kinds[:first]):
            place = folder / f"{number}-{i}"
            place.mkdir()
            case = Case(storage, _url(storage, place, server), place, num, args.tickets, args.limit)
            one = evaluate(way, case, WAYS[way](case))
            found.append(one)
            tell(
                f"round {number + 1} of {args.rounds}: {way}, {storage}, {num} processes: "
                f"{one.per_s:.0f} a second {one.error}"
            )
    return found


def _url(storage: str, folder: Path, server: str | None) -> str | None:
    if storage == "sqlite":
        return f"sqlite:///{folder}/study.db"
    if storage == "postgresql":
        assert server is not None
        return new_database(server)
    return None


def header(args: argparse.Namespace) -> str:
    """The settings, the machine and the versions."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    python = ".".join(map(str, sys.version_info[:3]))
    return (
        f"{args.tickets} tickets, {args.rounds} rounds, {now}\n"
        f"{cpu_model()}, {num_usable_cores()} cores; Python {python}, {versions()}"
    )


def table(found: Sequence[Round]) -> str:
    """A row a case: rates as median (min - max) over the rounds, the worst of what goes wrong."""
    lines = [
        f"  {'storage':<12}{'processes':>9}  {'way':<8}{'trials a second':<26}"
        f"{'wait, ms':>9}{'late, ms':>9}{'twice':>7}{'left':>6}{'more':>6}{'died':>6}"
    ]
    for storage, num, way in dict.fromkeys((x.storage, x.num_workers, x.way) for x in found):
        rounds = [x for x in found if (x.storage, x.num_workers, x.way) == (storage, num, way)]
        wait, late = (median(getattr(x, name) for x in rounds) for name in ("wait_ms", "late_ms"))
        faults = "".join(
            f"{max(getattr(x, name) for x in rounds):>{width}}"
            for name, width in (("twice", 7), ("left", 6), ("more", 6), ("died", 6))
        )
        rates = spread([x.per_s for x in rounds], 1)
        lines.append(
            f"  {storage:<12}{num:>9}  {way:<8}{rates:<26}{wait:>9.1f}{late:>9.1f}{faults}"
        )
    return "\n".join(lines)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.claims",
        description="How many trials a second the processes of one study can take.",
    )
    add = parser.add_argument
    add("--workers", type=at_least(1), nargs="+", default=[1, 8, 64], help="default: 1 8 64")
    add("--storages", nargs="+", choices=STORAGES, default=list(STORAGES), help="default: all")
    add("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="default: both")
    add("--tickets", type=at_least(2), help="trials of a study (default: 384)")
    add("--rounds", type=at_least(1), help="default: 3")
    add("--limit", type=at_least(1), default=60, help="seconds of a case (default: %(default)s)")
    add("--postgresql", metavar="URL", help="of a server; databases are made in it")
    add("--quick", action="store_true", help="128 tickets, 1 round")
    add("--json", type=Path, metavar="FILE", help="where to write the raw numbers")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; 0, 1 where ours was not exact, or 2 for wrong arguments."""
    parser = build_parser()
    args = parser.parse_args(argv)
    for name, usual in (
        ("tickets", 128 if args.quick else 384),
        ("rounds", 1 if args.quick else 3),
    ):
        if getattr(args, name) is None:
            setattr(args, name, usual)
    if args.json is not None and not args.json.parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        server = args.postgresql
        if "postgresql" in args.storages and server is None:
            if server_binaries() is None:
                tell(f"postgresql is left out. {MISSING}")
            else:
                server = stack.enter_context(running_server())
        found = measure(args, folder, server)
    if args.json is not None:
        raw = {"machine": header(args), "rounds": [asdict(one) for one in found]}
        args.json.write_text(json.dumps(raw, indent=1) + "\n")
    print(f"{header(args)}\n\n{table(found)}")
    return 0 if all(one.is_exact for one in found if one.way == "ours") else 1


if __name__ == "__main__":
    sys.exit(main())
