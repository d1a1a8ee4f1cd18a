"""Our job beside Hydra's own: whatever can be seen of the one is seen of the other."""

from __future__ import annotations

import copy
import importlib
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest
from hydra._internal.callbacks import Callbacks
from hydra._internal.execution_policy import _get_active_execution_whitelist
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core import utils as hydra_utils
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, configure_log
from hydra.experimental.callback import Callback
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, Node, OmegaConf, open_dict, read_write
from omegaconf.errors import InterpolationKeyError

from resnet_sweep.config import register_schema
from resnet_sweep.paths import config_dir
from resnet_sweep.sweep import job

log = logging.getLogger(__name__)


class Shade(Enum):
    LIGHT = 1
    DARK = 2


@dataclass
class Leaf:
    size: int = 1
    label: str = "???"


@dataclass
class Typed:
    shade: Shade = Shade.DARK
    file: Path = Path("a/b")
    raw: bytes = b"\x00\xff"
    either: int | str = "1"
    word: Literal["on", "off"] = "on"
    pair: tuple[int, str] = (1, "one")
    leaf: Leaf = field(default_factory=Leaf)
    nothing: Leaf | None = None
    leaves: dict[str, Leaf] = field(default_factory=lambda: {"a": Leaf(2, "two")})
    rows: list[list[int]] = field(default_factory=lambda: [[1, 2], [3]])


FOREIGN = """
defaults:
  - /job_schema/typed@typed
  - _self_
x: 1
text: "über 😀 yes: no"
missing: ???
job_name: ${hydra:job.name}
number: ${hydra:job.num}
out: ${hydra:runtime.output_dir}
once: ${tick:x}
nested: {a: {b: [1, {c: "${x}"}]}, "off": [], 3: three}
hydra:
  run: {dir: "out/${x}"}
  sweep: {subdir: "${hydra:job.num}-${tick:x}-${x}"}
  job: {name: foreign}
"""
PLAIN_LOGGING = OmegaConf.create({"version": 1, "root": {"level": "INFO", "handlers": []}})
COMMON = ("++hydra.job_logging.formatters.simple.format='[%(name)s][%(levelname)s] %(message)s'",)


class Recorder(Callback):
    """Writes down what the hooks of a job are given, and may raise in one of them."""

    def __init__(self, seen: list[Any], raising: dict[str, BaseException]) -> None:
        self.seen, self.raising = seen, raising

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        self.note("on_job_start", config=config, **kwargs)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        self.note("on_job_end", config=config, job_return=job_return, **kwargs)

    def note(self, name: str, **kwargs: Any) -> None:
        self.seen.append((name, plain(kwargs), surroundings()))
        if name in self.raising:
            raise self.raising[name]


def plain(value: Any) -> Any:
    """A value as something that compares by all that it consists of."""
    if isinstance(value, Node):
        return anatomy(value)
    if isinstance(value, JobReturn):
        return plain(vars(value))
    if isinstance(value, dict):
        # The first frame is the one that differs: Hydra's or ours.
        return {k: v[1:] if k == "_remote_traceback" and v else plain(v) for k, v in value.items()}
    if isinstance(value, BaseException):
        return type(value), str(value), plain(value.__cause__)
    return value


def anatomy(node: Node) -> Any:
    """A node with its type and metadata, and all below it."""
    content = node.__dict__.get("_content", node.__dict__.get("_val"))
    if isinstance(content, dict):
        content = {key: anatomy(one) for key, one in content.items()}
    elif isinstance(content, (list, tuple)):
        content = [anatomy(one) if isinstance(one, Node) else one for one in content]
    elif isinstance(content, Node):
        content = anatomy(content)
    return type(node), vars(node._metadata), type(content), content


def nodes(node: Any) -> Iterator[int]:
    content = node.__dict__.get("_content")
    yield id(node)
    if isinstance(content, (dict, list, tuple)):
        for one in content.values() if isinstance(content, dict) else content:
            yield from nodes(one)


def surroundings() -> dict[str, Any]:
    """What a task and a hook find around them."""
    config: Any = HydraConfig.instance().cfg
    return {
        "hydra": anatomy(config),
        "cwd": os.getcwd(),
        "env": {k: v for k, v in os.environ.items() if k.startswith("JOB_TEST")},
        "handlers": [repr(one) for one in logging.getLogger().handlers],
        "levels": [logging.getLogger(name).level for name in ("", "chatty")],
        "whitelist": _get_active_execution_whitelist(),
    }


