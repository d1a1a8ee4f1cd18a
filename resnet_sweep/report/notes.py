"""What a reader of a table of runs should know of how its numbers came about."""

from __future__ import annotations

import pandas as pd

from resnet_sweep.wording import counted


def batch_norm_notes(table: pd.DataFrame) -> tuple[str, ...]:
    """That batch norm of some runs saw parts of a batch, if there are such runs.

    Args:
        table: Of runs, as ``load_results`` gives it.

    Returns:
        A line, or none.
    """
    known = _known(table, "microbatch")
    if known.empty:
        return ()
    runs = _runs(len(known), table)
    return (
        f"microbatch: in {runs} a batch went through the network in parts, of up to "
        f"{max(known)} images, and batch norm saw one part at a time: whole batches may give "
        "other results",
    )


def skipped_notes(table: pd.DataFrame) -> tuple[str, ...]:
    """That broken images were left out of the data of some runs, if there are such runs.

    Args:
        table: Of runs, as ``load_results`` gives it.

    Returns:
        A line, or none.
    """
    known = _known(table, "num_skipped_images")
    if known.empty:
        return ()
    most = int(max(known))
    images = counted(most, "broken image was", "broken images were")
    up_to = "" if min(known) == most else "up to "
    return (
        f"data.on_corrupt=skip: {up_to}{images} left out of the data of "
        f"{_runs(len(known), table)}; the train.log of the first run says where they are named",
    )


def _known(table: pd.DataFrame, column: str) -> pd.Series[int]:
    """A column that is only there where a run has something to say."""
    return table[column].dropna() if column in table else pd.Series(dtype="Int64")


def _runs(num: int, table: pd.DataFrame) -> str:
    if num == len(table):
        return "the run" if num == 1 else "all runs"
    return counted(num, "run")
