"""What a reader of a table of runs should know of how its numbers came about."""

from __future__ import annotations

import pandas as pd


def batch_norm_notes(table: pd.DataFrame) -> tuple[str, ...]:
    """That batch norm of some runs saw parts of a batch, if there are such runs.

    Args:
        table: Of runs, as ``load_results`` gives it.

    Returns:
        A line, or none.
    """
    known = table["microbatch"].dropna() if "microbatch" in table else ()
    if not len(known):
        return ()
    num = len(known)
    runs = "1 run" if num == 1 else "all runs" if num == len(table) else f"{num} runs"
    return (
        f"microbatch: in {runs} a batch went through the network in parts, of up to "
        f"{max(known)} images, and batch norm saw one part at a time: whole batches may give "
        "other results",
    )
