"""The table of a study: a row a ticket, from its storage and what its trials left on disk."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pandas as pd

from resnet_sweep.files import replacing
from resnet_sweep.report.table import (
    MEASURED,
    column_names,
    load_sweep,
    measured_facts,
    read_result,
)
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.reading import Snapshot, holds_study, read_study
from resnet_sweep.study.standing import STATES, Ticket, seconds_of

# What the engine itself keeps beside a trial; it has a column of its own, or none.
_OF_THE_ENGINE = frozenset(
    (
        *("ticket", "attempt", "retry_of", "worker", "slot", "folder", "seconds"),
        *("failure", "error", "traceback", "duplicate_of"),
    )
)
_ORDER_NOTE = (
    "Workers drew values side by side: these depend on the order in which trials ended, "
    "which is in events.log"
)


def load_results(folder: str | Path) -> pd.DataFrame:
    """Reads the results of a sweep, best first.

    Args:
        folder: The sweep's folder, also while it runs; of ours or of another sweeper.

    Returns:
        A row a ticket of the study, with its last attempt: ``number`` (Int64, missing for one
        that waits), ``state`` (COMPLETE, PRUNED, FAIL, RUNNING, WAITING), ``objective`` (float64;
        ``objective_0`` and so on of several), every parameter under its key (whole numbers
        Int64, numbers float64, others as they are), what is known of ``best_epoch``,
        ``seconds`` and other measurements (float64), ``attempt`` (Int64), ``worker``, ``slot``,
        ``error`` (kind: message), ``started``, ``ended``, ``duplicate_of`` where there is any,
        and ``folder``, relative to the sweep's. A parameter or measurement whose name is taken
        becomes ``params_<name>`` or ``attrs_<name>``. Of another sweeper's trials less is known;
        see ``load_sweep``.

    Raises:
        ConfigError: The folder names a study that cannot be read.
    """
    folder = Path(folder)
    if not holds_study(folder) and folder.is_dir():
        table = load_sweep(folder)
        if not table.empty or StudyFolder(folder).multirun_yaml.exists():
            return table
    return table_of(read_study(folder), folder)


def write_results(table: pd.DataFrame, folder: StudyFolder) -> None:
    """Writes results.csv into a sweep's folder, whole or not at all.

    Args:
        table: As ``load_results`` gives it.
        folder: The sweep's.
    """
    with replacing(folder.results_csv) as path:
        table.to_csv(path, index=False)


def table_of(snapshot: Snapshot, folder: Path) -> pd.DataFrame:
    """The table of a study that has been read already.

    Args:
        snapshot: Of the study.
        folder: Of the sweep, where the trials' folders are.
    """
    best = {ticket.ticket for ticket in snapshot.best}
    tickets = sorted(
        snapshot.tickets,
        key=lambda ticket: (ticket.ticket not in best, *_rank(ticket, snapshot.maximize)),
    )
    parameters = dict.fromkeys(key for ticket in snapshot.tickets for key in ticket.values)
    table = pd.DataFrame(
        {
            "number": _whole([ticket.last and ticket.last.number for ticket in tickets]),
            "state": [ticket.state for ticket in tickets],
            **_objectives(tickets, len(snapshot.maximize)),
        }
    )
    facts = [_facts(ticket, folder) for ticket in tickets]
    known = {key for fact in facts for key, value in fact.items() if value is not None}
    tail = _tail(tickets)
    measured = [key for key in MEASURED if key in known]
    measured += sorted(known.difference(measured))
    taken = [*table, *measured, *tail]
    columns: dict[str, pd.Series[Any]] = {
        name: _parameter([ticket.values.get(key, float("nan")) for ticket in tickets])
        for key, name in column_names(parameters, taken, "params").items()
    }
    parameter_names = list(columns)
    taken = [*table, *columns, *tail]
    for key, name in column_names(measured, taken, "attrs").items():
        columns[name] = _measured([fact.get(key) for fact in facts])
    table = pd.concat([table, pd.DataFrame(columns | tail)], axis=1)
    table.attrs["parameters"] = parameter_names
    if snapshot.is_order_dependent:
        table.attrs["note"] = _ORDER_NOTE
    return table


def _rank(ticket: Ticket, maximize: tuple[bool, ...]) -> tuple[Any, ...]:
    values = ticket.last.values if ticket.last is not None else None
    is_ranked = ticket.state in ("COMPLETE", "PRUNED") and values
    signed = zip(maximize, values or [], strict=False)
    loss = [-value if more else value for more, value in signed] if is_ranked else []
    number = ticket.last.number if ticket.last is not None else float("inf")
    return STATES.index(ticket.state), not loss, loss, number, ticket.ticket


def _objectives(tickets: list[Ticket], num: int) -> dict[str, pd.Series[Any]]:
    names = ["objective"] if num == 1 else [f"objective_{i}" for i in range(num)]
    rows = [ticket.last.values if ticket.last is not None else None for ticket in tickets]
    return {
        name: _floats([row[i] if row and i < len(row) else None for row in rows])
        for i, name in enumerate(names)
    }


def _tail(tickets: list[Ticket]) -> dict[str, pd.Series[Any]]:
    attrs = [ticket.last.user_attrs if ticket.last is not None else {} for ticket in tickets]

    def whole(key: str) -> pd.Series[Any]:
        return _whole([attr.get(key) for attr in attrs])

    def text(key: str) -> pd.Series[Any]:
        return pd.Series([str(attr.get(key, "")) for attr in attrs], dtype=object)

    def time(key: str) -> pd.Series[Any]:
        times = [getattr(ticket.last, key, None) for ticket in tickets]
        return pd.Series(times, dtype="datetime64[us]")

    has_duplicates = any("duplicate_of" in attr for attr in attrs)
    return {
        "attempt": whole("attempt"),
        "worker": text("worker"),
        "slot": text("slot"),
        "error": pd.Series([ticket.reason for ticket in tickets], dtype=object),
        "started": time("datetime_start"),
        "ended": time("datetime_complete"),
        **({"duplicate_of": whole("duplicate_of")} if has_duplicates else {}),
        "folder": text("folder"),
    }


def _facts(ticket: Ticket, folder: Path) -> dict[str, Any]:
    """What a task and its files tell about a trial, beside its objective."""
    if ticket.last is None:
        return {}
    attrs = ticket.last.user_attrs
    facts = {key: value for key, value in attrs.items() if key not in _OF_THE_ENGINE}
    num_repeats = len(attrs.get("repeat_values", []))
    if num_repeats:
        # What the task has told is of its last run only.
        facts |= _means_on_disk(_folders(ticket, folder), num_repeats)
    elif "folder" in attrs:
        path = folder / attrs["folder"]
        # Of several runs the first may be all that there was.
        facts = measured_facts(read_result(path) or read_result(path / "0")) | facts
    return facts | {"seconds": seconds_of(ticket.last)}


def _folders(ticket: Ticket, folder: Path) -> list[Path]:
    """Those of a ticket's attempts, newest first: runs that had ended are not run again."""
    found = [attempt.user_attrs.get("folder") for attempt in reversed(ticket.attempts)]
    return [folder / one for one in found if one is not None]


