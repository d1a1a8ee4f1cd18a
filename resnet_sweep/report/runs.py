"""One run's folder, as a report reads it: result.json, metrics.csv, its configuration."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf
from omegaconf._yaml import get_yaml_loader
from omegaconf.errors import OmegaConfBaseException

from resnet_sweep.report.withheld import environment_withheld
from resnet_sweep.yaml_files import YAML_ERRORS, text_of

log = logging.getLogger(__name__)

_CURVE = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
# Facts of result.json that a table has under the same name.
_SAME = {
    **dict.fromkeys(("metric", "direction", "device", "precision"), str),
    **dict.fromkeys(("num_val_images", "num_test_images", "microbatch", "seed"), int),
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
    settings = read_saved(folder, "config")
    if keys is None:
        from resnet_sweep.study.canonical import dotted

        keys = [str(key) for key, _ in dotted(settings)]
    return {key: value_at(settings, key) for key in keys if has_key(settings, key)}


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


def value_at(settings: Mapping[Any, Any], key: str) -> Any:
    """A value of a configuration, in Python's own types; None where there is none.

    What only the application can resolve, and the environment, stays as it was written.

    Args:
        settings: Of a run, nested.
        key: Dotted.
    """
    value: Any = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if "${" not in str(value):
        return value
    try:
        with environment_withheld():
            found = OmegaConf.select(OmegaConf.create(dict(settings)), key)
            is_config = OmegaConf.is_config(found)
            return OmegaConf.to_container(found, resolve=True) if is_config else found
    except (OmegaConfBaseException, ValueError):
        return value


def read_config(folder: Path) -> DictConfig | None:
    """A run's composed configuration as Hydra has saved it; None where it has not.

    Args:
        folder: Of the run.
    """
    settings = read_saved(folder, "config")
    try:
        return OmegaConf.create(dict(settings)) if settings else None
    except OmegaConfBaseException as error:
        _tell(folder / ".hydra" / "config.yaml", error)
        return None


def read_saved(folder: Path, name: str) -> Mapping[Any, Any]:
    """One of the configurations that Hydra has saved for a run; empty where there is none.

    Args:
        folder: Of the run.
        name: "config" or "hydra".
    """
    found = read_yaml(folder / ".hydra" / f"{name}.yaml")
    return found if isinstance(found, Mapping) else {}


def read_yaml(path: Path) -> Any:
    """What a file that Hydra has saved holds; None where there is none, or no whole one.

    Args:
        path: Of the file.
    """
    try:
        # A configuration made of it would take five times as long, and a study has thousands.
        return yaml.load(text_of(path), Loader=_loader())  # noqa: S506 - a safe one
    except (FileNotFoundError, NotADirectoryError):
        return None
    except YAML_ERRORS as error:
        _tell(path, error)
        return None


@cache
def _loader() -> Any:
    """OmegaConf's own: 1e-3 is a number."""
    return get_yaml_loader()


def _tell(path: Path, error: Exception) -> None:
    reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
    log.warning("%s cannot be read: %s", path, reason)


def facts_of(result: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What a run's files tell, by the names of a table's fixed columns.

    Args:
        result: What its result.json holds.
        folder: Of a run that has ended, that is running, or that was killed.
    """
    facts: dict[str, Any] = {}
    for key, kind in _SAME.items():
        facts[key] = of_kind(kind, result.get(key))
    best, last, test = (mapping_of(result.get(key)) for key in ("best", "last", "test"))
    if not last and (rows := read_metrics(folder)):
        # It runs, was killed or has failed: what it had finished is there.
        last = rows[-1]
    facts |= {f"best_{key}": of_kind(float, best.get(key)) for key in _CURVE}
    facts |= {f"last_{key}": of_kind(float, last.get(key)) for key in _CURVE}
    facts |= {key: of_kind(float, test.get(key)) for key in ("test_loss", "test_accuracy")}
    for name, row in (("best_epoch", best), ("epochs", last)):
        facts[name] = of_kind(int, row.get("epoch"))
    # A number only where there is something to say, as with microbatch.
    facts["num_skipped_images"] = of_kind(int, result.get("num_skipped_images")) or None
    facts = {key: value for key, value in facts.items() if value is not None}
    error = mapping_of(result.get("error"))
    if error:
        facts["error_kind"] = str(error.get("kind", ""))
        facts["error"] = " ".join(f"{error.get('type', '')}: {error.get('message', '')}".split())
    return facts


def mapping_of(value: Any) -> Mapping[str, Any]:
    """A mapping as it is; an empty one for all else.

    Args:
        value: What a file holds.
    """
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
