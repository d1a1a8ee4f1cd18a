"""What several sources do not have in common: swept here and fixed there, or fixed otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_sweep.report.columns import Row
from resnet_sweep.report.folders import is_run
from resnet_sweep.report.runs import has_key, read_saved, read_yaml, value_at
from resnet_sweep.report.settings import can_matter, is_seed
from resnet_sweep.report.source import Source
from resnet_sweep.study.canonical import bare_key, canonical, dotted


def add_what_differs(sources: Sequence[Source]) -> None:
    """Adds to the parameters of runs what was swept elsewhere, and what was fixed otherwise.

    What one source has swept is fixed in another, and of a study for each network, or for each
    number of epochs, nothing in its runs says which it is of. Two runs' files tell for their
    whole source.

    Args:
        sources: That will be seen side by side; their rows are changed.
    """
    if len(sources) < 2:
        return
    swept = [_parameters(source) for source in sources]
    everywhere = set().union(*swept)
    fixed = [_Fixed(source) for source in sources]
    differing = [*_differing_groups(fixed), *_differing_settings(sources, fixed)]
    differing = [key for key in differing if key not in everywhere]
    for source, own, one in zip(sources, swept, fixed, strict=True):
        # Seeds may be others in each run, and have a column.
        keys = [*differing, *sorted(key for key in everywhere - own if not is_seed(key))]
        values = one.values(keys)
        for row in source.rows:
            # Of a trial that is yet to be drawn nothing is told.
            if row.parameters or row.facts.get("folder") is not None:
                row.parameters = {**row.parameters, **values}


def differing_settings(sources: Sequence[Source]) -> dict[str, list[Any]]:
    """Settings that each source has kept fixed, and not all of them at the same value.

    Choices of groups and what follows from them, seeds and what cannot change a result are none
    of them.

    Args:
        sources: That are seen side by side, before or after ``add_what_differs``.

    Returns:
        By dotted key the different values, in the order of the sources.
    """
    return _differing_settings(sources, [_Fixed(source) for source in sources])


def _parameters(source: Source) -> set[str]:
    return {key for row in source.rows for key in row.parameters}


def _differing_groups(fixed: Sequence[_Fixed]) -> list[str]:
    groups = dict.fromkeys(key for one in fixed for key in one.groups)
    return [
        key for key in groups if len({one.groups[key] for one in fixed if key in one.groups}) > 1
    ]


def _differing_settings(sources: Sequence[Source], fixed: Sequence[_Fixed]) -> dict[str, list[Any]]:
    varying = {key for source in sources for key in _varying(source)}
    chosen = {*_differing_groups(fixed), *varying}
    typed = {key for one in fixed for key in one.typed}
    found = {}
    for key in dict.fromkeys(key for one in fixed for key in one.settings):
        # Of a choice that differs all in its group may; that tells nothing more.
        follows = key not in typed and any(key.startswith(f"{group}.") for group in chosen)
        if key in varying or follows:
            continue
        values = [one.settings[key] for one in fixed if key in one.settings]
        different = {canonical({"": one}): one for one in values if can_matter(key, one)}
        if len(different) > 1:
            found[key] = list(different.values())
    return found


def _varying(source: Source) -> list[str]:
    """Parameters that are not the same in all runs of a source."""
    values: dict[str, Any] = {}
    varying = set()
    for row in source.rows:
        for key, value in row.parameters.items():
            if values.setdefault(key, value) != value:
                varying.add(key)
    return list(varying)


class _Fixed:
    """What all runs of a source have in common, as its first and its last have saved it."""

    def __init__(self, source: Source) -> None:
        folders = (Path(_folder(row)) for row in source.rows)
        first = next((one for one in folders if is_run(one)), Path(os.devnull))
        folders = (Path(_folder(row)) for row in reversed(source.rows))
        last = next((one for one in folders if is_run(one)), first)
        self._config = read_saved(first, "config")
        self.groups, self.settings = _groups(first), _settings(self._config)
        self.typed = _typed(first)
        if last != first:
            self.groups = _in_both(self.groups, _groups(last))
            self.settings = _in_both(self.settings, _settings(read_saved(last, "config")))

    def values(self, keys: Iterable[str]) -> dict[str, Any]:
        """Those of some keys that it has."""
        found = {}
        for key in keys:
            if key in self.groups:
                found[key] = self.groups[key]
            elif key in self.settings:
                found[key] = self.settings[key]
            # Not a leaf; what follows another setting may be otherwise in the next run.
            elif has_key(self._config, key) and isinstance(value := _at(self._config, key), dict):
                found |= {} if "${" in str(value) else {key: value}
        return found


def _groups(folder: Path) -> dict[str, Any]:
    choices = value_at(read_saved(folder, "hydra"), "hydra.runtime.choices")
    known = choices if isinstance(choices, Mapping) else {}
    # How a sweep was made is no setting of its runs.
    return {
        str(key): value
        for key, value in known.items()
        if not str(key).startswith("hydra/") and key != "study"
    }


def _settings(config: Mapping[Any, Any]) -> dict[str, Any]:
    """Its leaves; without those that follow another, which may be otherwise in the next run."""
    return {str(key): value for key, value in dotted(config) if "${" not in str(value)}


def _typed(folder: Path) -> set[str]:
    overrides = read_yaml(folder / ".hydra" / "overrides.yaml")
    texts = overrides if isinstance(overrides, list) else []
    return {bare_key(str(text)).partition("=")[0] for text in texts}


def _in_both(first: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in first.items() if key in last and last[key] == value}


def _at(config: Mapping[Any, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value[part]
    return value


def _folder(row: Row) -> str:
    return str(row.facts.get("folder") or os.devnull)