def _means_on_disk(folders: list[Path], num_repeats: int) -> dict[str, float]:
    """The means of what several runs' result.json say, and the seed of the first."""
    runs = []
    for i in range(num_repeats):
        results = (read_result(folder / str(i)) for folder in folders)
        runs.append(measured_facts(next(filter(None, results), {})))
    keys = [key for key in MEASURED if all(key in run for run in runs)]
    means = {key: statistics.fmean(run[key] for run in runs) for key in keys}
    return means | ({"seed": runs[0]["seed"]} if "seed" in means else {})


def _whole(values: list[Any]) -> pd.Series[Any]:
    return pd.Series(values, dtype="Int64")


def _floats(values: list[Any]) -> pd.Series[Any]:
    return pd.Series(values, dtype="float64")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parameter(values: list[Any]) -> pd.Series[Any]:
    """Missing is NaN where the parameter has no part in a trial, None where it is null."""
    present = [value for value in values if value is not None and value == value]
    if present and all(_is_number(value) for value in present):
        if all(isinstance(value, int) and abs(value) < 2**63 for value in present):
            return _whole([value if value == value else None for value in values])
        return _floats(values)
    return pd.Series(values, dtype=object)


def _measured(values: list[Any]) -> pd.Series[Any]:
    present = [value for value in values if value is not None]
    if all(_is_number(value) for value in present):
        return _floats(values)
    return pd.Series(
        [json.dumps(value) if isinstance(value, list | dict) else value for value in values],
        dtype=object,
    )
