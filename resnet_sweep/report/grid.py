"""Columns of text side by side, made to fit a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len, set_cell_size

from resnet_sweep.report.text import one_line, short_keys

_GAP = "  "


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        header: In one line.
        cells: In one line each.
        is_number: Numbers stand at the right.
        least: Cells of a terminal that are enough for it where there is no more room; None for
            all that it needs.
    """

    header: str
    cells: Sequence[str]
    is_number: bool = False
    least: int | None = None

    @property
    def width(self) -> int:
        """Cells of a terminal that it takes."""
        return max(map(cell_len, (self.header, *self.cells)))

    def padded(self) -> list[str]:
        """Its header and cells, of one width."""
        width = self.width
        texts = [self.header, *self.cells]
        spaces = [" " * (width - cell_len(text)) for text in texts]
        pairs = zip(spaces, texts, strict=True)
        return [space + text if self.is_number else text + space for space, text in pairs]


def fitted(
    columns: Mapping[str, Column],
    width: int | None,
    keys: Iterable[str] = (),
    first_to_go: Iterable[str] = (),
) -> dict[str, Column]:
    """The columns that fit; those that are left may still be too wide.

    Args:
        columns: By name, in their order.
        width: Of the terminal; None takes all.
        keys: Names that are dotted keys: shortened before anything is left out.
        first_to_go: Names of columns that are left out as long as it is too narrow.
    """
    kept = dict(columns)
    if width is None or _width(kept) <= width:
        return kept
    for name, short in short_keys(keys).items():
        kept[name] = replace(kept[name], header=one_line(short))
    for name in first_to_go:
        if _width(kept) <= width:
            break
        kept.pop(name, None)
    return kept


def lines_of(columns: Mapping[str, Column], width: int | None) -> list[str]:
    """A line with the headers and a line a row; what is too long ends in an ellipsis.

    Args:
        columns: By name, in their order.
        width: Of the terminal; None cuts nothing.
    """
    padded = [column.padded() for column in columns.values()]
    lines = [_GAP.join(cells).rstrip() for cells in zip(*padded, strict=True)]
    if width is None:
        return lines
    return [
        line if cell_len(line) <= width else f"{set_cell_size(line, width - 1)}…" for line in lines
    ]


def _width(columns: Mapping[str, Column]) -> int:
    """Cells that a line needs."""
    widths = [
        column.width if column.least is None else min(column.width, column.least)
        for column in columns.values()
    ]
    return len(_GAP) * (len(columns) - 1) + sum(widths)
