"""Rows of runs that no study knows: single ones, and those of another sweeper."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from resnet_sweep.report.columns import Row
from resnet_sweep.report.runs import facts_of, read_config, read_result, read_settings
from resnet_sweep.report.source import Source, add_intervals
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
    return _source(folder.name, folder, runs, settings, is_over=is_over)


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
    """Whether Hydra has made a run of its own in a folder."""
    return (folder / ".hydra" / "config.yaml").is_file()


def _source(
    name: str,
    folder: Path,
    runs: Sequence[_Run],
    settings: Sequence[str] | None,
    *,
    is_over: bool,
) -> Source:
    swept = _swept_keys(runs)
    rows = [run.row(name, swept, settings, is_over=is_over) for run in runs]
    add_intervals(rows)
    # Runs of several metrics may lie side by side.
    rows.sort(key=_rank)
    return Source(name=name, rows=tuple(rows), folder=folder)


def _rank(row: Row) -> tuple[Any, ...]:
    value, facts = row.facts.get("objective"), row.facts
    sign = 1.0 if facts.get("direction") == "minimize" else -1.0
    loss = float("inf") if value is None else sign * value
    place = STATES.index(facts["state"]), facts.get("metric") or "", loss
    return *place, facts.get("number") or 0, facts["folder"]


class _Run:
    """One run's folder, read once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = read_config(path) or DictConfig({})
        hydra = OmegaConf.load(path / ".hydra" / "hydra.yaml").hydra
        # Single runs may lie in folders below a sweep's.
        self.is_single = hydra.get("mode") == "RUN"
        self.number = None if self.is_single else int(hydra.job.num)
        self.choices = OmegaConf.select(hydra, "runtime.choices") or {}
        lines = OmegaConf.load(path / ".hydra" / "overrides.yaml")
        pairs = (str(line).lstrip("+~").partition("=") for line in lines)
        self.overrides = {key: value for key, _, value in pairs}

    def value(self, key: str) -> Any:
        """A parameter's value: of a group its choice, else what the configuration holds."""
        if key in self.choices:
            return self.choices[key]
        value = OmegaConf.select(self.config, key)
        if value is None or OmegaConf.is_config(value):
            # A list is written the way it was typed, and so is what the run never saw.
            return _typed(self.overrides.get(key))
        return value

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
        facts: dict[str, Any] = {"study": study, "number": self.number, "folder": str(self.path)}
        facts |= facts_of(result, self.path)
        facts["state"] = self._state(result, is_over=is_over)
        if facts["state"] == "FAIL":
            facts.setdefault("error_kind", "lost")
            facts.setdefault("error", "it ended without a result")
        objective = result.get("objective")
        if isinstance(objective, int | float):
            facts["objective"] = float(objective)
        facts.setdefault("seed", OmegaConf.select(self.config, "trainer.seed"))
        values = {key: self.value(key) for key in swept if self._has(key)}
        more = {} if settings == () else read_settings(self.path, settings)
        error: Any = result.get("error")
        trace = str(error.get("traceback", "")) if isinstance(error, Mapping) else ""
        return Row(facts, values, settings=more, traceback=trace)

    def _has(self, key: str) -> bool:
        return key in self.overrides or OmegaConf.select(self.config, key) is not None

    def _state(self, result: Mapping[str, Any], *, is_over: bool) -> str:
        state = result.get("state")
        if state in STATES:
            return str(state)
        # A run of ours holds its folder's lock as long as it lives; of others nothing is known.
        is_ours = OmegaConf.select(self.config, "objective.metric") is not None
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
