"""From what a user names to what a report is made of."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from resnet_sweep.faults import ConfigError, Fault, ResultsError
from resnet_sweep.report.columns import Row
from resnet_sweep.report.differing import add_what_differs
from resnet_sweep.report.files import csv_source
from resnet_sweep.report.folders import is_multirun, is_run, multirun_source, single_runs_source
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
