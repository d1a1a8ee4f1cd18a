"""Runs a sweep of a small application in this process, which a start of Python does not slow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from hydra import utils
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial

from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.reading import open_study

STOCK = ("hydra/sweeper=optuna",)
# What somebody changes who comes from hydra-optuna-sweeper: the class, nothing else.
OURS = (*STOCK, "hydra.sweeper._target_=resnet_sweep.sweep.sweeper.StudySweeper")
NATIVE = ("hydra/sweeper=study",)
CONFIG = "x: 1\ny: 0\nz: null\n"


class App:
    """An application: a folder with ``conf/``, a task function, and what it was called with."""

    def __init__(self, folder: Path, function: Callable[[DictConfig], Any] | None = None) -> None:
        self.folder = folder
        self.function = function or (lambda cfg: 0)
        self.seen: list[dict[str, Any]] = []
        self.jobs: list[DictConfig] = []
        self.write("config.yaml", CONFIG)

    def write(self, name: str, text: str) -> None:
        """A file of ``conf/``."""
        path = self.folder / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def task(self, cfg: DictConfig) -> Any:
        container = OmegaConf.to_container(cfg, resolve=True)
        assert isinstance(container, dict)
        self.seen.append(container)
        self.jobs.append(HydraConfig.get())
        return self.function(cfg)

    def sweep(self, *overrides: str, whitelist: tuple[str, ...] = ("nothing.*",)) -> Any:
        """What Hydra does for ``python app.py -m``; returns what the sweeper returns."""
        self.seen.clear()
        self.jobs.clear()
        path = create_config_search_path(str(self.folder / "conf"))
        hydra = Hydra.create_main_hydra2("app", path)
        try:
            with utils.execution_whitelist(whitelist), _logging_restored():
                return hydra.multirun(
                    "config", self.task, list(overrides), with_log_configuration=False
                )
        finally:
            GlobalHydra.instance().clear()

    def study(self, name: str = "out") -> optuna.Study:
        return open_study(self.folder / name)

    def trials(self, name: str = "out") -> list[FrozenTrial]:
        return self.study(name).get_trials()

    def results(self, name: str = "out") -> dict[str, Any]:
        path = StudyFolder(self.folder / name).optimization_results_yaml
        found = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(found, dict)
        return {str(key): value for key, value in found.items()}


@contextmanager
def _logging_restored() -> Iterator[None]:
    """Jobs configure logging for their process; this one goes on with other tests."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
