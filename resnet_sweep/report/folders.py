"""Rows of runs that no study knows: single ones, and those of another sweeper."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_sweep.report.columns import Row
from resnet_sweep.report.runs import (
    facts_of,
    mapping_of,
    of_kind,
    read_result,
    read_saved,
    read_settings,
    read_yaml,
    value_at,
)
from resnet_sweep.report.settings import can_matter
from resnet_sweep.report.source import Source, add_intervals
from resnet_sweep.study.canonical import bare_key, canonical, dotted
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.locks import is_claimed
from resnet_sweep.study.standing import STATES

_OF_TRIALS = (".hydra/config.yaml", "*/.hydra/config.yaml", "*/*/.hydra/config.yaml")


def multirun_source(
    folder: Path, settings: Sequence[str] | None = (), *, is_over: bool = False
) -> Source:
    """The sweep of another sweeper, by what its trials left on disk.

    Args:
        folder: Of the sweep; every folder below it that Hydra wrote for a trial is one.
        settings: Keys of the configuration to read for each run; None for all.
        is_over: Nothing runs any more: a trial without a result is lost, not running.
    """
    folder = folder.absolute()
    paths = sorted(path.parents[1] for pattern in _OF_TRIALS for path in folder.glob(pattern))
    runs = [run for run in map(_Run, paths) if not run.is_single]
    return _source(folder.resolve().name, folder, runs, settings, is_over=is_over)


def single_runs_source(
    folder: Path, runs: Sequence[Path], settings: Sequence[str] | None = ()
) -> Source:
    """Single runs, side by side.

    Args:
        folder: That holds them.
        runs: Their folders.
        settings: Keys of the configuration to read for each run; None for all.
    """
    found = [_Run(path.absolute()) for path in runs]
    return _source(folder.resolve().name, folder.absolute(), found, settings, is_over=False)


def is_run(folder: Path) -> bool:
    """Whether Hydra has made a run of its own in a folder.

    Args:
        folder: One that may not be looked into is none.
    """
    return os.path.isfile(folder / ".hydra" / "config.yaml")


def is_multirun(folder: Path) -> bool:
    """Whether another sweeper has run our application in a folder.

    Args:
        folder: Not all sweepers leave a file of their own in it.
    """
    trials = StudyFolder(folder).trials
    if not trials.is_dir():
        return False
    first = next((one for one in trials.iterdir() if is_run(one)), None)
    return first is not None and not _Run(first).is_single


def _source(
    name: str,
    folder: Path,
    runs: Sequence[_Run],
    settings: Sequence[str] | None,
    *,
    is_over: bool,
) -> Source:
    swept = _swept_keys(runs)
    if all(run.is_single for run in runs):
        swept += [key for key in _differing_keys(runs) if key not in swept]
    rows = [run.row(name, swept, settings, is_over=is_over) for run in runs]
    add_intervals(rows)
    # Runs of several metrics may lie side by side.
    rows.sort(key=_rank)
    return Source(name=name, rows=tuple(rows), folder=folder, origin=str(folder))


def _rank(row: Row) -> tuple[Any, ...]:
    facts = row.facts
    value = facts.get("objective")
    is_known = value is not None and not math.isnan(value)
    sign = 1.0 if facts.get("direction") == "minimize" else -1.0
    loss = sign * value if value is not None and is_known else 0.0
    place = STATES.index(facts["state"]), facts.get("metric") or "", not is_known, loss
    return *place, facts.get("number") or 0, facts["folder"]


class _Run:
    """One run's folder, read once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = read_saved(path, "config")
        # Killed while it began, a run has not all of these files.
        hydra = read_saved(path, "hydra")
        # Single runs may lie in folders below a sweep's.
        self.is_single = value_at(hydra, "hydra.mode") == "RUN"
        self.number = None if self.is_single else of_kind(int, value_at(hydra, "hydra.job.num"))
        self.choices = mapping_of(value_at(hydra, "hydra.runtime.choices"))
        typed = read_yaml(path / ".hydra" / "overrides.yaml")
        texts = map(str, typed if isinstance(typed, list) else ())
        pairs = (bare_key(text).partition("=") for text in texts)
        self.overrides = {key: value for key, _, value in pairs}

    def value(self, key: str) -> Any:
        """A parameter's value: of a group its choice, else what the configuration holds."""
        if key in self.choices:
            return self.choices[key]
        value = value_at(self.config, key)
        # What the run never saw is told the way it was typed.
        return _typed(self.overrides.get(key)) if value is None else value

    def row(
        self,
        study: str,
        swept: Sequence[str],
        settings: Sequence[str] | None,
        *,
        is_over: bool,
    ) -> Row:
        """Its row.

        Args:
            study: Name of the sweep, or of the folder with single runs.
            swept: Keys of the parameters.
            settings: Keys of further settings; None for all.
            is_over: Nothing runs any more.
        """
        result = read_result(self.path)
        facts: dict[str, Any] = {"study": study, "number": self.number, "attempt": 0}
        facts["folder"] = str(self.path)
        facts |= facts_of(result, self.path)
        facts["state"] = self._state(result, is_over=is_over)
        if facts["state"] == "FAIL":
            facts.setdefault("error_kind", "lost")
            facts.setdefault("error", "it ended without a result")
        facts["objective"] = of_kind(float, result.get("objective"))
        facts.setdefault("seed", of_kind(int, value_at(self.config, "trainer.seed")))
        values = {key: self.value(key) for key in swept if self._has(key)}
        more = {} if settings == () else read_settings(self.path, settings)
        trace = str(mapping_of(result.get("error")).get("traceback", ""))
        return Row(facts, values, settings=more, traceback=trace)

    def _has(self, key: str) -> bool:
        return key in self.overrides or value_at(self.config, key) is not None

    def _state(self, result: Mapping[str, Any], *, is_over: bool) -> str:
        state = result.get("state")
        if state in STATES:
            return str(state)
        # A run of ours holds its folder's lock as long as it lives; of others nothing is known.
        is_ours = value_at(self.config, "objective.metric") is not None
        is_lost = is_over or (is_ours and not is_claimed(self.path))
        return "FAIL" if is_lost else "RUNNING"


