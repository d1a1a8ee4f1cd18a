"""Tables of runs and of their epochs, from whatever a sweep has left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from resnet_sweep.faults import ConfigError, Fault, ResultsError, one_of
from resnet_sweep.report.columns import OF_A_RUN, Row, fixed_column, frame, is_history
from resnet_sweep.report.files import read_csv
from resnet_sweep.report.runs import read_metrics
from resnet_sweep.report.source import Source
from resnet_sweep.report.sources import Paths, open_sources

Attempts = Literal["last", "all"]
ATTEMPTS = ("last", "all")


def load_results(
    paths: Paths, attempts: Attempts = "last", config: Sequence[str] | Literal["all"] = ()
) -> pd.DataFrame:
    """Reads the results of sweeps and runs, best first; also while they run.

    Args:
        paths: Folders of sweeps (of ours or of another sweeper) or of single runs, folders above
            them, ``results.csv`` files, URLs of Optuna storages; one or several.
        attempts: Of trials that were taken up again the last attempt, or all.
        config: Dotted keys of the configuration that get columns as well; "all" for every key.
            One that is a parameter, with the same values, has its column already.

    Returns:
        A row a run: a trial, or with repeats each of its runs. In this order:

        ``study`` (string), ``ticket`` (Int64, its number in the plan), ``number`` (Int64, of
        Optuna's trial; missing for one that waits and for single runs), ``repeat`` (Int64, missing
        without repeats), ``attempt`` (Int64, from 0), ``state`` (string: COMPLETE, PRUNED, FAIL,
        RUNNING, WAITING);

        every parameter under its key: Int64, float64, boolean or string, object for mixtures,
        where None is the value null and missing means that it has no part in the trial. Of
        several sources what one has swept and others have fixed is a parameter of all, and so
        are choices of groups, of ``model`` for instance, and settings in which they differ and
        that may change a result;

        ``objective`` (float64; of several ``objective_0`` and so on), ``metric`` (string, the
        column that the objective repeats), ``direction`` (string), ``earlier``
        (float64, of a study that runs the best of another again: what a trial had there),
        ``published`` (float64) and
        ``published_learned`` (boolean) if the study has published values, ``best_epoch``
        (Int64), ``best_train_loss``, ``best_train_accuracy``, ``best_val_loss``,
        ``best_val_accuracy``, ``epochs`` (Int64, how many were finished), ``last_train_loss``,
        ``last_train_accuracy``, ``last_val_loss``, ``last_val_accuracy``,
        ``last_val_accuracy_low`` and ``_high`` (95% interval), ``chance_accuracy``, ``learned``
        (boolean: the interval lies above chance), ``test_loss``, ``test_accuracy``,
        ``test_accuracy_low`` and ``_high``, ``num_val_images``, ``num_test_images``,
        ``num_skipped_images`` (Int64, broken images that were left out; missing where there
        were none, or it is not known); numbers are float64;

        what the task has told; ``seconds``, ``images_per_s``, ``peak_memory_mib`` (float64),
        ``device``, ``precision`` (string), ``microbatch`` (Int64, most images that went through
        the network at once, of which batch norm saw no more either; missing where that was
        the whole batch, or is not known), ``seed`` (Int64), ``worker``, ``slot`` (string),
        ``started``, ``ended`` (datetime64[us]), ``duplicate_of`` (Int64), ``error_kind``,
        ``error``, ``folder`` (string), then the configuration's values.

        Columns of which nothing is known are left out, save study to state, objective, metric,
        direction, seconds, error_kind, error and folder. A name that is taken gets a prefix:
        ``params_``, ``attrs_``, ``config_``.

    Raises:
        ResultsError: There are no results at a path, or no run has a key.
        ConfigError: ``attempts`` is not known.
    """
    faults = one_of("attempts", attempts, ATTEMPTS)
    if faults:
        raise ConfigError(faults)
    sources = open_sources(paths, None if config == "all" else tuple(config))
    return table_of(sources, attempts)


def load_history(paths: Paths) -> pd.DataFrame:
    """Reads how the runs of sweeps went, epoch by epoch; also while they run.

    Args:
        paths: As for ``load_results``; of a ``results.csv`` the ``history.csv`` beside it is
            read, which may also be named itself.

    Returns:
        A row a run and epoch, of the last attempts: ``study`` (string), ``ticket``, ``number``,
        ``repeat``, ``attempt``, ``epoch`` (Int64), then what the run has measured (float64;
        of ours ``train_loss``, ``train_accuracy``, ``val_loss``, ``val_accuracy``, ``lr``,
        ``seconds``, ``val_seconds``, ``images_per_s``), ``reported`` (float64, what the pruner
        was told) and ``folder`` (string).

    Raises:
        ResultsError: There are no results at a path.
    """
    named = [paths] if isinstance(paths, str | Path) else list(paths)
    files = [one for one in named if Path(one).name.endswith("history.csv")]
    tables = [_read_history(Path(one)) for one in files]
    rest = [one for one in named if one not in files]
    return _together([*tables, *([history_of(open_sources(rest))] if rest or not files else [])])


def _read_history(path: Path) -> pd.DataFrame:
    table = read_csv(path)
    if not is_history(table):
        raise ResultsError([Fault("file", path, "has runs, and no epochs")])
    return table


def table_of(sources: Iterable[Source], attempts: Attempts = "last") -> pd.DataFrame:
    """The table of runs, see ``load_results``.

    Args:
        sources: That have been read.
        attempts: The last ones, or all.
    """
    sources = list(sources)
    rows = [row for source in sources for row in source.rows]
    shown = [row for row in rows if row.is_last or attempts == "all"]
    return frame(shown, [source.keys for source in sources])


def history_of(sources: Iterable[Source]) -> pd.DataFrame:
    """The table of epochs, see ``load_history``.

    Args:
        sources: That have been read.
    """
    return _together([_history(source) for source in sources])


def _history(source: Source) -> pd.DataFrame:
    if source.history_csv is not None:
        table = _read_history(source.history_csv)
        names = table["study"].map(lambda name: source.renamed.get(name, name), na_action="ignore")
        return table.assign(study=names.astype("string"))
    reported = _reported(source)
    epochs: list[dict[str, Any]] = []
    for row in source.rows:
        if row.is_last:
            epochs += _epochs(row, reported.get(row.facts.get("number"), {}))
    return _epoch_frame(epochs)


def _reported(source: Source) -> dict[Any, dict[int, float]]:
    """By number what each trial has reported, by step."""
    trials = source.snapshot.trials if source.snapshot is not None else ()
    return {trial.number: trial.intermediate_values for trial in trials}


def _epochs(row: Row, reported: dict[int, float]) -> list[dict[str, Any]]:
    facts = row.facts
    # Only the first of several runs reports.
    values = reported if not facts.get("repeat") else {}
    folder = facts.get("folder")
    measured = read_metrics(Path(folder)) if folder is not None else []
    by_epoch = {int(one["epoch"]): one for one in measured}
    own = {key: facts.get(key) for key in (*OF_A_RUN, "folder")}
    return [
        {**by_epoch.get(epoch, {}), **own, "epoch": epoch, "reported": values.get(epoch)}
        for epoch in sorted({*by_epoch, *values})
    ]


def _epoch_frame(epochs: Sequence[dict[str, Any]]) -> pd.DataFrame:
    fixed = (*OF_A_RUN, "epoch", "reported", "folder")
    measured = dict.fromkeys(key for one in epochs for key in one if key not in fixed)
    names = (*OF_A_RUN, "epoch", *measured, "reported", "folder")
    columns = {name: _column(name, [one.get(name) for one in epochs]) for name in names}
    return pd.DataFrame(columns, index=pd.RangeIndex(len(epochs)))


def _column(name: str, values: Sequence[Any]) -> pd.Series[Any]:
    if name in (*OF_A_RUN, "epoch", "folder"):
        return fixed_column(name, values)
    # Whatever a run has measured, also under the name of another table's column.
    return pd.Series(values, dtype="float64")


def _together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table with the columns of all, in the order of ``load_history``."""
    kept = [table for table in tables if not table.empty] or list(tables[:1])
    if not kept:
        return _epoch_frame([])
    if len(kept) == 1:
        return kept[0]
    ends = ("reported", "folder")
    measured = dict.fromkeys(name for table in kept for name in table if name not in ends)
    return pd.concat(kept, ignore_index=True)[[*measured, *ends]]
