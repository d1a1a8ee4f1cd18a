"""The published study: three settings of the optimizer on ResNet-50 and on Plain-50."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from matplotlib.figure import Figure

from benchmarks.studies.numbers import accuracy, difference, each, number, text
from benchmarks.studies.pictures import CHANCE, COLOURS, grid_of_curves
from benchmarks.studies.study import Section, Study, Sweep, Tables
from resnet_sweep.report.statistics import Estimate

# Published, in this order: trials 1, 2 and 3.
RATES = (0.0025, 0.01, 0.0001)
NETWORKS = ("resnet50", "plain50")
NAMES = {"resnet50": "ResNet-50", "plain50": "Plain-50"}

Answer = Literal["reproduced", "not reproduced", "undecided"]


@dataclass(frozen=True)
class Claim:
    """Something that the study has published.

    Attributes:
        trial: 1, 2 or 3.
        says: In its words.
        holds: Whether the measured runs of that trial say so: ResNet's first, then the plain ones.
    """

    trial: int
    says: str
    holds: Answer


def claims(runs: pd.DataFrame) -> list[Claim]:
    """What was published, and what has become of it.

    A network has learned where the 95% interval of its last epoch's accuracy lies above chance,
    and one network beats the other where the interval of the difference lies above 0; of several
    seeds the intervals are of the mean. That something is not so is reproduced where nothing
    is shown; that it is so is undecided there.

    Args:
        runs: Of ``load_results``.
    """
    found = []
    for trial, rate in enumerate(RATES, start=1):
        residual, plain = (of(runs, rate, network) for network in NETWORKS)
        should = trial == 3
        verb = "learns" if should else "does not learn"
        found.append(Claim(trial, f"ResNet-50 {verb}", _agrees(_above_chance(residual), should)))
        if not should:
            found.append(Claim(trial, f"Plain-50 {verb}", _agrees(_above_chance(plain), False)))
        says = "ResNet-50 beats Plain-50" if should else "ResNet-50 is no better than Plain-50"
        found.append(Claim(trial, says, _agrees(difference(residual, plain), should)))
    return found


def of(runs: pd.DataFrame, rate: float, network: str) -> pd.DataFrame:
    """The runs of one setting.

    Args:
        runs: Of ``load_results``.
        rate: Learning rate.
        network: A choice of ``model``.
    """
    chosen = runs[(runs["optimizer.lr"] == rate) & (runs["model"] == network)]
    return chosen.sort_values("seed")


def _above_chance(runs: pd.DataFrame) -> Estimate:
    chance = float(runs["chance_accuracy"].max())
    return Estimate(*(bound - chance for bound in accuracy(runs)))


def _agrees(measured: Estimate, should_be_more: bool) -> Answer:
    """Whether something is more than 0, as it should be or should not."""
    if math.isnan(measured.low):
        return "undecided"
    is_more = measured.low > 0
    if is_more or not should_be_more:
        return "reproduced" if is_more is should_be_more else "not reproduced"
    return "not reproduced" if measured.high <= 0 else "undecided"


def measured_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Published beside measured, a row a setting.

    Args:
        runs: Of ``load_results``.
    """
    rows = []
    for trial, rate in enumerate(RATES, start=1):
        for network in NETWORKS:
            part = of(runs, rate, network)
            rows.append(
                {
                    "trial": str(trial),
                    "learning rate": number(rate),
                    "network": NAMES[network],
                    "published": _published(part),
                    "best epoch of each seed": each(part["best_val_accuracy"]),
                    "last epoch (95%)": text(accuracy(part)),
                    "measured": _measured(_above_chance(part)),
                }
            )
    return pd.DataFrame(rows)


def _published(part: pd.DataFrame) -> str:
    value, learned = part["published"].iloc[0], part["published_learned"].iloc[0]
    words = [] if pd.isna(value) else [f"{value:.2f}"]
    return ", ".join([*words, *([] if pd.isna(learned) else [_words(bool(learned))])])


def _measured(above: Estimate) -> str:
    return "not known" if math.isnan(above.low) else _words(above.low > 0)


def _words(learned: bool) -> str:
    return "learned" if learned else "did not learn"


