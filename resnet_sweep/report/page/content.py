"""What a page is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pandas as pd


@dataclass(frozen=True)
class PageContent:
    """Everything that the page and the static pictures show.

    Attributes:
        title: Name of the study, or of what is reported on.
        made_at: When the tables were read.
        runs: A row a run, as ``load_results`` gives it: the last attempts.
        history: A row a run and epoch, as ``load_history`` gives it.
        attempts: As ``runs``, with all attempts.
        groups: As ``compare_groups`` gives it.
        log_parameters: Columns of parameters that were sampled or typed on a logarithmic scale.
        rerun_command: What runs the best again, if there is a best.
        confirm_command: What runs the best with fresh seeds; None where nothing can.
        best_yaml: Name of the file that the command reads.
        tracebacks: Of failed runs, by the table's ``folder``.
        notes: Sentences to show below the summary.
        studies_differ: Studies differ in more than their parameters, so that no parameter can be
            judged over all of them.
        is_active: A sweep is working on it.
        left_s: How long it is expected to go on; None if that is unknown.
    """

    title: str
    made_at: datetime
    runs: pd.DataFrame
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    attempts: pd.DataFrame = field(default_factory=pd.DataFrame)
    groups: pd.DataFrame = field(default_factory=pd.DataFrame)
    log_parameters: frozenset[str] = frozenset()
    rerun_command: str | None = None
    confirm_command: str | None = None
    best_yaml: str | None = None
    tracebacks: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    studies_differ: bool = False
    is_active: bool = False
    left_s: float | None = None
