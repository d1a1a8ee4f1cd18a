"""A whole report: the tables, the page, the best configuration, and where they are written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from resnet_sweep.report.best import OURS, Best, write_best
from resnet_sweep.report.columns import FIXED, column_names
from resnet_sweep.report.files import write_csv
from resnet_sweep.report.notes import batch_norm_notes, skipped_notes
from resnet_sweep.report.results import history_of, table_of
from resnet_sweep.report.source import Source
from resnet_sweep.report.text import one_line, shown_path
from resnet_sweep.study.folder import StudyFolder

if TYPE_CHECKING:
    from resnet_sweep.report.page.content import PageContent

# Of a folder's name.
_MOST_CHARS = 80


class Report:
    """What is known of some studies, sweeps or runs.

    Args:
        sources: That have been read.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A row a run, see ``load_results``."""
        return table_of(self.sources)

    @cached_property
    def attempts(self) -> pd.DataFrame:
        """As ``runs``, with the attempts that were lost or interrupted."""
        return table_of(self.sources, "all")

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row a run and epoch, see ``load_history``."""
        return history_of(self.sources)

    @cached_property
    def groups(self) -> pd.DataFrame:
        """Choices compared at the same settings, see ``compare_groups``."""
        from resnet_sweep.report.groups import compare_groups

        return compare_groups(self.runs)

    @property
    def title(self) -> str:
        """The names of what it is made of."""
        names = [source.name for source in self.sources]
        return ", ".join(names) if len(names) < 4 else f"{names[0]} and {len(names) - 1} more"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the table should know."""
        return tuple(dict.fromkeys(note for source in self.sources for note in source.notes))

    @property
    def _standings(self) -> tuple[str, ...]:
        found = [(source.name, source.standing) for source in self.sources]
        return tuple(f"{name}: {standing}." for name, standing in found if standing)

    def write_tables(self, folder: StudyFolder) -> list[Path]:
        """Writes results.csv and history.csv, each whole or not at all; returns their paths.

        Args:
            folder: Where they go.
        """
        write_csv(self.runs, folder.results_csv)
        write_csv(self.history, folder.history_csv)
        return [folder.results_csv, folder.history_csv]

    def write_best(self, folder: StudyFolder, num: int = 1, *, base: Path) -> list[Best]:
        """Writes best.yaml, and best-2.yaml and so on for more than one.

        Args:
            folder: Where they go.
            num: How many.
            base: Where their commands will be typed.
        """
        return write_best(self.sources, folder.path, num, base)

    def write_page(self, folder: StudyFolder, best: Sequence[Best]) -> Path:
        """Writes report.html and returns its path.

        Args:
            folder: Where it goes.
            best: What ``write_best`` has written.
        """
        from resnet_sweep.report.page.page import write_page

        write_page(self.content(best), folder.report_html)
        return folder.report_html

    def write_pngs(self, folder: StudyFolder) -> list[Path]:
        """Writes the main plots as PNG files and returns their paths.

        Args:
            folder: They go into its plots/.
        """
        from resnet_sweep.report.plots.png import write_pngs

        return write_pngs(self.content(), folder.plots)

    def content(self, best: Sequence[Best] = ()) -> PageContent:
        """What the page and the static pictures are made of.

        Args:
            best: What ``write_best`` has written.
        """
        from resnet_sweep.report.differing import differing_settings
        from resnet_sweep.report.page.content import PageContent

        differing = differing_settings(self.sources)
        snapshots = [one.snapshot for one in self.sources if one.snapshot is not None]
        return PageContent(
            title=self.title,
            made_at=datetime.now(),
            runs=self.runs,
            history=self.history,
            attempts=self.attempts,
            groups=self.groups,
            log_parameters=self._log_parameters(),
            rerun_command=best[0].command if best else None,
            best_yaml=best[0].path.name if best else None,
            confirm_command=self._confirm_command(best),
            tracebacks={
                row.facts["folder"]: row.traceback
                for source in self.sources
                for row in source.rows
                if row.traceback and row.facts.get("folder")
            },
            notes=(
                *self.notes,
                *batch_norm_notes(self.runs),
                *skipped_notes(self.runs),
                *self._standings,
                *_differing_note(differing),
            ),
            studies_differ=bool(differing),
            is_active=any(snapshot.is_active for snapshot in snapshots),
            left_s=snapshots[0].left_s if len(snapshots) == 1 else None,
        )

    def _confirm_command(self, best: Sequence[Best]) -> str | None:
        """What runs the best with fresh seeds, for a study of our own application."""
        if not best or best[0].command is None or len(self.sources) > 1:
            return None
        words, source = shlex.split(best[0].command), self.sources[0]
        if "--config-dir" not in words or source.snapshot is None or source.folder is None:
            return None
        if source.snapshot.earlier:
            # It does so itself.
            return None
        shown = shown_path(source.folder, Path.cwd())
        if not re.fullmatch(r"[\w./-]+", shown, re.ASCII):
            # Hydra would want quotes of its own in the shell's.
            return None
        typed = ["-m", "study=confirm", f"hydra.sweeper.trials.study={shown}"]
        return shlex.join([*OURS, *typed])

    def _log_parameters(self) -> frozenset[str]:
        """Names of columns whose parameters were drawn on a logarithmic axis."""
        keys = {key for source in self.sources for row in source.rows for key in row.parameters}
        names = column_names(keys, FIXED, "params")
        logarithmic = {key for source in self.sources for key in source.log_parameters}
        return frozenset(name for key, name in names.items() if key in logarithmic)


def _differing_note(differing: Mapping[str, Sequence[Any]]) -> tuple[str, ...]:
    texts = [f"{key} ({', '.join(map(one_line, values))})" for key, values in differing.items()]
    return (f"These studies also differ in {'; '.join(texts)}.",) if texts else ()


def folder_for(sources: Sequence[Source], named: Sequence[str]) -> Path:
    """Where a report is written if nothing else is said.

    Args:
        sources: That have been read.
        named: As they were typed.

    Returns:
        The folder of the only study; else one in the working directory that is named after what
        was typed, so that another report does not take its place.
    """
    if len(sources) == 1 and sources[0].folder is not None:
        return sources[0].folder
    paths = [Path(one).absolute() for one in named]
    words = [path.parent.name if path.name == "results.csv" else path.name for path in paths]
    name = re.sub(r"[^\w.-]+", "-", "-".join(["report", *words]), flags=re.ASCII)
    return Path(name[:_MOST_CHARS])
