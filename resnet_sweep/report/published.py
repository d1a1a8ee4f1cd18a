"""What others have published for the settings of a study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_sweep.report.runs import read_yaml, value_at
from resnet_sweep.study.canonical import bare_key, same
from resnet_sweep.study.folder import StudyFolder


class Published:
    """``hydra.sweeper.published`` of a sweep.

    Args:
        folder: The sweep's; None has nothing published.
    """

    def __init__(self, folder: Path | None) -> None:
        found = read_yaml(StudyFolder(folder).multirun_yaml) if folder is not None else None
        config = found if isinstance(found, Mapping) else {}
        # The sweep has refused all other forms.
        self._entries = value_at(config, "hydra.sweeper.published") or []
        choices = value_at(config, "hydra.runtime.choices") or {}
        keys = {key for one in self._entries for key in one["when"]}
        # What is not swept is the same in all trials.
        self._fixed = {key: choices.get(key, value_at(config, key)) for key in keys}

    def of(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The facts of the first entry whose conditions a trial meets in all.

        Args:
            values: The trial's parameters; one without any has still to be drawn.
        """
        if not values:
            return {}
        settings = self._fixed | {bare_key(key): value for key, value in values.items()}
        for one in self._entries:
            if all(same(settings[key], value) for key, value in one["when"].items()):
                return {
                    "published": one.get("objective"),
                    "published_learned": one.get("learned"),
                }
        return {}
