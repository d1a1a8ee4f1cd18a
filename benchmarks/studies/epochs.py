"""Which epochs of a study's history are of which of its runs."""

from __future__ import annotations

import pandas as pd

# A run, in both tables; the folder is not known of a table without its sweep.
_KEY = ["study", "number", "repeat"]


def epochs_of(history: pd.DataFrame, runs: pd.DataFrame) -> list[pd.DataFrame]:
    """The epochs of each of some runs, in their order.

    Args:
        history: Of all sweeps, as ``load_history`` gives it.
        runs: Some rows of the table of runs; one that failed in its first epoch has none.
    """
    by_run = dict(list(history.fillna({"repeat": 0}).groupby(_KEY, sort=False)))
    keys = runs.fillna({"repeat": 0})[_KEY].itertuples(index=False, name=None)
    none = history.iloc[:0]
    return [by_run.get(key, none).sort_values("epoch") for key in keys]


def largest_losses(history: pd.DataFrame, runs: pd.DataFrame) -> list[float]:
    """The largest validation loss that each of some runs has met, NaN where it met none.

    Args:
        history: Of all sweeps.
        runs: Some rows of the table of runs.
    """
    return [float(epochs["val_loss"].max()) for epochs in epochs_of(history, runs)]
