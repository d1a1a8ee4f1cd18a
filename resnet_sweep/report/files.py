"""results.csv and history.csv: written whole or not at all, and read back as they were."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from resnet_sweep.faults import Fault, ResultsError
from resnet_sweep.files import replacing
from resnet_sweep.report.cells import from_cells, guarded, line_of, to_cells, unguarded
from resnet_sweep.report.columns import (
    FIXED,
    OF_A_RUN,
    Keys,
    Row,
    is_history,
    objectives_of,
    parameters_of,
    told_of,
)
from resnet_sweep.report.runs import read_settings
from resnet_sweep.report.source import Source
from resnet_sweep.study.folder import StudyFolder


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Writes a table of runs or of epochs; folders below the file's become relative to it.

    Args:
        table: As ``load_results`` or ``load_history`` gives it.
        path: Of the file.
    """
    cells = to_cells(table)
    home = f"{path.parent.absolute()}/"
    cells["folder"] = [
        "." if f"{one}/" == home else guarded(one.removeprefix(home)) if one[:1] == "/" else one
        for one in cells["folder"]
    ]
    lines = zip(*([guarded(str(name)), *cells[name]] for name in cells), strict=True)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(map(line_of, lines))


def read_csv(path: Path) -> pd.DataFrame:
    """Reads what ``write_csv`` has written, with its types.

    Args:
        path: Of the file.

    Raises:
        ResultsError: It cannot be read, or is no such file.
    """
    try:
        cells = _cells(path)
        _check_names(path, cells)
        table = from_cells(cells)
    except (OSError, ValueError) as error:
        if isinstance(error, ResultsError):
            raise
        reason = " ".join(str(error).split())
        raise ResultsError([Fault("file", path, f"cannot be read: {reason}")]) from error
    home = path.parent.absolute()
    # Of a file that somebody has moved alone the folders are not there, and nobody minds.
    folders = [None if pd.isna(one) else str(home / one) for one in table["folder"]]
    table["folder"] = pd.Series(folders, dtype="string")
    return table


def _cells(path: Path) -> pd.DataFrame:
    """The file's texts; its names stay as they are written, also where pandas would change them."""
    lines = pd.read_csv(
        path, header=None, dtype=object, keep_default_na=False, encoding="utf-8-sig"
    )
    names = [unguarded(name) for name in lines.iloc[0].tolist()]
    if len(set(names)) < len(names):
        raise ValueError("two columns have the same name")
    return lines.iloc[1:].set_axis(names, axis=1).reset_index(drop=True)


def _check_names(path: Path, table: pd.DataFrame) -> None:
    names = list(table)
    if is_history(names):
        wanted: tuple[str, ...] = ("reported", "folder")
    else:
        wanted = (*OF_A_RUN, "state", "metric", "folder")
    missing = [name for name in wanted if name not in names]
    if missing or not (is_history(names) or objectives_of(names)):
        lacks = ", ".join(missing or ["objective"])
        rule = f"is no results.csv or history.csv of ours: it has no column {lacks}"
        raise ResultsError([Fault("file", path, rule)])


def csv_source(path: Path, settings: Sequence[str] | None = ()) -> Source:
    """The runs of a results.csv, without anything else of their sweep.

    Args:
        path: Of the file; the history.csv beside it has their epochs.
        settings: Further keys of the configuration to read for each run whose folder is there;
            None for all.

    Raises:
        ResultsError: It cannot be read, or has other columns.
    """
    table = read_csv(path)
    if is_history(table):
        rule, fix = "has epochs, and no runs", "name the results.csv beside it"
        raise ResultsError([Fault("file", path, rule, fix=fix)])
    history = StudyFolder(path.parent).history_csv
    rows, keys = _rows(table)
    for row in rows if settings != () else ():
        folder = row.facts.get("folder")
        if folder is not None:
            row.settings = {**read_settings(Path(folder), settings), **row.settings}
    return Source(
        name=_name(path, table),
        rows=tuple(rows),
        keys=keys,
        origin=str(path),
        history_csv=history if history.is_file() else None,
    )


def _name(path: Path, table: pd.DataFrame) -> str:
    """Of its study; of several, or of none, that of the folder that they are written in."""
    studies = table["study"].dropna().unique()
    if len(studies) == 1:
        return str(studies[0])
    own = StudyFolder(path.parent).results_csv.name
    return path.resolve().parent.name if path.name == own else path.stem


def _rows(table: pd.DataFrame) -> tuple[list[Row], Keys]:
    names = [str(name) for name in table]
    fixed = [name for name in names if name in FIXED or name in objectives_of(table)]
    settings = tuple(names[names.index("folder") + 1 :])
    keys = Keys(
        tuple(parameters_of(table)), tuple(told_of(table)), settings, tuple(objectives_of(table))
    )
    parts = [
        _known(table[list(some)]) for some in (fixed, keys.parameters, keys.told, keys.settings)
    ]
    newest = table.groupby(["study", "ticket"])["attempt"].transform("max")
    is_last = (newest.isna() | (table["attempt"] >= newest)).fillna(True)
    return [Row(*row) for row in zip(*parts, is_last.tolist(), strict=True)], keys


def _known(part: pd.DataFrame) -> list[dict[str, object]]:
    """For each row what its cells hold; empty ones are left out.

    Where a fact is NaN in all rows it is kept, so that its column is.
    """
    rows: list[dict[str, object]] = [{} for _ in range(len(part))]
    for name in part:
        is_nan = name in FIXED and part[name].dtype == "float64" and part[name].isna().all()
        for row, value in zip(rows, part[name].tolist(), strict=True):
            is_missing = value is pd.NA or value is pd.NaT or value != value
            if not is_missing or is_nan:
                row[str(name)] = value
    return rows
