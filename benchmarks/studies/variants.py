"""The study's own residual block and torchvision's, switch by switch."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from benchmarks.studies.epochs import largest_losses
from benchmarks.studies.numbers import accuracy, complete, each, learned, number, text
from benchmarks.studies.pictures import CHANCE, whiskers
from benchmarks.studies.study import Section, Study, Sweep, Tables
from resnet_sweep.report.statistics import t_interval

NORM, BIAS, STRIDE = "model.shortcut_norm", "model.conv_bias", "model.stride_on"


def switches(runs: pd.DataFrame) -> list[str]:
    """Those that were changed.

    Args:
        runs: Of ``load_results``.
    """
    return [name for name in (NORM, BIAS, STRIDE) if name in runs and runs[name].nunique() > 1]


def variants_table(runs: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """A row a variant and learning rate.

    Args:
        runs: Of ``load_results``.
        history: Of ``load_history``.
    """
    rows = []
    for key, part in runs.groupby([*switches(runs), "optimizer.lr"], sort=True):
        part = part.sort_values("seed")
        *chosen, rate = key
        rows.append(
            {
                "learning rate": number(float(str(rate))),
                "variant": variant_name(dict(zip(switches(runs), chosen, strict=True))),
                "last epoch": each(complete(part)["last_val_accuracy"]),
                "mean (95%)": text(accuracy(part)),
                "learned": learned(part),
                "largest validation loss": each(largest_losses(history, part), 1),
            }
        )
    return pd.DataFrame(rows).sort_values("learning rate", kind="stable", key=_as_number)


def _as_number(column: pd.Series[str]) -> pd.Series[float]:
    return column.astype(float)


def variant_name(values: dict[str, object]) -> str:
    """What a variant is called.

    Args:
        values: Of the switches that were changed.
    """
    words = [
        *([] if NORM not in values else ["norm" if values[NORM] else "no norm"]),
        *([] if BIAS not in values else ["bias" if values[BIAS] else "no bias"]),
        *([] if STRIDE not in values else [f"stride on {values[STRIDE]}"]),
    ]
    return ", ".join(words)


def effect_table(runs: pd.DataFrame) -> pd.DataFrame:
    """What batch norm on the shortcut changes, all else the same: a row a learning rate.

    Args:
        runs: Of ``load_results``.
    """
    others = [name for name in switches(runs) if name != NORM]
    rows = []
    for rate, part in complete(runs).groupby("optimizer.lr", sort=True):
        index = [*others, "seed"]
        sides = [
            part[part[NORM] == is_on].set_index(index)["last_val_accuracy"]
            for is_on in (True, False)
        ]
        changes = (sides[0] - sides[1]).dropna()
        found = t_interval(changes)
        rows.append(
            {
                "learning rate": number(float(str(rate))),
                "pairs": str(len(changes)),
                "with norm less without (95%)": text(found),
                "": "no difference shown"
                if not (found.low > 0 or found.high < 0)
                else ("norm is better" if found.low > 0 else "norm is worse"),
            }
        )
    return pd.DataFrame(rows)


def verdict(runs: pd.DataFrame) -> str:
    """How many runs have learned without the norm and with it, and what follows.

    Args:
        runs: Of ``load_results``.
    """
    sides = {is_on: dict(_by_rate(runs[runs[NORM] == is_on])) for is_on in (False, True)}
    lines = [
        f"{name}: " + ", ".join(f"{learned(part)} at {number(rate)}" for rate, part in side.items())
        for name, side in zip(("without the norm", "with it"), sides.values(), strict=True)
    ]
    unstable = [rate for rate, part in sides[False].items() if not part["learned"].all()]
    found = f"Runs that have learned, {'; '.join(lines)}."
    if not unstable:
        return f"{found} No rate is unstable without the norm."
    without, with_it = (
        sum(int(side[rate]["learned"].sum()) for rate in unstable if rate in side)
        for side in sides.values()
    )
    at = f"Where not all learn without it ({', '.join(map(number, unstable))})"
    explains = "more learn with it" if with_it > without else "no more learn with it"
    so = "explains a part of" if with_it > without else "does not explain"
    return f"{found} {at} {explains}, so that it is missing {so} the instability."


def _by_rate(runs: pd.DataFrame) -> list[tuple[float, pd.DataFrame]]:
    known = runs.assign(learned=runs["learned"].fillna(False).astype(bool))
    return [(float(str(rate)), part) for rate, part in known.groupby("optimizer.lr", sort=True)]


def _sections(read: Tables) -> list[Section]:
    return [
        Section(
            "Each variant at each learning rate",
            variants_table(read.runs, read.history),
            (
                "*Norm*: batch norm behind the 1x1 projection of the shortcut, "
                "`model.shortcut_norm`; *bias*: in every convolution, `model.conv_bias`. The "
                "study's own block is *no norm, bias*, torchvision's *norm, no bias* (and its "
                "stride on the 3x3 convolution, which networks of 18 layers do not have). "
                "*Largest validation loss* of all epochs tells how wild a training was. The "
                "picture has means, from the least to the most of the seeds.",
            ),
            "variants",
        ),
        Section(
            "Does the missing norm explain the instability?",
            effect_table(read.runs),
            (
                verdict(read.runs),
                "Pairs differ in the norm alone, with the same seed and the other switches alike. "
                "The interval takes the pairs as independent.",
            ),
        ),
    ]


def _picture(read: Tables) -> Figure:
    groups: dict[str, list[tuple[str, float, float, float]]] = {}
    for key, part in complete(read.runs).groupby([*switches(read.runs), "optimizer.lr"], sort=True):
        *chosen, rate = key
        name = variant_name(dict(zip(switches(read.runs), chosen, strict=True)))
        values = part["last_val_accuracy"]
        row = (
            number(float(str(rate))),
            float(values.mean()),
            float(values.min()),
            float(values.max()),
        )
        groups.setdefault(name, []).append(row)
    return whiskers(groups, "validation accuracy, last epoch", "learning rate", CHANCE)


STUDY = Study(
    name="variants",
    question="The study's own residual block has a bias in every convolution and no batch norm on "
    "the shortcut, unlike torchvision's. Is that why training is unstable at larger learning "
    "rates?",
    sweeps={
        "full": (Sweep("variants", ("study=variants",)),),
        # Blocks of 18 layers have no first 1x1 to put the stride on.
        "small": (Sweep("variants", ("study=variants", "scale=small", "model.stride_on=1x1")),),
    },
    sections=_sections,
    pictures={"variants": _picture},
)
