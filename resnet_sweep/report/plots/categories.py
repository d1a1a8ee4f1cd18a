"""Values that are names: each stands for itself, however its label is shortened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

import pandas as pd

from resnet_sweep.report.plots.values import is_missing, is_number, value_text, varying
from resnet_sweep.report.settings import keys_of

_LABEL_CHARS = (24, 60, None)


@dataclass(frozen=True)
class Categories:
    """A column's distinct values.

    Attributes:
        labels: Of the values, no two alike, in the order in which they are shown.
        places: For each row that of its value among the labels; -1 where it has none.
    """

    labels: tuple[str, ...]
    places: tuple[int, ...]

    def label(self, row: int) -> str:
        """The label in a row; empty where there is none."""
        return self.labels[self.places[row]] if self.places[row] >= 0 else ""


def categories_of(runs: pd.DataFrame, name: str) -> Categories:
    """The values of a column: null first among numbers, else by their text.

    Args:
        runs: A row a run.
        name: Of the column.
    """
    values, keys = runs[name].tolist(), [key for (key,) in keys_of(runs, [name])]
    distinct = {
        key: value for key, value in zip(keys, values, strict=True) if not is_missing(value)
    }
    numbers = all(value is None or is_number(value) for value in distinct.values())
    labels = dict(zip(distinct, _labels(list(distinct.values())), strict=True))

    def rank(key: str) -> tuple[bool, Any, str]:
        value = distinct[key]
        is_ranked = numbers and value is not None
        return is_ranked, value if is_ranked else 0.0, labels[key]

    ordered = sorted(distinct, key=rank)
    place = {key: i for i, key in enumerate(ordered)}
    return Categories(
        tuple(labels[key] for key in ordered), tuple(place.get(key, -1) for key in keys)
    )


def _labels(values: Sequence[object]) -> list[str]:
    """The shortest text of each that no other has."""
    candidates = [[value_text(value, limit) for limit in _LABEL_CHARS] for value in values]
    for texts, value in zip(candidates, values, strict=True):
        # The text 1 beside the number 1.
        texts.append(f'"{texts[-1]}"' if isinstance(value, str) else texts[-1])
    uses = [Counter(level) for level in zip(*candidates, strict=True)]
    labels: dict[str, None] = {}
    for texts in candidates:
        alone = [text for text, used in zip(texts, uses, strict=True) if used[text] == 1]
        numbered = (f"{texts[0]} ({num})" for num in count(2))
        free = (text for text in chain(alone, numbered) if text not in labels)
        labels[next(free)] = None
    return list(labels)


def category_colours(
    runs: pd.DataFrame, palette: Sequence[str]
) -> tuple[str, list[str], dict[str, str]]:
    """The first parameter that a colour can tell.

    Returns:
        Its name, the colour of each row ("" where it has no value) and of each label; an empty
        name where there is none.
    """
    for name in varying(runs):
        values = [value for value in runs[name].tolist() if not is_missing(value)]
        if all(map(is_number, values)):
            continue
        found = categories_of(runs, name)
        if 2 <= len(found.labels) <= len(palette):
            colours = [palette[place] if place >= 0 else "" for place in found.places]
            return name, colours, dict(zip(found.labels, palette, strict=False))
    return "", [], {}
