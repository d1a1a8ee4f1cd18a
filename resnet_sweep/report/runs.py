"""One run's folder, as a report reads it: result.json, metrics.csv, its configuration."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

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
    except (OSError, ValueError, RecursionError) as error:
        # One row with less in it is better than no table.
        _tell(path, error)
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
            names, *lines = list(csv.reader(file)) or [[]]
        if "epoch" not in names:
            return []
        # The line that a kill has torn off has fewer cells, and so has an empty one.
        whole = [line for line in lines if len(line) == len(names)]
        rows = [
            {name: float(cell or "nan") for name, cell in zip(names, line, strict=True)}
            for line in whole
        ]
        return [row for row in rows if of_kind(int, row["epoch"]) is not None]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError, TypeError, csv.Error) as error:
        _tell(path, error)
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

    raw = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    assert isinstance(raw, dict)
    if keys is None:
        return {key: _resolved(config, key, value) for key, value in dotted(raw)}
    return {key: value_at(config, key) for key in keys if has_key(raw, key)}


def has_key(settings: Mapping[Any, Any], key: str) -> bool:
    """Whether nested settings have something under a dotted key, if only null.

    Args:
        settings: Of a run.
        key: Dotted.
    """
    for part in key.split("."):
        if not isinstance(settings, Mapping) or part not in settings:
            return False
        settings = settings[part]
    return True


def value_at(config: DictConfig, key: str) -> Any:
    """A value of a configuration, in Python's own types; None where there is none.

    What only the application can resolve stays as it was written.

    Args:
        config: Of a run.
        key: Dotted.
    """
    try:
        value = OmegaConf.select(config, key)
        if OmegaConf.is_config(value):
            return OmegaConf.to_container(value, resolve=True, enum_to_str=True)
    except OmegaConfBaseException:
        value = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _resolved(config: DictConfig, key: str, value: Any) -> Any:
    return value_at(config, key) if "${" in str(value) else value


def read_config(folder: Path) -> DictConfig | None:
    """A run's composed configuration as Hydra has saved it; None where it has not.

    Args:
        folder: Of the run.
    """
    config = read_yaml(folder / ".hydra" / "config.yaml")
    return config if isinstance(config, DictConfig) else None


def read_yaml(path: Path) -> Any:
    """What a file that Hydra has saved holds; None where there is none, or no whole one.

    Args:
        path: Of the file.
    """
    try:
        return OmegaConf.load(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        _tell(path, error)
        return None


def _tell(path: Path, error: Exception) -> None:
    reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
    log.warning("%s cannot be read: %s", path, reason)


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
        facts[key] = of_kind(kind, result.get(key))
    best, last, test = (_mapping(result.get(key)) for key in ("best", "last", "test"))
    if not last and (rows := read_metrics(folder)):
        # It runs, was killed or has failed: what it had finished is there.
        last = rows[-1]
    facts |= {f"best_{key}": of_kind(float, best.get(key)) for key in _CURVE}
    facts |= {f"last_{key}": of_kind(float, last.get(key)) for key in _CURVE}
    facts |= {key: of_kind(float, test.get(key)) for key in ("test_loss", "test_accuracy")}
    for name, row in (("best_epoch", best), ("epochs", last)):
        facts[name] = of_kind(int, row.get("epoch"))
    facts = {key: value for key, value in facts.items() if value is not None}
    error = _mapping(result.get("error"))
    if error:
        facts["error_kind"] = str(error.get("kind", ""))
        facts["error"] = " ".join(f"{error.get('type', '')}: {error.get('message', '')}".split())
    return facts


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def of_kind(kind: type, value: Any) -> Any:
    """The value as a column of facts holds it; None if it is something else.

    Args:
        kind: int (a whole number of 64 bits), float or str.
        value: As another program may have written it.
    """
    if kind is str:
        return value if isinstance(value, str) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = kind(value)
    except (OverflowError, ValueError):
        # Whole numbers are neither infinite nor NaN, and floats end at 1.8e308.
        return None
    is_lossy = kind is int and (number != value or abs(number) >= 2**63)
    return None if is_lossy else number
