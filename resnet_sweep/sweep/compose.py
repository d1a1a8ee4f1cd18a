"""The configuration of a trial, as Hydra would compose it, without composing it anew each time."""

from __future__ import annotations

import copy
import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.core.utils import JobRuntime
from omegaconf import DictConfig, OmegaConf

_MAX_BASES = 32
# The first two warn when they are parsed, and must not warn twice; the third is drawn anew at
# every parsing, and must not be kept.
_FUNCTIONS_OF_HYDRA = re.compile(r"\b(extend_list|json_str|shuffle)\s*\(")
_PATCHED_TYPES = (OverrideType.CHANGE, OverrideType.ADD, OverrideType.FORCE_ADD)


@dataclass(frozen=True)
class _Base:
    """A composed configuration that others are patched from; without its task overrides."""

    copy: Callable[[], DictConfig]
    environment: dict[str, str | None]


class Composer:
    """Composes trials' configurations as ``ConfigLoader.load_sweep_config`` would, but faster.

    The configuration for a set of group choices is composed once and kept; values are patched
    on a copy of it. Whatever cannot be patched faithfully, and whatever fails, goes through
    ``load_sweep_config``, so results and errors are Hydra's own. Config files that change
    while a composer lives are not read again.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        """Makes a composer with nothing in it yet.

        Args:
            loader: Of the application, perhaps unpickled in a worker.
            master: The sweep's own configuration, composed by the same loader.
        """
        self._loader = loader
        self._master = master
        self._parser = OverridesParser.create()
        self._bases: OrderedDict[tuple[str, ...], _Base] = OrderedDict()
        self._is_group = _group_test(loader, master)
        self._known_groups: dict[str, bool] = {}

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of the trial with these overrides; the caller may change it.

        Args:
            overrides: As typed; those of ``hydra.*`` that the sweep was started with are added.

        Returns:
            What ``loader.load_sweep_config(master, overrides)`` returns.

        Raises:
            Exception: What ``load_sweep_config`` raises for these overrides.
        """
        cfg = self._patched(list(overrides))
        return cfg if cfg is not None else self._slowly(overrides)

    def _slowly(self, overrides: Sequence[str]) -> DictConfig:
        return self._loader.load_sweep_config(self._master, list(overrides))

    def _patched(self, overrides: list[str]) -> DictConfig | None:
        """The configuration, or None if only ``load_sweep_config`` can make it, or refuse it."""
        if self._is_group is None or any(map(_FUNCTIONS_OF_HYDRA.search, overrides)):
            return None
        try:
            parsed = [self._parser.parse_override(text) for text in overrides]
            num_fixed = self._num_before_patches(parsed)
            base = [o for i, o in enumerate(parsed) if i < num_fixed or not self._is_patch(o)]
            patches = [o for i, o in enumerate(parsed) if i >= num_fixed and self._is_patch(o)]
            cfg = self._copy_of_base(base)
            if not all(_patch(cfg, patch) for patch in patches):
                return None
        except Exception:
            # Whatever is wrong, load_sweep_config is asked next and says it in its own words.
            return None
        for override in parsed:
            if not override.is_hydra_override():
                cfg.hydra.overrides.task.append(override.input_line)
        OmegaConf.copy_cache(from_config=self._master, to_config=cfg)
        return cfg

    def _num_before_patches(self, parsed: list[Override]) -> int:
        """How many overrides belong to the base, so that the order of the values is kept."""
        others = [
            i for i, o in enumerate(parsed) if not self._is_patch(o) and not self._is_choice(o)
        ]
        return others[-1] + 1 if others else 0

    def _is_choice(self, override: Override) -> bool:
        """Whether it chooses from a group; Hydra sorts these out before it sets any value."""
        return (
            override.type in (OverrideType.CHANGE, OverrideType.ADD)
            and override.value_type is ValueType.ELEMENT
            and not override.is_value_path
            and not override.is_hydra_override()
            and isinstance(override.value(), (str, list))
            and self._names_group(override.key_or_group)
        )

    def _is_patch(self, override: Override) -> bool:
        """Whether it sets one value that is no group's and not Hydra's."""
        key = override.key_or_group
        return (
            override.type in _PATCHED_TYPES
            and override.value_type is ValueType.ELEMENT
            and override.package is None
            and not override.is_value_path
            and not override.is_hydra_override()
            and key not in ("", "hydra")
            # Merging a mapping may resolve what Hydra has not filled in yet at that point.
            and not isinstance(override.value(), dict)
            and not self._names_group(key)
        )

    def _names_group(self, key: str) -> bool:
        known = self._known_groups.get(key)
        if known is None:
            assert self._is_group is not None
            # Keys come from a search space, so there are few; a caller that makes up keys
            # without end must not fill the memory.
            if len(self._known_groups) >= 1000:
                self._known_groups.clear()
            known = self._known_groups[key] = self._is_group(key)
        return known

    def _copy_of_base(self, overrides: list[Override]) -> DictConfig:
        texts = [cast(str, override.input_line) for override in overrides]
        # Hydra writes these two into a configuration when it composes it.
        key = (os.getcwd(), str(JobRuntime.instance().get("name")), *texts)
        base = self._bases.get(key)
        if base is None or any(os.environ.get(k) != v for k, v in base.environment.items()):
            cfg = self._slowly(texts)
            num_task = sum(not override.is_hydra_override() for override in overrides)
            task = cfg.hydra.overrides.task
            for _ in range(num_task):
                del task[-1]
            environment = {name: os.environ.get(name) for name in cfg.hydra.job.env_copy}
            base = self._bases[key] = _Base(_copier(cfg), environment)
            if len(self._bases) > _MAX_BASES:
                self._bases.popitem(last=False)
        self._bases.move_to_end(key)
        return base.copy()


