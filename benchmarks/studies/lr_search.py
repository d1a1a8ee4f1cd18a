"""A search for learning rate, momentum and weight decay, pruned, unpruned and at random."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from benchmarks.studies.numbers import accuracy, complete, difference, duration, each, number, text
from benchmarks.studies.pictures import best_so_far
from benchmarks.studies.study import Section, Study, Sweep, Tables

# Name of its sweep, what it is called, what is typed for it.
WAYS = {
    "search": ("TPE, successive halving", ()),
    "unpruned": ("TPE, unpruned", ("hydra/sweeper/pruner=none",)),
    "random": (
        "random, unpruned",
        ("hydra/sweeper/sampler=random", "hydra/sweeper/pruner=none"),
    ),
}
# In the order of the table; with fresh seeds and on the test split.
CONFIRMED = {"confirm": "the search's best", "trial3": "trial 3 of lr_trials"}
_TRIAL_3 = "{optimizer.lr:1e-4,optimizer.momentum:0.9,optimizer.weight_decay:1e-4}"
_FRESH = ("trainer.seed=1000", "hydra.sweeper.repeats=3")


def sweeps(networks: tuple[str, ...], *more: str) -> tuple[Sweep, ...]:
    """All sweeps, network by network.

    Args:
        networks: Choices of ``model``.
        *more: Typed for each.
    """
    found = []
    for network in networks:
        base = ("study=lr_search", f"model={network}", "hydra.sweeper.sampler.seed=0", *more)
        for way, (_, typed) in WAYS.items():
            name = f"{way}-{network}"
            found.append(Sweep(name, (*base, *typed, f"hydra.sweeper.study_name={name}")))
        name = f"confirm-{network}"
        again = (
            "study=confirm",
            f"hydra.sweeper.trials.study=outputs/search-{network}",
            "hydra.sweeper.trials.best=1",
            f"hydra.sweeper.study_name={name}",
        )
        found.append(Sweep(name, again))
        name = f"trial3-{network}"
        third = (
            f"hydra.sweeper.trials=[{_TRIAL_3}]",
            "hydra.sweeper.n_trials=1",
            "hydra/sweeper/pruner=none",
            f"hydra.sweeper.study_name={name}",
        )
        found.append(Sweep(name, (*base, *third, *_FRESH)))
    return tuple(found)


def networks_of(runs: pd.DataFrame) -> list[str]:
    """The networks that were searched for, in the order of their sweeps.

    Args:
        runs: Of ``load_results``.
    """
    names = [str(study) for study in runs["study"] if str(study).startswith("search-")]
    return sorted({name.partition("-")[2] for name in names}, reverse=True)


def of(runs: pd.DataFrame, way: str, network: str) -> pd.DataFrame:
    """The runs of one sweep, in the order in which they began.

    Args:
        runs: Of ``load_results``.
        way: A key of ``WAYS`` or ``CONFIRMED``.
        network: A choice of ``model``.
    """
    return runs[runs["study"] == f"{way}-{network}"].sort_values("number")


def search_table(runs: pd.DataFrame) -> pd.DataFrame:
    """What each search found and what it cost, a row a search.

    Args:
        runs: Of ``load_results``.
    """
    rows = []
    for network in networks_of(runs):
        whole = int(of(runs, "unpruned", network)["epochs"].sum())
        for way, (name, _) in WAYS.items():
            part = of(runs, way, network)
            ended = part[part["state"] == "COMPLETE"]
            best = ended.iloc[int(ended["objective"].to_numpy().argmax())]
            epochs = int(part["epochs"].fillna(0).sum())
            rows.append(
                {
                    "network": network,
                    "search": name,
                    "trials": str(len(part)),
                    "given up": str(int((part["state"] == "PRUNED").sum())),
                    "epochs": f"{epochs} ({epochs / whole:.2f})",
                    "training time": duration(float(part["seconds"].sum())),
                    "best of the search": f"{best['objective']:.3f}",
                    "lr": number(float(f"{best['optimizer.lr']:.2g}")),
                    "momentum": f"{best['optimizer.momentum']:.2f}",
                    "weight decay": number(float(f"{best['optimizer.weight_decay']:.2g}")),
                }
            )
    return pd.DataFrame(rows)


def confirmed_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The search's best and trial 3 on fresh seeds and the test split, a row a setting.

    Args:
        runs: Of ``load_results``.
    """
    rows = []
    for network in networks_of(runs):
        parts = {name: of(runs, name, network) for name in CONFIRMED}
        for name, called in CONFIRMED.items():
            part = parts[name]
            rows.append(
                {
                    "network": network,
                    "setting": called,
                    "test accuracy of each seed": each(complete(part)["test_accuracy"]),
                    "mean (95%)": text(accuracy(part, "test_accuracy")),
                    "better than trial 3 by": ""
                    if name == "trial3"
                    else text(difference(part, parts["trial3"], "test_accuracy")),
                }
            )
    return pd.DataFrame(rows)


def _sections(read: Tables) -> list[Section]:
    return [
        Section(
            "What each search found, and what it cost",
            search_table(read.runs),
            (
                "Each search draws learning rate (1e-5 to 0.1) and weight decay (1e-6 to 1e-2) "
                "from a logarithmic scale and momentum from 0.5 to 0.99. *Epochs*: trained by all "
                "its trials, and as a share of the unpruned search. *Best of the search* is the "
                "best epoch of the best trial on the validation images: doubly optimistic, and "
                "not to be relied on. *Training time* is the sum over the trials.",
                "TPE draws its first ten trials at random, from the same seed as the random "
                "search: with few more the two can hardly differ.",
            ),
            "progress",
        ),
        Section(
            "Confirmed",
            confirmed_table(read.runs),
            (
                "The best trial of the pruned search again, and the setting of trial 3 of "
                "[lr_trials](../lr_trials/README.md) with the same images and epochs: three seeds "
                "that no search has seen, on a test split that nothing was chosen by, with the "
                "weights of the epoch that was best on the validation images. The intervals are "
                "of the seeds, paired seed by seed for the difference.",
            ),
        ),
    ]


def _progress(read: Tables) -> Figure:
    return best_so_far(
        {
            network: {name: of(read.runs, way, network) for way, (name, _) in WAYS.items()}
            for network in networks_of(read.runs)
        }
    )


STUDY = Study(
    name="lr_search",
    question="Is there a better setting than trial 3 for both networks, and what does pruning "
    "save? A search over learning rate, momentum and weight decay, with TPE and successive "
    "halving, beside the same search without pruning and a random one.",
    sweeps={
        "full": sweeps(("resnet50", "plain50")),
        "small": sweeps(("resnet18", "plain18"), "scale=small", "hydra.sweeper.n_trials=12"),
    },
    sections=_sections,
    pictures={"progress": _progress},
)
