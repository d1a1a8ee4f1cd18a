"""The table of a sweep, made from what its trials left on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

# Behind the swept parameters, in this order.
_MEASURED = (
    "objective",
    "best_epoch",
    "best_val_accuracy",
    "last_val_accuracy",
    "last_train_loss",
    "seconds",
    "images_per_s",
    "seed",
    "error",
    "folder",
)
# In results.csv, but of no help on a terminal.
_NOT_SHOWN = ("seed", "folder")


def load_sweep(folder: Path, *, is_over: bool = False) -> pd.DataFrame:
    """Reads the trials of a sweep, best first.

    Args:
        folder: The sweep's folder; every folder below it that Hydra wrote for a trial is one.
        is_over: Nothing runs any more: a trial without a result is lost, not running.

    Returns:
        A row a trial: ``trial`` (int64), ``state`` (COMPLETE, FAIL, or RUNNING where there is
        no result yet), every parameter that differs between the trials under its key,
        ``objective``, ``best_epoch``, ``best_val_accuracy``, ``last_val_accuracy``,
        ``last_train_loss``, ``seconds``, ``images_per_s`` (float64, NaN where a trial has
        none), ``seed``, ``error`` (kind and message) and ``folder``.
    """
    paths = sorted(
        path.parents[1]
        for pattern in (".hydra/config.yaml", "*/.hydra/config.yaml", "*/*/.hydra/config.yaml")
        for path in folder.glob(pattern)
    )
    trials = [trial for trial in map(_Trial, paths) if trial.is_of_sweep]
    swept = _swept_keys(trials)
    rows = [trial.row(swept, folder) for trial in trials]
    for row in rows:
        if is_over and row["state"] == "RUNNING":
            row |= {"state": "FAIL", "error": "lost: it ended without a result"}
    table = pd.DataFrame(rows, columns=["trial", "state", *swept, *_MEASURED])
    ascending = bool(trials) and trials[0].metric.endswith("_loss")
    # Trials without an objective go last whichever way it is sorted.
    return table.sort_values(
        ["objective", "trial"], ascending=[ascending, True], na_position="last", ignore_index=True
    )


def render(table: pd.DataFrame) -> str:
    """The table as text for a terminal."""
    if table.empty:
        return "no trial has started"
    shown = table.drop(columns=[name for name in _NOT_SHOWN if name in table])
    if not shown["error"].astype(bool).any():
        shown = shown.drop(columns="error")
    formats = {
        "best_epoch": "{:.0f}",
        "seconds": "{:.1f}",
        "images_per_s": "{:.0f}",
        "objective": "{:.4f}",
        "best_val_accuracy": "{:.4f}",
        "last_val_accuracy": "{:.4f}",
        "last_train_loss": "{:.4f}",
    }
    for name, pattern in formats.items():
        shown[name] = ["" if pd.isna(value) else pattern.format(value) for value in shown[name]]
    return shown.to_string(index=False, max_colwidth=48)


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
        result = path / "result.json"
        self.result: dict[str, Any] = json.loads(result.read_text()) if result.exists() else {}

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

    def row(self, swept: Iterable[str], sweep_folder: Path) -> dict[str, Any]:
        best, last = self.result.get("best") or {}, self.result.get("last") or {}
        error = self.result.get("error")
        message = " ".join(error["message"].split()) if error else ""
        return {
            "trial": self.number,
            "state": self.result.get("state", "RUNNING"),
            **{key: self.value(key) for key in swept},
            "objective": _number(self.result.get("objective")),
            "best_epoch": _number(best.get("epoch")),
            "best_val_accuracy": _number(best.get("val_accuracy")),
            "last_val_accuracy": _number(last.get("val_accuracy")),
            "last_train_loss": _number(last.get("train_loss")),
            "seconds": _number(self.result.get("seconds")),
            "images_per_s": _number(self.result.get("images_per_s")),
            "seed": OmegaConf.select(self.config, "trainer.seed"),
            "error": f"{error['kind']}: {message}" if error else "",
            "folder": self.path.relative_to(sweep_folder).as_posix(),
        }


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _swept_keys(trials: list[_Trial]) -> list[str]:
    """Keys that differ between the trials, in the order they were typed."""
    keys = dict.fromkeys(key for trial in trials for key in trial.overrides)
    if len(trials) == 1:
        return list(keys)
    return [key for key in keys if len({trial.overrides.get(key) for trial in trials}) > 1]
