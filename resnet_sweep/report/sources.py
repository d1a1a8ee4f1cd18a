"""From what a user names to what a report is made of."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnet_sweep.faults import ConfigError, Fault, ResultsError
from resnet_sweep.report.columns import Row
from resnet_sweep.report.files import csv_source
from resnet_sweep.report.folders import is_multirun, is_run, multirun_source, single_runs_source
from resnet_sweep.report.runs import has_key, read_saved, value_at
from resnet_sweep.report.settings import is_seed
from resnet_sweep.report.source import Source
from resnet_sweep.report.studies import study_source
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.reading import holds_study, read_storage, read_study

log = logging.getLogger(__name__)

# As deep as Hydra's own pattern, multirun/<date>/<time>.
_DEPTH = 3
Paths = str | Path | Iterable[str | Path]


def open_sources(paths: Paths, settings: Sequence[str] | None = ()) -> list[Source]:
    """Reads everything that was named; what is named twice counts once.

    Args:
        paths: Folders of sweeps or runs, or above them, CSV files and URLs of storages.
        settings: Keys of the configuration to read for each run; None for all.

    Raises:
        ResultsError: Some of them hold no results, or no configuration has a key; all are told.
    """
    named = [paths] if isinstance(paths, str | Path) else list(paths)
    sources: dict[tuple[str, str], Source] = {}
    faults: list[Fault] = []
    for one in named:
        try:
            for source in _open(one, settings):
                sources.setdefault((_identity(source), source.name), source)
        except ConfigError as error:
            faults += error.faults
        except OSError as error:
            faults.append(Fault("path", one, f"cannot be read: {error.strerror or error}"))
    if faults:
        raise ResultsError(faults)
    found = list(sources.values())
    _check_settings(found, settings)
    add_what_differs(found)
    return _with_different_names(found)


def _identity(source: Source) -> str:
    """The same for what was read from the same place, whichever way that was named."""
    return source.origin if "://" in source.origin else os.path.realpath(source.origin)


def _check_settings(sources: Sequence[Source], settings: Sequence[str] | None) -> None:
    rows = [row for source in sources for row in source.rows]
    # A run that has not begun, and one whose folder is elsewhere, has no configuration.
    if not settings or not any((Path(_folder(row)) / ".hydra").is_dir() for row in rows):
        return
    known = {key for row in rows for key in row.settings}
    fix = "name a dotted key, or all"
    faults = [Fault("config", key, "is in no run", fix=fix) for key in settings if key not in known]
    if faults:
        raise ResultsError(faults)


def add_what_differs(sources: Sequence[Source]) -> None:
    """Adds to the parameters of runs what was swept elsewhere, and groups that differ.

    What one source has swept is fixed in another, and of a study for each network nothing in
    its runs says which network it is of. One run's files tell for its whole source.

    Args:
        sources: That will be seen side by side; their rows are changed.
    """
    if len(sources) < 2:
        return
    swept = [{key for row in source.rows for key in row.parameters} for source in sources]
    everywhere = set().union(*swept)
    fixed = [_Fixed(source) for source in sources]
    groups = dict.fromkeys(key for one in fixed for key in one.groups if key not in everywhere)
    differing = [
        key for key in groups if len({one.groups[key] for one in fixed if key in one.groups}) > 1
    ]
    for source, own, one in zip(sources, swept, fixed, strict=True):
        # Seeds may be others in each run, and have a column.
        keys = [*differing, *sorted(key for key in everywhere - own if not is_seed(key))]
        values = one.values(keys)
        for row in source.rows:
            # Of a trial that is yet to be drawn nothing is told.
            if row.parameters or row.facts.get("folder") is not None:
                row.parameters = {**row.parameters, **values}


class _Fixed:
    """What all runs of a source have in common, as one of them has saved it."""

    def __init__(self, source: Source) -> None:
        folders = (Path(_folder(row)) for row in source.rows)
        folder = next((one for one in folders if is_run(one)), Path(os.devnull))
        self._config = read_saved(folder, "config")
        choices = value_at(read_saved(folder, "hydra"), "hydra.runtime.choices")
        known = choices if isinstance(choices, Mapping) else {}
        # How a sweep was made is no setting of its runs.
        self.groups = {
            str(key): value
            for key, value in known.items()
            if not str(key).startswith("hydra/") and key != "study"
        }

    def values(self, keys: Iterable[str]) -> dict[str, Any]:
        """Those of some keys that it has."""
        found = {}
        for key in keys:
            if key in self.groups:
                found[key] = self.groups[key]
            # What follows another setting may be otherwise in the next run.
            elif has_key(self._config, key) and "${" not in str(self._as_written(key)):
                found[key] = self._as_written(key)
        return found

    def _as_written(self, key: str) -> Any:
        value: Any = self._config
        for part in key.split("."):
            value = value[part]
        return value


def _folder(row: Row) -> str:
    return str(row.facts.get("folder") or os.devnull)


def _open(named: str | Path, settings: Sequence[str] | None) -> list[Source]:
    if "://" in str(named):
        from resnet_sweep.study.storage import describe

        studies = read_storage(str(named))
        # A password is nobody's business who reads the table.
        shown = describe(str(named), StudyFolder(Path()))
        return [study_source(*pair, settings, shown) for pair in studies]
    path = Path(named)
    if path.is_file():
        if path == StudyFolder(path.parent).journal:
            raise ResultsError([Fault("path", named, "is no table", fix=f"name {path.parent}")])
        return [csv_source(path, settings)]
    if not path.is_dir():
        rule = "is no folder, CSV file or URL of a storage"
        raise ResultsError([Fault("path", named, rule)])
    found = list(_below(path, settings, _DEPTH))
    if not found and StudyFolder(path).results_csv.is_file():
        return [_written(path, settings)]
    if not found:
        rule, fix = "holds no sweep and no run", "name outputs/<study>, or a folder above"
        raise ResultsError([Fault("path", named, rule, fix=fix)])
    return found


def _below(path: Path, settings: Sequence[str] | None, depth: int) -> Iterator[Source]:
    """The sweeps in a folder, and its single runs as one."""
    if is_run(path):
        yield single_runs_source(path, [path], settings)
        return
    if StudyFolder(path).multirun_yaml.is_file():
        yield _sweep(path, settings)
        return
    if is_multirun(path):
        yield multirun_source(path, settings)
        return
    children = sorted(child for child in path.iterdir() if child.is_dir())
    runs = [child for child in children if is_run(child)]
    if runs:
        yield single_runs_source(path, runs, settings)
    found, faults = bool(runs), list[ConfigError | OSError]()
    for child in children if depth else ():
        if child in set(runs):
            continue
        try:
            for source in _below(child, settings, depth - 1):
                found = True
                yield source
        except (ConfigError, OSError) as error:
            faults.append(error)
    if faults and not found:
        raise faults[0]
    for fault in faults:
        # One that has just begun, or is broken, does not hide the others.
        log.warning("left out: %s", " ".join(str(fault).split()))


def _sweep(path: Path, settings: Sequence[str] | None) -> Source:
    if not holds_study(path):
        return multirun_source(path, settings)
    try:
        return study_source(read_study(path), path.absolute(), settings)
    except ResultsError:
        # A study in memory is gone with its process; what it has written is not.
        if not StudyFolder(path).results_csv.is_file():
            raise
        return _written(path, settings)


def _written(path: Path, settings: Sequence[str] | None) -> Source:
    """What a folder's results.csv holds, where there is nothing else."""
    source = csv_source(StudyFolder(path).results_csv, settings)
    name = source.name if source.rows else path.resolve().name
    return replace(source, name=name, folder=path.absolute(), origin=str(path.absolute()))


def _with_different_names(sources: Sequence[Source]) -> list[Source]:
    """Studies of one name are told apart by where they were read."""
    names = [_names(source) for source in sources]
    kept = []
    for source, own in zip(sources, names, strict=True):
        taken = {name for name in own if sum(name in other for other in names) > 1}
        if taken and source.origin:
            new = {name: _renamed(name, source) for name in taken}
            for row in source.rows:
                row.facts["study"] = new.get(row.facts["study"], row.facts["study"])
            source = replace(source, name=new.get(source.name, source.name), renamed=new)
        kept.append(source)
    return kept


def _names(source: Source) -> set[str]:
    return {source.name, *(row.facts["study"] for row in source.rows)}


def _renamed(name: str, source: Source) -> str:
    return source.origin if source.folder is not None else f"{name} ({source.origin})"