def files(folder: Path) -> dict[str, str]:
    """Text of all files; of a traceback what stands below the frame of Hydra or of ours."""
    frame = r'  File "[^"]*(core/utils|sweep/job)\.py", line \d+, in \w+\n.*\n( +[~^]+\n)?'
    return {
        str(path.relative_to(folder)): re.sub(frame, "", path.read_bytes().decode())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@dataclass
class Case:
    """A job that can be run from the start by either way."""

    lines: tuple[str, ...] = ()
    task: Callable[[DictConfig], Any] = lambda cfg: cfg.get("x")
    raising: dict[str, BaseException] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


class Stage:
    """An application, and a folder for its jobs."""

    def __init__(self, folder: Path, conf: Path) -> None:
        self.folder = folder
        self.hydra = Hydra.create_main_hydra2("job", create_config_search_path(str(conf)))
        # Who composes after us shall find nothing.
        GlobalHydra.instance().clear()
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def observe(self, run_job: Any, case: Case, config: DictConfig) -> dict[str, Any]:
        """Runs the job, and returns all that can be seen of it."""
        ticks = count()
        OmegaConf.register_resolver("tick", lambda _: next(ticks), use_cache=True, replace=True)
        # Otherwise a second may pass between the two.
        OmegaConf.register_resolver("now", lambda _: "now", use_cache=True, replace=True)
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        # What a job before has left there.
        configure_log(PLAIN_LOGGING)
        seen: list[Any] = []

        def task(cfg: DictConfig) -> Any:
            whole: Any = HydraConfig.instance().cfg
            assert whole.hydra._get_parent() is config
            trees = [set(nodes(cfg)), set(nodes(config)), set(nodes(whole))]
            assert len(set.union(*trees)) == sum(map(len, trees))
            seen.append(("task", anatomy(cfg), surroundings()))
            log.info("in the task")
            logging.getLogger("chatty").debug("heard")
            return case.task(cfg)

        callbacks = Callbacks()
        callbacks.callbacks = [Recorder(seen, case.raising), Recorder(seen, {})]
        outside: Any = OmegaConf.create({"hydra": {}})
        HydraConfig.instance().cfg = outside
        returned, raised = None, None
        try:
            returned = run_job(
                task_function=task,
                config=config,
                hydra_context=HydraContext(self.hydra.config_loader, callbacks, ("nothing.*",)),
                **{
                    "job_dir_key": "hydra.sweep.dir",
                    "job_subdir_key": "hydra.sweep.subdir",
                    **case.options,
                },
            )
        except BaseException as error:
            raised = error
        assert HydraConfig.instance().cfg is outside
        for one in seen:
            if one[0] == "on_job_start":
                assert one[1].pop("task_function") is task
        handed = None if raised is None else hydra_utils._take_job_return_handoff(raised)
        return {
            "seen": seen,
            "returned": plain(returned),
            "raised": plain(raised),
            "handed": plain(handed),
            "config": anatomy(config),
            "after": surroundings(),
            "files": files(self.folder / "out"),
        }

    def compose(self, lines: tuple[str, ...]) -> DictConfig:
        """The configuration of a job; composing is dear, so it is done once for each."""
        if lines not in self._composed:
            self._composed[lines] = self._compose(lines)
        return copy.deepcopy(self._composed[lines])

    def _compose(self, lines: tuple[str, ...]) -> DictConfig:
        own = [one for one in lines if one.startswith("hydra")]
        own = [*COMMON, *own, f"hydra.sweep.dir={self.folder / 'out'}"]
        master = self.hydra.compose_config(
            "config", own, RunMode.MULTIRUN, with_log_configuration=False
        )
        task = [one for one in lines if not one.startswith("hydra")]
        config = self.hydra.config_loader.load_sweep_config(master, task)
        with read_write(config), open_dict(config):
            config.hydra.job.num, config.hydra.job.id = 7, "seven"
        return config


@pytest.fixture(scope="module")
def foreign_stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    store = ConfigStore.instance()
    store.store(group="job_schema", name="typed", node=Typed, package="typed", replace=True)
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "conf").mkdir()
    (folder / "conf" / "config.yaml").write_text(FOREIGN)
    return Stage(folder, folder / "conf")


