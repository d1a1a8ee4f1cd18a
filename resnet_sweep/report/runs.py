"""One run's folder, as a report reads it: result.json, metrics.csv, its configuration."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

log = logging.getLogger(__name__)

_CURVE = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
# Facts of result.json that a table has under the same name.
_SAME = {
    **dict.fromkeys(("metric", "direction", "device", "precision"), str),
    **dict.fromkeys(("num_val_images", "num_test_images", "seed"), int),
    **dict.fromkeys(("chance_accuracy", "images_per_s", "peak_memory_mib", "seconds"), float),
}


def read_result(folder: Path) -> Mapping[str, Any]:
    """What a run's result.json holds; nothing where there is none, or none of ours.

    Args:
        folder: Of the run.
    """
    path = folder / "result.json"
    try:
        result = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        # One row with less in it is better than no table.
        log.warning("%s cannot be read: %s", path, error)
        return {}
    # A task that is not ours may write whatever it likes under this name.
    return result if isinstance(result, dict) else {}


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics.csv; none where there is none, or none of ours.

    Args:
        folder: Of the run.
    """
    path = folder / "metrics.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return (
            [
                {name: float(cell) if cell else float("nan") for name, cell in row.items()}
                for row in rows
            ]
            if rows and "epoch" in rows[0]
            else []
        )
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError, TypeError, csv.Error) as error:
        log.warning("%s cannot be read: %s", path, error)
        return []


def read_settings(folder: Path, keys: Sequence[str] | None) -> dict[str, Any]:
    """Values of a run's composed configuration.

    Args:
        folder: Of the run.
        keys: Dotted; None takes all of them.
    """
    config = read_config(folder)
    if config is None:
        return {}
    from resnet_sweep.study.canonical import dotted

    container = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    assert isinstance(container, dict)
    found = dict(dotted(container))
    if keys is None:
        return found
    return {key: found[key] for key in keys if key in found}


def read_config(folder: Path) -> DictConfig | None:
    """A run's composed configuration as Hydra has saved it; None where it has not.

    Args:
        folder: Of the run.
    """
    path = folder / ".hydra" / "config.yaml"
    try:
        config = OmegaConf.load(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return config if isinstance(config, DictConfig) else None


def measured_facts(folder: Path) -> dict[str, Any]:
    """What a run's files tell, by the names of a table's fixed columns.

    Args:
        folder: Of a run that has ended, that is running, or that was killed.
    """
    return facts_of(read_result(folder), folder)


def facts_of(result: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """As ``measured_facts``, for a result.json that has been read.

    Args:
        result: What it holds.
        folder: Of the run.
    """
    facts: dict[str, Any] = {}
    for key, kind in _SAME.items():
        value = result.get(key)
        if isinstance(value, int | float if kind is float else kind):
            facts[key] = kind(value)
    best, last, test = (_mapping(result.get(key)) for key in ("best", "last", "test"))
    if not last and (rows := read_metrics(folder)):
        # It runs, was killed or has failed: what it had finished is there.
        last = rows[-1]
    facts |= _numbers({f"best_{key}": best.get(key) for key in _CURVE})
    facts |= _numbers({f"last_{key}": last.get(key) for key in _CURVE})
    facts |= _numbers({key: test.get(key) for key in ("test_loss", "test_accuracy")})
    for name, row in (("best_epoch", best), ("epochs", last)):
        if isinstance(row.get("epoch"), int | float):
            facts[name] = int(row["epoch"])
    error = _mapping(result.get("error"))
    if error:
        facts["error_kind"] = str(error.get("kind", ""))
        facts["error"] = " ".join(f"{error.get('type', '')}: {error.get('message', '')}".split())
    return facts


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _numbers(facts: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in facts.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
