"""What a study of docs/studies is: sweeps of ours, and the page that is made of their tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

# What every table says of its size.
SCALES = {
    "full": "full size: 224 pixels, 20 epochs, on a GPU",
    "cpu": "64 pixels and 20 epochs, without a GPU: not the published size",
    "small": "small (scale=small): 32 pixels, 1,000 training images, 6 epochs, without a GPU: not "
    "the published size",
}


@dataclass(frozen=True)
class Sweep:
    """One sweep of a study.

    Attributes:
        name: Of its folder, and in the column ``study`` of the tables.
        overrides: Typed behind ``python -m resnet_sweep -m``.
    """

    name: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: Its heading.
        table: Texts, a row a line; None for words alone.
        words: Markdown behind the table, a paragraph each.
        picture: Name of a picture, without its ending; None for none.
    """

    title: str
    table: pd.DataFrame | None = None
    words: tuple[str, ...] = ()
    picture: str | None = None


@dataclass(frozen=True)
class Tables:
    """What is committed of a study, and all that its page may be made of.

    Attributes:
        runs: As ``resnet_sweep.load_results`` gives them.
        history: As ``resnet_sweep.load_history`` gives it.
    """

    runs: pd.DataFrame
    history: pd.DataFrame


@dataclass(frozen=True)
class Study:
    """A study, from its commands to its page.

    Attributes:
        name: Of its folder in docs/studies.
        question: What it asks, Markdown.
        sweeps: By scale, in the order in which they run.
        sections: Makes the page.
        pictures: Makes the pictures, by name.
        sizes: What every table says of its scale.
    """

    name: str
    question: str
    sweeps: Mapping[str, Sequence[Sweep]]
    sections: Callable[[Tables], list[Section]]
    pictures: Mapping[str, Callable[[Tables], Figure]]
    sizes: Mapping[str, str] = field(default_factory=lambda: SCALES)
