"""What it hangs on that ResNet-50 learns, or does not, at the first trial's learning rate."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from benchmarks.studies.epochs import largest_losses
from benchmarks.studies.numbers import accuracy, each, text
from benchmarks.studies.pictures import whiskers
from benchmarks.studies.study import Section, Study, Sweep, Tables

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
        learned = int(part["learned"].fillna(False).sum())
        rows.append(
            {
                "changed": CHANGES[int(str(ticket))],
                "best epoch": each(part["best_val_accuracy"]),
                "last epoch": each(part["last_val_accuracy"]),
                "mean or interval (95%)": text(accuracy(part)),
                "learned": f"{learned} of {len(part)}",
                "largest validation loss": each(largest_losses(history, part), 1),
            }
        )
    return pd.DataFrame(rows)


def verdict(runs: pd.DataFrame) -> str:
    """Which changes turn the answer of the recipe round, in words.

    Args:
        runs: Of ``load_results``.
    """
    learned = runs.groupby("ticket")["learned"].agg(lambda one: bool(one.fillna(False).all()))
    base = bool(learned[0])
    others = [CHANGES[int(str(ticket))] for ticket, one in learned.items() if one != base]
    told = "learns" if base else "does not learn"
    if not others:
        return f"ResNet-50 {told} with the recipe and with every change of it alone."
    turned = "does not learn" if base else "learns"
    return f"With the recipe ResNet-50 {told}; it {turned} with {', '.join(others)}."


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
        (CHANGES[int(str(ticket))].replace(" ", "\n", 1), *accuracy(part))
        for ticket, part in read.runs.groupby("ticket", sort=True)
    ]
    return whiskers({"ResNet-50, lr 0.0025": rows}, "validation accuracy, last epoch", "")


STUDY = Study(
    name="causes",
    question="The published ResNet-50 did not learn at a learning rate of 0.0025. Which of the "
    "things that were not published does that hang on?",
    sweeps={
        "full": (Sweep("causes", ("study=causes",)),),
        "small": (
            Sweep(
                "causes",
                (
                    *("study=causes", "scale=small", "model=resnet50", "data.num_train=2000"),
                    *("data.num_val=600", "hydra.sweeper.repeats=1"),
                ),
            ),
        ),
    },
    sections=_sections,
    pictures={"causes": _picture},
)