@pytest.fixture(scope="module")
def our_stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    register_schema()
    return Stage(tmp_path_factory.mktemp("ours"), config_dir())


@pytest.fixture
def foreign(foreign_stage: Stage, undone: None) -> Stage:
    return foreign_stage


@pytest.fixture
def ours(our_stage: Stage, undone: None) -> Stage:
    return our_stage


@pytest.fixture
def undone() -> Iterator[None]:
    """Takes back what a job does to its process."""
    root = logging.getLogger()
    handlers, level, outside = root.handlers[:], root.level, HydraConfig.instance().cfg
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("chatty").setLevel(logging.NOTSET)
    HydraConfig.instance().cfg = outside
    hydra_utils.setup_globals()


def assert_same(stage: Stage, case: Case) -> dict[str, Any]:
    expected = stage.observe(hydra_utils.run_job, case, stage.compose(case.lines))
    found = stage.observe(job.run_job, case, stage.compose(case.lines))
    for name, value in expected.items():
        assert found[name] == value, name
    return found


def fails(cfg: DictConfig) -> Any:
    try:
        raise KeyError("at first")
    except KeyError as error:
        raise ValueError("in the end") from error


def fails_in_a_group(cfg: DictConfig) -> Any:
    error = RuntimeError("two things")
    error.__context__ = OSError("before")
    raise error


def interrupts(cfg: DictConfig) -> Any:
    raise KeyboardInterrupt


def changes_all(cfg: DictConfig) -> Any:
    whole: Any = HydraConfig.instance().cfg
    with read_write(whole), open_dict(whole):
        whole.hydra.job.name = "changed"
        whole.hydra.new = 1
    with open_dict(cfg):
        cfg.x, cfg.new = "changed", {"a": 1}
    return whole.hydra.sweep.subdir, cfg.number, cfg.out


def forgets_a_variable(cfg: DictConfig) -> Any:
    del os.environ["JOB_TEST"]


