"""Plain and residual networks of growing depth, each at its own best learning rate."""

from __future__ import annotations

import itertools

import pandas as pd
from matplotlib.figure import Figure

from benchmarks.studies.numbers import accuracy, complete, each, number, text
from benchmarks.studies.pictures import whiskers
from benchmarks.studies.study import Section, Study, Sweep, Tables

KINDS = {"plain": "plain", "resnet": "residual"}
_DEEP = (
    "model=resnet18,plain18,resnet34,plain34,resnet50,plain50,resnet101,plain101,resnet152,plain152"
)


def best_runs(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Of each network the runs at its own best learning rate, which is that of the best mean.

    Args:
        runs: Of ``load_results``.
    """
    found = {}
    for network in sorted(runs["model"].unique(), key=_place):
        part = runs[runs["model"] == network]
        means = means_of(part).dropna()
        if len(means):
            found[str(network)] = complete(part[part["optimizer.lr"] == means.idxmax()])
    return found


def means_of(part: pd.DataFrame) -> pd.Series[float]:
    """Mean last accuracy by learning rate; NaN where a seed has failed: that rate is none to have.

    Args:
        part: Runs of one network.
    """
    is_ended = (part["state"] == "COMPLETE").groupby(part["optimizer.lr"]).all()
    means = part.groupby("optimizer.lr")["last_val_accuracy"].mean()
    return means.where(is_ended)


def _place(network: str) -> tuple[int, str]:
    return depth_of(network), network


def depth_of(network: str) -> int:
    """50 of ``plain50``.

    Args:
        network: A choice of ``model``.
    """
    return int("".join(letter for letter in network if letter.isdigit()))


def depth_table(runs: pd.DataFrame) -> pd.DataFrame:
    """A row a network, at its own best learning rate.

    Args:
        runs: Of ``load_results``.
    """
    rates = sorted(runs["optimizer.lr"].unique())
    rows = []
    for network, part in best_runs(runs).items():
        rows.append(
            {
                "network": network,
                "best learning rate": number(float(part["optimizer.lr"].iloc[0])),
                "last train loss": each(part["last_train_loss"]),
                "last train accuracy": each(part["last_train_accuracy"]),
                "last validation accuracy": each(part["last_val_accuracy"]),
                "mean (95%)": text(accuracy(part)),
                "mean at " + ", ".join(number(rate) for rate in rates): _at_all(
                    runs[runs["model"] == network], rates
                ),
            }
        )
    return pd.DataFrame(rows)


def _at_all(part: pd.DataFrame, rates: list[float]) -> str:
    return each(means_of(part).reindex(rates).tolist())


def degradation(runs: pd.DataFrame) -> str:
    """What the training losses say of depth, in words.

    Args:
        runs: Of ``load_results``.
    """
    best = best_runs(runs)
    parts = []
    for kind, called in KINDS.items():
        networks = [name for name in best if name.startswith(kind)]
        if len(networks) < 2:
            continue
        losses = [float(best[name]["last_train_loss"].mean()) for name in networks]
        rises = all(a < b for a, b in itertools.pairwise(losses))
        word = "rises with every step of depth" if rises else "does not rise with every step"
        shown = ", ".join(
            f"{depth_of(name)}: {loss:.3f}" for name, loss in zip(networks, losses, strict=True)
        )
        parts.append(f"of the {called} networks the mean training loss {word} ({shown})")
    return f"At their own best learning rates, {'; '.join(parts)}."


def _sections(read: Tables) -> list[Section]:
    return [
        Section(
            "Plain and residual, at their own best learning rates",
            depth_table(read.runs),
            (
                degradation(read.runs),
                "He et al. 2015 (table 2 and figure 4) found on ImageNet that a plain network of "
                "34 layers has the higher *training* error than one of 18, through all of the "
                "training, and a residual one the lower. The learning rate was chosen by the same "
                "seeds and images that are shown, so the accuracies are a little optimistic; "
                "numbers are of the seeds in their order, and the picture's bars reach from the "
                "least to the most of them.",
            ),
            "depth",
        )
    ]


def _picture(read: Tables) -> Figure:
    best = best_runs(read.runs)
    groups = {
        called: [
            (str(depth_of(name)), float(part["last_train_loss"].mean()), *_range(part))
            for name, part in best.items()
            if name.startswith(kind)
        ]
        for kind, called in KINDS.items()
    }
    return whiskers(groups, "training loss, last epoch", "layers")


def _range(part: pd.DataFrame) -> tuple[float, float]:
    return float(part["last_train_loss"].min()), float(part["last_train_loss"].max())


STUDY = Study(
    name="depth",
    question="Does a deeper plain network train worse, and a deeper residual one not? The "
    "degradation that He et al. 2015 describe, on cats and dogs.",
    sweeps={
        "full": (Sweep("depth", ("study=depth", _DEEP)),),
        "small": (Sweep("depth", ("study=depth", "scale=small", "hydra.sweeper.repeats=2")),),
    },
    sections=_sections,
    pictures={"depth": _picture},
)
