"""results.csv and history.csv: written whole or not at all, and read back as they were."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from resnet_sweep.faults import Fault, ResultsError
from resnet_sweep.files import replacing
from resnet_sweep.report.columns import (
    FIXED,
    Row,
    from_cells,
    objectives_of,
    parameters_of,
    to_cells,
    told_of,
)
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
        "." if f"{one}/" == home else str(one).removeprefix(home) for one in cells["folder"]
    ]
    with replacing(path) as temporary:
        cells.to_csv(temporary, index=False, encoding="utf-8", lineterminator="\n")


def read_csv(path: Path) -> pd.DataFrame:
    """Reads what ``write_csv`` has written, with its types.

    Args:
        path: Of the file.

    Raises:
        ResultsError: It cannot be read, or is no such file.
    """
    try:
        cells = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        table = from_cells(cells)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ResultsError([Fault("file", path, f"cannot be read: {reason}")]) from error
    missing = [name for name in ("study", "folder") if name not in table]
    if missing:
        rule = f"is no results.csv or history.csv of ours: it has no column {', '.join(missing)}"
        raise ResultsError([Fault("file", path, rule)])
    home = path.parent.absolute()
    table["folder"] = pd.Series(
        [None if pd.isna(one) else str(home / one) for one in table["folder"]], dtype="string"
    )
    return table


def csv_source(path: Path) -> Source:
    """The runs of a results.csv, without anything else of their sweep.

    Args:
        path: Of the file; the history.csv beside it has their epochs.

    Raises:
        ResultsError: It cannot be read, or has other columns.
    """
    table = read_csv(path)
    if "state" not in table or not objectives_of(table):
        rule = "is no results.csv of ours: it has no states and objectives"
        raise ResultsError([Fault("file", path, rule)])
    history = StudyFolder(path.parent).history_csv
    return Source(
        name=path.stem if table.empty else str(table["study"].iloc[0]),
        rows=tuple(_rows(table)),
        history_csv=history if history.is_file() else None,
    )


def _rows(table: pd.DataFrame) -> list[Row]:
    parameters, told = parameters_of(table), told_of(table)
    fixed = [name for name in table if name in FIXED or name in objectives_of(table)]
    settings = list(table)[list(table).index("folder") + 1 :]
    parts = [_known(table[names]) for names in (fixed, parameters, told, settings)]
    return [Row(*row) for row in zip(*parts, strict=True)]


def _known(part: pd.DataFrame) -> list[dict[str, object]]:
    """For each row what its cells hold; empty ones are left out."""
    rows: list[dict[str, object]] = [{} for _ in range(len(part))]
    for name in part:
        for row, value in zip(rows, part[name].tolist(), strict=True):
            is_missing = value is pd.NA or value is pd.NaT or value != value
            if not is_missing:
                row[str(name)] = value
    return rows
