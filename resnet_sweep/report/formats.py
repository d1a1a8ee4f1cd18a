"""A table as text for other programs: Markdown, CSV, LaTeX, JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from resnet_sweep.faults import ConfigError, one_of
from resnet_sweep.report.cells import guarded, line_of, to_cells
from resnet_sweep.report.grid import Column
from resnet_sweep.report.settings import holds_numbers, is_missing, plain
from resnet_sweep.report.text import number, one_line

# An underscore between letters is none of Markdown's marks; elsewhere it is.
_MD_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")
_MD_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_LATEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # Behind the end of a row both would be read as its options.
    "[": "{[}",
    "*": "{*}",
}
_LATEX_TABLE = str.maketrans(_LATEX)
# Between these LaTeX would make one sign of two.
_LIGATURE = re.compile(r"(?<=-)(?=-)|(?<=')(?=')|(?<=`)(?=`)|(?<=,)(?=,)|(?<=[?!])(?=`)")
_PATTERNS: dict[str, Callable[[float], str]] = {
    "seconds": "{:.1f}".format,
    "seconds_mean": "{:.1f}".format,
    "images_per_s": "{:.0f}".format,
    "peak_memory_mib": "{:.0f}".format,
}


def to_text(table: pd.DataFrame, format: str) -> str:
    """Writes a table.

    Args:
        table: Any; all of its columns and rows are written.
        format: "md", a table of GitHub's Markdown, and "latex", a tabular without packages,
            have rounded numbers and null, true and false as they are typed. "csv", which
            ``load_results`` reads back, has all digits; "json" as well, as a list with an object
            a row: missing values and null are null, infinite ones, which JSON has not, are
            the texts "inf" and "-inf", times are in ISO 8601.

    Returns:
        The text, with a line break at its end; of a table without columns nothing but that of
        the format.

    Raises:
        ConfigError: The format is not known.
    """
    faults = one_of("--format", format, tuple(_FORMATS))
    if faults:
        raise ConfigError(faults)
    return _FORMATS[format](table)


def columns_to_text(columns: Sequence[Column], format: str) -> str:
    """Writes columns that are texts already.

    Args:
        columns: At least one.
        format: "md" or "latex", as for ``to_text``.
    """
    return (_md_of if format == "md" else _latex_of)(columns)


def _columns(table: pd.DataFrame) -> list[Column]:
    return [
        Column(one_line(str(name)), readable(table[name], str(name)), holds_numbers(table[name]))
        for name in table
    ]


def _to_csv(table: pd.DataFrame) -> str:
    cells = to_cells(table)
    lines = zip(*([guarded(str(name)), *cells[name]] for name in cells), strict=True)
    return "".join(map(line_of, lines)) or "\n"


def _to_json(table: pd.DataFrame) -> str:
    names = [str(name) for name in table]
    rows = zip(*(table[name] for name in table), strict=True)
    # Other than ASCII is written as escapes: no terminal or file can spoil it.
    lines = [
        json.dumps(dict(zip(names, map(_json_value, row), strict=True)), allow_nan=False)
        for row in rows
    ]
    return "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"


def _json_value(value: Any) -> Any:
    value = plain(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, list | tuple):
        return [_json_value(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _json_value(one) for key, one in value.items()}
    return value.isoformat() if isinstance(value, pd.Timestamp) else str(value)


def _to_md(table: pd.DataFrame) -> str:
    return _md_of(_columns(table))


def _md_of(columns: Sequence[Column]) -> str:
    if not columns:
        return "\n"
    rows = [[_md(one.header) for one in columns]]
    rows.append(["---:" if one.is_number else "---" for one in columns])
    rows += [list(map(_md, row)) for row in zip(*(one.cells for one in columns), strict=True)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _md(text: str) -> str:
    return _MD_SPECIAL.sub(lambda match: "\\" + match[0], text).translate(_MD_HTML)


def _to_latex(table: pd.DataFrame) -> str:
    return _latex_of(_columns(table))


def _latex_of(columns: Sequence[Column]) -> str:
    if not columns:
        return "\n"
    layout = "".join("r" if one.is_number else "l" for one in columns)
    rows = zip(*(map(_latex, one.cells) for one in columns), strict=True)
    lines = [
        f"\\begin{{tabular}}{{{layout}}}",
        "\\hline",
        f"{' & '.join(_latex(one.header) for one in columns)} \\\\",
        "\\hline",
        *(f"{' & '.join(row)} \\\\" for row in rows),
        "\\hline",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _latex(text: str) -> str:
    return _LIGATURE.sub("{}", text.translate(_LATEX_TABLE))


def readable(column: pd.Series[Any], name: str) -> list[str]:
    """The cells of a column for a person: rounded, in one line, empty where nothing is known.

    Numbers that have few digits, like learning rates, keep them; of measured ones all in a
    column have four decimals.

    Args:
        column: Of any table.
        name: Its name.
    """
    values = [plain(value) for value in column]
    pattern = _PATTERNS.get(name, number)
    floats = [value for value in values if isinstance(value, float) and math.isfinite(value)]
    if name not in _PATTERNS and all(float(f"{value:.4g}") == value for value in floats):
        pattern = "{:.4g}".format
    return [_readable(value, pattern) for value in values]


def _readable(value: Any, pattern: Callable[[float], str]) -> str:
    if is_missing(value):
        return ""
    if isinstance(value, float):
        return pattern(value)
    if isinstance(value, pd.Timestamp):
        return value.isoformat(sep=" ", timespec="seconds")
    return one_line(value)


_FORMATS: dict[str, Callable[[pd.DataFrame], str]] = {
    "md": _to_md,
    "csv": _to_csv,
    "latex": _to_latex,
    "json": _to_json,
}