_NULL = re.compile(r"null|~", re.IGNORECASE)


def _typed(text: str | None) -> Any:
    return None if text is None or _NULL.fullmatch(text) else text


def _swept_keys(runs: Sequence[_Run]) -> list[str]:
    """Keys that differ between the runs, in the order they were typed."""
    keys = dict.fromkeys(key for run in runs for key in run.overrides)
    if len(runs) == 1:
        return list(keys)
    return [key for key in keys if len({run.overrides.get(key) for run in runs}) > 1]


def _differing_keys(runs: Sequence[_Run]) -> list[str]:
    """Groups and settings that differ between runs, whether or not they were typed.

    A run that was started by a file of pinned values has none typed. Of groups that differ the
    choice tells enough.
    """
    groups = dict.fromkeys(
        key for run in runs for key in run.choices if not key.startswith("hydra/")
    )
    # Of a choice that is gone only its settings are left, with no name.
    names = {key: {run.choices.get(key) for run in runs} - {None} for key in groups}
    chosen = [key for key in groups if len(names[key]) > 1]
    settings = [dict(dotted(run.config)) for run in runs]
    leaves = [
        key
        for key in dict.fromkeys(key for one in settings for key in one)
        if not any(key.startswith(f"{group}.") for group in chosen)
        and _num_different(key, [one.get(key) for one in settings]) > 1
    ]
    return [*chosen, *leaves]


def _num_different(key: str, values: Iterable[Any]) -> int:
    return len({canonical({"": value}) for value in values if can_matter(key, value)})
