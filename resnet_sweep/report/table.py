"""The table of a sweep, made from what its trials left on disk."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from resnet_sweep.report.render import render

log = logging.getLogger(__name__)

__all__ = ["load_sweep", "render"]

# Behind the parameters, in this order.
MEASURED = (
    "best_epoch",
    "best_val_accuracy",
    "last_val_accuracy",
    "last_train_loss",
    "seconds",
    "images_per_s",
    "seed",
)


def load_sweep(folder: Path, *, is_over: bool = False) -> pd.DataFrame:
    """Reads the trials of a sweep, best first.

    Args:
        folder: The sweep's folder; every folder below it that Hydra wrote for a trial is one.
        is_over: Nothing runs any more: a trial without a result is lost, not running.

    Returns:
        A row a trial: ``number`` (Int64), ``state`` (COMPLETE, FAIL, or RUNNING where there is
        no result yet), ``objective``, every parameter that differs between the trials under
        its key (``params_<key>`` where the key is a column's name), ``best_epoch``,
        ``best_val_accuracy``, ``last_val_accuracy``, ``last_train_loss``, ``seconds``,
        ``images_per_s`` (float64, NaN where a trial has none), ``seed``, ``error`` (kind and
        message) and ``folder``.
    """
    paths = sorted(
        path.parents[1]
        for pattern in (".hydra/config.yaml", "*/.hydra/config.yaml", "*/*/.hydra/config.yaml")
        for path in folder.glob(pattern)
    )
    trials = [trial for trial in map(_Trial, paths) if trial.is_of_sweep]
    fixed = ("number", "state", "objective", *MEASURED, "error", "folder")
    swept = column_names(_swept_keys(trials), fixed, "params")
    rows = [trial.row(swept, folder) for trial in trials]
    for row in rows:
        if is_over and row["state"] == "RUNNING":
            row |= {"state": "FAIL", "error": "lost: it ended without a result"}
    table = pd.DataFrame(rows, columns=[*fixed[:3], *swept.values(), *fixed[3:]])
    table["number"] = table["number"].astype("Int64")
    ascending = bool(trials) and trials[0].metric.endswith("_loss")
    # Trials without an objective go last whichever way it is sorted.
    table = table.sort_values(
        ["objective", "number"], ascending=[ascending, True], na_position="last", ignore_index=True
    )
    table.attrs["parameters"] = list(swept.values())
    return table


class _Trial:
    """One trial's folder, read once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        config = OmegaConf.load(path / ".hydra" / "config.yaml")
        assert isinstance(config, DictConfig)
        self.config = config
        hydra = OmegaConf.load(path / ".hydra" / "hydra.yaml").hydra
        # Single runs may lie in folders below the sweep's.
        self.is_of_sweep = hydra.get("mode") != "RUN"
        self.number = int(hydra.job.num) if self.is_of_sweep else -1
        lines = OmegaConf.load(path / ".hydra" / "overrides.yaml")
        pairs = (str(line).lstrip("+~").partition("=") for line in lines)
        self.overrides = {key: value for key, _, value in pairs}
        self.result = read_result(path)

    @property
    def metric(self) -> str:
        return str(OmegaConf.select(self.config, "objective.metric", default=""))

    def value(self, key: str) -> Any:
        """A parameter's value: of a group its choice, else what the configuration holds."""
        value = OmegaConf.select(self.config, key)
        if value is None or OmegaConf.is_config(value):
            # A list is written the way it was typed, and so is what the run never saw.
            return self.overrides.get(key)
        return value

    def row(self, swept: Mapping[str, str], sweep_folder: Path) -> dict[str, Any]:
        error = self.result.get("error")
        message = " ".join(error["message"].split()) if error else ""
        facts = measured_facts(self.result)
        return {
            "number": self.number,
            "state": self.result.get("state", "RUNNING"),
            "objective": _number(self.result.get("objective")),
            **{name: self.value(key) for key, name in swept.items()},
            **{key: _number(facts.get(key)) for key in MEASURED},
            "seed": OmegaConf.select(self.config, "trainer.seed"),
            "error": f"{error['kind']}: {message}" if error else "",
            "folder": self.path.relative_to(sweep_folder).as_posix(),
        }


def read_result(folder: Path) -> Mapping[str, Any]:
    """What a trial's result.json holds; nothing where there is none, or none of ours."""
    path = folder / "result.json"
    try:
        result = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        # One row with less in it is better than no table.
        log.warning("%s cannot be read: %s", path, error)
        return {}
    # A task that is not ours may write whatever it likes under this name.
    return result if isinstance(result, dict) else {}


def measured_facts(result: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a result.json, as far as it has them, by the names of MEASURED."""
    best, last = result.get("best"), result.get("last")
    best = best if isinstance(best, Mapping) else {}
    last = last if isinstance(last, Mapping) else {}
    facts = {
        "best_epoch": best.get("epoch"),
        "best_val_accuracy": best.get("val_accuracy"),
        "last_val_accuracy": last.get("val_accuracy"),
        "last_train_loss": last.get("train_loss"),
        "seconds": result.get("seconds"),
        "images_per_s": result.get("images_per_s"),
        "seed": result.get("seed"),
    }
    return {key: value for key, value in facts.items() if isinstance(value, int | float)}


def column_names(keys: Iterable[str], taken: Iterable[str], prefix: str) -> dict[str, str]:
    """For each key the name of its column: its own, or with a prefix if that is taken."""
    names: dict[str, str] = {}
    used = set(taken)
    for key in keys:
        name = key
        while name in used:
            name = f"{prefix}_{name}"
        used.add(name)
        names[key] = name
    return names


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _swept_keys(trials: list[_Trial]) -> list[str]:
    """Keys that differ between the trials, in the order they were typed."""
    keys = dict.fromkeys(key for trial in trials for key in trial.overrides)
    if len(trials) == 1:
        return list(keys)
    return [key for key in keys if len({trial.overrides.get(key) for trial in trials}) > 1]