def claims_table(runs: pd.DataFrame) -> pd.DataFrame:
    """A verdict for each published claim, with the numbers that it hangs on.

    Args:
        runs: Of ``load_results``.
    """
    rows = []
    for claim in claims(runs):
        residual, plain = (of(runs, RATES[claim.trial - 1], network) for network in NETWORKS)
        if "Plain-50" in claim.says and "ResNet-50" in claim.says:
            shown = f"difference {text(difference(residual, plain))}"
        else:
            shown = text(accuracy(plain if "Plain-50" in claim.says else residual))
        rows.append(
            {
                "trial": str(claim.trial),
                "published": claim.says,
                "last epoch, measured (95%)": shown,
                "verdict": claim.holds,
            }
        )
    return pd.DataFrame(rows)


def _sections(read: Tables) -> list[Section]:
    chance = float(read.runs["chance_accuracy"].iloc[0])
    return [
        Section(
            "Published beside measured",
            measured_table(read.runs),
            (
                f"Chance is {chance:g}. The *best epoch* is what was published, and optimistic: "
                "it is the best of many looks. The *last* was not chosen; of one seed its "
                "interval is Wilson's and of the images, of several it is of the mean over seeds. "
                "*Learned*: that interval lies above chance.",
                "In trial 1 both published accuracies are 0.49, and their lines lie on one "
                "another; of trial 2 no number was published.",
            ),
            "curves",
        ),
        Section(
            "Verdicts",
            claims_table(read.runs),
            (
                "That a network learns, or beats the other, is *reproduced* where the interval "
                "lies above chance or 0, and *undecided* where it holds it. That it does not, or "
                "is no better, counts as reproduced where the interval shows nothing else, so few "
                "seeds reproduce it easily.",
                "Differences of one seed are taken as if of different images, which is cautious; "
                "`report.html` compares the same images. That Plain-50 has learned at 0.53, or "
                "has not, was not published.",
            ),
        ),
        Section("What was not published, and what we chose", None, _CHOICES),
    ]


_CHOICES = (
    "Optimizer, batch size, augmentation, momentum and weight decay of trials 2 and 3, number of "
    "seeds, and which images of Kaggle's 25,000 were taken: none of it was published. We chose "
    "SGD with momentum 0.9, batches of 32 (the last partial one dropped), a constant learning "
    "rate without warm-up, horizontal flips alone, the training split's mean and deviation, and "
    "PyTorch's default initialisation; weight decay is 0 in trial 1, as published, and 1e-4 in "
    "the other two.",
    "A claim that is not reproduced may hang on any of these, or on the size of the images; "
    "the study `causes` (`docs/studies/causes`) changes optimizer, batch size, flips and the "
    "residual block one at a time, for ResNet-50 at trial 1's setting.",
)


def _curves(read: Tables) -> Figure:
    panels: dict[str, dict[str, tuple[pd.DataFrame, str]]] = {}
    published: dict[str, list[tuple[float, str]]] = {}
    for trial, rate in enumerate(RATES, start=1):
        title = f"trial {trial}: lr {number(rate)}"
        panels[title], published[title] = {}, []
        for network, colour in zip(NETWORKS, COLOURS, strict=False):
            part = of(read.runs, rate, network)
            panels[title][NAMES[network]] = (part, colour)
            values = part["published"].dropna()
            published[title] += [(float(value), colour) for value in values.iloc[:1]]
    return grid_of_curves(read.history, panels, published, CHANCE)


STUDY = Study(
    name="lr_trials",
    question="ResNet-50 against a 50-layer network without skip connections on 3,000 cats and "
    "dogs, at three settings of the optimizer. Published: only the smallest learning rate trains, "
    "and only then the skip connection shows.",
    sweeps={
        "full": (Sweep("lr_trials", ("study=lr_trials",)),),
        "cpu": (Sweep("lr_trials_cpu", ("study=lr_trials_cpu",)),),
        "small": (
            Sweep(
                "lr_trials_small",
                ("study=lr_trials_cpu", "scale=small", "hydra.sweeper.study_name=lr_trials_small"),
            ),
        ),
    },
    sections=_sections,
    pictures={"curves": _curves},
)
