"""All figures of a report, each computed when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

from resnet_sweep.report.page.content import PageContent
from resnet_sweep.report.page.verdicts import verdicts
from resnet_sweep.report.plots.curves import curves
from resnet_sweep.report.plots.figure import Figure, NoFigure
from resnet_sweep.report.plots.groups import groups
from resnet_sweep.report.plots.history import history
from resnet_sweep.report.plots.importances import importances
from resnet_sweep.report.plots.intermediate import intermediate
from resnet_sweep.report.plots.means import means
from resnet_sweep.report.plots.parameters import parameters
from resnet_sweep.report.plots.pareto import pareto
from resnet_sweep.report.plots.published import published
from resnet_sweep.report.plots.ranking import chance_of, ranking
from resnet_sweep.report.plots.timeline import timeline
from resnet_sweep.report.plots.values import objective_title


def figures_of(content: PageContent) -> dict[str, Callable[[], Figure | NoFigure]]:
    """What makes each figure, by name; those of Optuna are not among them.

    Args:
        content: With at least one run.
    """
    runs, log, by_study = content.runs, content.log_parameters, content.studies_differ
    attempts = runs if content.attempts.empty else content.attempts
    return {
        "published": lambda: _published(content),
        "ranking": lambda: ranking(runs),
        "means": lambda: means(runs),
        "curves": lambda: curves(runs, content.history),
        "groups": lambda: groups(content.groups),
        "parameters": lambda: parameters(runs, log, by_study=by_study),
        "importances": lambda: importances(runs, log, by_study=by_study),
        "pareto": lambda: pareto(runs),
        "history": lambda: history(runs),
        "intermediate": lambda: intermediate(runs, content.history),
        "timeline": lambda: timeline(attempts, content.made_at, runs),
    }


def _published(content: PageContent) -> Figure | NoFigure:
    pairs = [verdict.pair for verdict in verdicts(content.runs)]
    told = content.runs.iloc[[pair.key for pair in pairs]]
    return published(pairs, objective_title(told, "objective"), chance_of(told))