def _group_test(loader: ConfigLoader, master: DictConfig) -> Callable[[str], bool] | None:
    """Tells whether a key names a config group; None if this loader cannot be asked.

    The one private name of Hydra that is used here: ``ConfigLoader`` has no public way to ask
    for a group, and only this method takes ``hydra.searchpath`` into account.
    """
    make = getattr(loader, "_parse_overrides_and_create_caching_repo", None)
    if make is None:
        return None
    overrides = OmegaConf.to_container(master.hydra.overrides.hydra)
    _, repository = make(master.hydra.job.config_name, overrides)
    return cast(Callable[[str], bool], repository.group_exists)


def _copier(cfg: DictConfig) -> Callable[[], DictConfig]:
    """Makes copies of a configuration that share nothing; pickle is six times faster."""
    try:
        pickled = pickle.dumps(cfg, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError):
        # Classes of __main__ or of a function, for instance.
        return lambda: copy.deepcopy(cfg)
    return lambda: cast(DictConfig, pickle.loads(pickled))  # noqa: S301


def _patch(cfg: DictConfig, override: Override) -> bool:
    """Sets one value as Hydra does when it applies overrides.

    Returns:
        False if it may reach further than its key, or is an error: Hydra must do it.
    """
    key, value = override.key_or_group, override.value()
    if _goes_through_interpolation(cfg, key, whole=isinstance(value, list)):
        return False
    if override.type is OverrideType.CHANGE:
        OmegaConf.update(cfg, key, value, merge=True)
        return True
    if (
        override.type is OverrideType.ADD
        and not isinstance(value, list)
        and OmegaConf.select(cfg, key, throw_on_missing=False) is not None
    ):
        return False
    OmegaConf.update(cfg, key, value, merge=True, force_add=True)
    return True


def _goes_through_interpolation(cfg: DictConfig, key: str, whole: bool) -> bool:
    """Whether setting ``key`` may write to where an interpolation points, perhaps to hydra.*.

    Args:
        cfg: The configuration.
        key: Dotted key.
        whole: The last part counts, too: a list is merged into what is there.
    """
    parts = key.split(".")
    node: object = cfg
    for part in parts if whole else parts[:-1]:
        if not isinstance(node, DictConfig):
            # Nothing below a number; lists are rare on the way to a swept key: Hydra's.
            return OmegaConf.is_config(node)
        keys = node.keys()
        if not all(isinstance(name, str) for name in keys):
            return True  # a typed part may be another key than its text
        if part not in keys or OmegaConf.is_missing(node, part):
            return False
        if OmegaConf.is_interpolation(node, part):
            return True
        node = node[part]
    return False
