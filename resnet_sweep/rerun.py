"""rerun.yaml: a whole configuration for Hydra that runs a run again."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from resnet_sweep.config import SCHEMA_GROUP, Config
from resnet_sweep.literal import literal, shell_word
from resnet_sweep.models.config import TRUSTED_MODULES, allowed_modules
from resnet_sweep.paths import config_dir

# Groups whose settings the schema cannot know before one of its classes is chosen.
_GROUPS_OF_CLASSES = ("data", "optimizer", "scheduler")
_GROUPS = ("model", *_GROUPS_OF_CLASSES, "trainer")


@dataclass(frozen=True)
class Resolved:
    """What a configuration may leave open, as a run has resolved it.

    Attributes:
        device: Its kind: "cpu", "cuda" or "mps".
        precision: "bf16" or "fp32".
        threads: CPU threads of the arithmetic.
        num_classes: Classes of the data.
        content: Hash of the decoded images.
        microbatch: Most images that go through the network at once.
        compile: "always" or "never"; as the configuration has it until the run has decided.
    """

    device: str
    precision: str
    threads: int
    num_classes: int
    content: str
    microbatch: int | str | None
    compile: str


def rerun_yaml(
    config: Config, resolved: Resolved, choices: Mapping[str, str | None], folder: Path
) -> str:
    """A primary config with every value of a run, those that it resolved itself pinned.

    Of the choices in the groups it names our own only, so that tables call a network by its
    name; the user's may be gone.

    Args:
        config: Of the run, with absolute paths.
        resolved: By the run.
        choices: In the groups.
        folder: Where the text will stand as rerun.yaml.
    """
    pinned = copy.deepcopy(config)
    pinned.data.content = resolved.content
    if pinned.model.num_classes is None:
        pinned.model.num_classes = resolved.num_classes
    pinned.trainer.device = resolved.device
    pinned.trainer.precision = resolved.precision
    pinned.trainer.threads = resolved.threads
    pinned.trainer.microbatch = resolved.microbatch
    pinned.trainer.compile = resolved.compile
    ours = {group: _if_ours(group, choices.get(group)) for group in _GROUPS}
    defaults: list[Any] = ["config"]
    for group in _GROUPS_OF_CLASSES:
        if ours[group] is None:
            defaults.append({f"{SCHEMA_GROUP}/{group}@{group}": getattr(pinned, group).name})
    # Hydra wants overrides at the end.
    defaults += ["_self_", *({f"override {group}": choice} for group, choice in ours.items())]
    values = {"defaults": defaults, **literal(dataclasses.asdict(pinned))}
    return _header(pinned, folder) + OmegaConf.to_yaml(OmegaConf.create(values))


def _if_ours(group: str, choice: str | None) -> str | None:
    """A choice that comes with this package; None for all others."""
    return choice if (config_dir() / group / f"{choice}.yaml").is_file() else None


def _header(config: Config, folder: Path) -> str:
    words = ["--config-dir", shell_word(str(folder)), "--config-name", "rerun"]
    target = config.model._target_
    if target is not None:
        module = next(name for name in allowed_modules() if target.startswith(f"{name}."))
        words += [] if module in TRUSTED_MODULES else ["--allow", module]
    return (
        "# Runs this run again, with all that it had resolved:\n"
        f"#   python -m resnet_sweep {' '.join(words)}\n"
        "# data.root=FOLDER behind it names the images elsewhere; they must be the same images.\n"
    )
