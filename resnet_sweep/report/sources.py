"""From what a user names to what a report is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from resnet_sweep.faults import ConfigError, Fault, ResultsError
from resnet_sweep.report.files import csv_source
from resnet_sweep.report.folders import is_run, multirun_source, single_runs_source
from resnet_sweep.report.source import Source
from resnet_sweep.report.studies import study_source
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.reading import holds_study, read_storage, read_study

# As deep as Hydra's own pattern, multirun/<date>/<time>.
_DEPTH = 3
Paths = str | Path | Iterable[str | Path]


def open_sources(paths: Paths, settings: Sequence[str] | None = ()) -> list[Source]:
    """Reads everything that was named; what is named twice counts once.

    Args:
        paths: Folders of sweeps or runs, or above them, CSV files and URLs of storages.
        settings: Keys of the configuration to read for each run; None for all.

    Raises:
        ResultsError: Some of them hold no results; all are told.
    """
    named = [paths] if isinstance(paths, str | Path) else list(paths)
    sources: list[Source] = []
    faults: list[Fault] = []
    for one in named:
        try:
            sources += _open(one, settings)
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ResultsError(faults)
    return _with_different_names(sources)


def _open(named: str | Path, settings: Sequence[str] | None) -> list[Source]:
    if "://" in str(named):
        return [study_source(*pair, settings) for pair in read_storage(str(named))]
    path = Path(named)
    if path.is_file():
        return [csv_source(path)]
    if not path.is_dir():
        rule = "is no folder, CSV file or URL of a storage"
        raise ResultsError([Fault("path", named, rule)])
    found = list(_below(path, settings, _DEPTH))
    table = StudyFolder(path).results_csv
    if not found and table.is_file():
        return [replace(csv_source(table), folder=path.absolute())]
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
    children = sorted(child for child in path.iterdir() if child.is_dir())
    runs = [child for child in children if is_run(child)]
    if runs:
        yield single_runs_source(path, runs, settings)
    if depth:
        for child in children:
            if child not in runs:
                yield from _below(child, settings, depth - 1)


def _sweep(path: Path, settings: Sequence[str] | None) -> Source:
    if not holds_study(path):
        return multirun_source(path, settings)
    try:
        return study_source(read_study(path), path.absolute(), settings)
    except ResultsError:
        # A study in memory is gone with its process; what it has written is not.
        table = StudyFolder(path).results_csv
        if not table.is_file():
            raise
        return replace(csv_source(table), folder=path.absolute())


def _with_different_names(sources: Sequence[Source]) -> list[Source]:
    """Two studies of one name are told apart by their folders."""
    names = [source.name for source in sources]
    kept = []
    for source in sources:
        if names.count(source.name) > 1 and source.folder is not None:
            name = str(source.folder)
            for row in source.rows:
                row.facts["study"] = name
            source = replace(source, name=name)
        kept.append(source)
    return kept