CASES = {
    "succeeds": Case(("x=3", "+y={a: 1}", "nested.a.b=[2]")),
    "fails": Case(("x=3",), fails),
    "fails_after_another": Case((), fails_in_a_group),
    "interrupted": Case((), interrupts),
    "exits": Case((), lambda cfg: sys.exit(3)),
    "changes_directory": Case(("hydra.job.chdir=true",)),
    "fails_elsewhere": Case(("hydra.job.chdir=true",), fails),
    "interrupted_elsewhere": Case(("hydra.job.chdir=true",), interrupts),
    "sets_environment": Case(
        (
            "+hydra.job.env_set.JOB_TEST=${x}",
            "+hydra.job.env_set.JOB_TEST_B=${hydra:job.num}${tick:x}",
        ),
        lambda cfg: os.environ["JOB_TEST"],
    ),
    "forgets_a_variable": Case(("+hydra.job.env_set.JOB_TEST=1",), forgets_a_variable),
    "keeps_no_config": Case(("hydra.output_subdir=null",)),
    "keeps_it_elsewhere": Case(("hydra.output_subdir=a/b",)),
    "logs_nothing": Case(("hydra/job_logging=none",)),
    "logs_nothing_and_fails": Case(("hydra/job_logging=disabled",), fails),
    "verbose": Case(("hydra.verbose=chatty",)),
    "all_verbose": Case(("hydra.verbose=true",)),
    "logging_is_left": Case((), fails, options={"configure_logging": False}),
    "one_key": Case((), options={"job_subdir_key": None}),
    "run_dir": Case(options={"job_dir_key": "hydra.run.dir", "job_subdir_key": None}),
    "changes_all": Case(("x=a",), changes_all),
    "start_hook_fails": Case(raising={"on_job_start": ValueError("hook")}),
    "end_hook_fails": Case((), fails, {"on_job_end": ValueError("hook")}),
    "start_hook_exits": Case(raising={"on_job_start": SystemExit(4)}),
    "end_hook_exits": Case((), interrupts, {"on_job_end": SystemExit(4)}),
    "end_hook_is_interrupted": Case((), fails, {"on_job_end": KeyboardInterrupt()}),
    "no_target": Case(("+hydra.job_logging.handlers.bad={class: os.system}",)),
    "mandatory_is_missing": Case((), lambda cfg: cfg.missing),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:Callback Recorder")
def test_a_foreign_job_is_hydras(foreign: Stage, monkeypatch: Any, name: str) -> None:
    monkeypatch.chdir(foreign.folder)
    assert_same(foreign, CASES[name])
    assert Path.cwd() == foreign.folder


@pytest.mark.parametrize("lines", [(), ("model=resnet18", "optimizer=adamw", "optimizer.lr=0.5")])
def test_a_job_of_ours_is_hydras(ours: Stage, lines: tuple[str, ...]) -> None:
    found = assert_same(ours, Case(lines, lambda cfg: cfg.optimizer.lr))
    names = sorted(name.partition("7/")[2] for name in found["files"])
    assert names == [
        ".hydra/config.yaml",
        ".hydra/hydra.yaml",
        ".hydra/overrides.yaml",
        "train.log",
    ]


def test_the_job_of_a_run(foreign: Stage) -> None:
    folder = assert_same(foreign, CASES["succeeds"])["files"]
    # The cached resolver was asked once: the folder's pattern and the task's key agree.
    assert sorted(folder) == [
        "7-0-3/.hydra/config.yaml",
        "7-0-3/.hydra/hydra.yaml",
        "7-0-3/.hydra/overrides.yaml",
        "7-0-3/foreign.log",
    ]
    assert folder["7-0-3/foreign.log"] == "[test_job][INFO] in the task\n"


@pytest.mark.parametrize("error", [RuntimeError("no space"), KeyboardInterrupt()])
@pytest.mark.parametrize("task", [fails, interrupts, lambda cfg: 1])
def test_logs_that_cannot_be_flushed(
    foreign: Stage, monkeypatch: Any, error: BaseException, task: Any
) -> None:
    def flush() -> None:
        raise error

    monkeypatch.setattr(hydra_utils, "_flush_loggers", flush)
    assert_same(foreign, Case((), task))


def test_a_folder_that_cannot_be_named(foreign: Stage) -> None:
    # Hydra leaves its configuration set, then; ours does not.
    outside = HydraConfig.instance().cfg
    context = HydraContext(foreign.hydra.config_loader, Callbacks())
    config = foreign.compose(("hydra.sweep.subdir=${nowhere}",))
    with pytest.raises(InterpolationKeyError, match="nowhere"):
        job.run_job(lambda cfg: 1, config, "hydra.sweep.dir", "hydra.sweep.subdir", context)
    assert HydraConfig.instance().cfg is outside


def test_interpolations_of_a_return_are_its_own(foreign: Stage) -> None:
    returned = job.run_job(
        lambda cfg: 1,
        foreign.compose(("x=5", "+hydra.job.env_set.JOB_TEST=${x}")),
        "hydra.sweep.dir",
        None,
        HydraContext(foreign.hydra.config_loader, Callbacks()),
    )
    assert returned.hydra_cfg is not None
    assert returned.hydra_cfg.hydra.job.env_set.JOB_TEST == "5"
    assert returned.hydra_cfg.hydra._get_parent() is returned.hydra_cfg


def test_copies_share_values_that_are_objects() -> None:
    class Thing:
        pass

    for value in (Thing(), lambda: 1, datetime(2026, 1, 1)):
        cfg = OmegaConf.create({"a": {"b": 1}}, flags={"allow_objects": True})
        cfg.thing = value
        copied = job.copied(cfg)
        assert copied.thing is value
        copied.a.b = 2
        assert cfg.a.b == 1


def test_an_unknown_hydra_is_refused(monkeypatch: Any) -> None:
    assert job.unknown_to_us() == []
    monkeypatch.delattr(hydra_utils, "_flush_loggers")
    monkeypatch.delattr(hydra_utils, "_save_config")
    monkeypatch.setattr(HydraConfig.instance(), "more", 1, raising=False)
    with pytest.raises(ImportError, match=r"_save_config.*_flush_loggers.*HydraConfig has more"):
        importlib.reload(job)
