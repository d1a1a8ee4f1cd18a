"""What it hangs on that ResNet-50 learns, or does not, at the first trial's learning rate."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from benchmarks.studies.epochs import largest_losses
from benchmarks.studies.numbers import accuracy, complete, each, learned, text
from benchmarks.studies.pictures import CHANCE, whiskers
from benchmarks.studies.study import SCALES, Section, Study, Sweep, Tables

# By place in the plan, which is conf/study/causes.yaml's.
CHANGES = (
    "the recipe of lr_trials",
    "Adam",
    "RMSprop",
    "batch 8",
    "batch 128",
    "no flips",
    "last norm of a block from 0",
    "torchvision's block",
)


def causes_table(runs: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """A row a change.

    Args:
        runs: Of ``load_results``.
        history: Of ``load_history``.
    """
    rows = []
    for ticket, part in runs.groupby("ticket", sort=True):
        rows.append(
            {
                "changed": CHANGES[int(str(ticket))],
                "best epoch": each(complete(part)["best_val_accuracy"]),
                "last epoch": each(complete(part)["last_val_accuracy"]),
                "mean or interval (95%)": text(accuracy(part)),
                "learned": learned(part),
                "largest validation loss": each(largest_losses(history, part), 1),
            }
        )
    return pd.DataFrame(rows)


def verdict(runs: pd.DataFrame) -> str:
    """In how many runs ResNet-50 has learned with the recipe, and what turns that.

    Args:
        runs: Of ``load_results``.
    """
    told = {int(str(ticket)): learned(part) for ticket, part in runs.groupby("ticket")}
    others = [f"with {CHANGES[i]} in {one}" for i, one in told.items() if one != told[0]]
    rest = "; ".join(others) or "and in as many with every change of it alone"
    found = f"With the recipe ResNet-50 has learned in {told[0]} runs; {rest}."
    lost = [CHANGES[i] for i, one in told.items() if one.startswith("0 of")]
    if lost and 0 in told and not told[0].startswith("0 of"):
        found += f" That it does not learn, as was published, comes with {_any_of(lost)}."
    return found


def _any_of(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _sections(read: Tables) -> list[Section]:
    return [
        Section(
            "One thing otherwise at a time",
            causes_table(read.runs, read.history),
            (
                verdict(read.runs),
                "Learning rate 0.0025, no weight decay, momentum 0.9 where the optimizer has one "
                "(RMSprop: 0). *Learned*: the 95% interval of the last epoch's accuracy lies "
                "above chance.",
            ),
            "causes",
        )
    ]


def _picture(read: Tables) -> Figure:
    rows = [
        (CHANGES[int(str(ticket))], *accuracy(part))
        for ticket, part in read.runs.groupby("ticket", sort=True)
    ]
    return whiskers({"ResNet-50, lr 0.0025": rows}, "validation accuracy, last epoch", "", CHANCE)


STUDY = Study(
    name="causes",
    question="The published ResNet-50 did not learn at a learning rate of 0.0025. Does that "
    "hang on something that was not published, or on the block?",
    sweeps={
        "full": (Sweep("causes", ("study=causes",)),),
        # Images and size of lr_trials there, and the first half of its epochs: smaller, no network
        # is far from chance, whatever is changed.
        "cpu": (
            Sweep(
                "causes",
                (
                    *("study=causes", "data.image_size=64", "trainer.epochs=10"),
                    "hydra.sweeper.repeats=1",
                ),
            ),
        ),
    },
    sizes=SCALES
    | {"cpu": "64 pixels and 10 epochs, without a GPU: not the published size, half its length"},
    sections=_sections,
    pictures={"causes": _picture},
)
