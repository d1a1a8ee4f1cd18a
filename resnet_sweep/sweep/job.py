"""Hydra's job, at a third of its price: a trial is run as ``hydra.core.utils.run_job`` runs it.

Hydra copies its own part of the configuration four times a job, node by node, which is most of
what a trial costs that does nothing. Here the copies go through pickle. All else is the same:
files, HydraConfig, working directory, environment, logging, callbacks, and what is returned.
"""

from __future__ import annotations

import copy
import io
import operator
import os
import pickle
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path, PurePath
from types import GenericAlias, UnionType
from typing import Any, Protocol, cast

from hydra.core import utils as hydra_utils
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, env_override
from hydra.types import HydraContext, TaskFunction
from hydra.utils import execution_whitelist
from omegaconf import DictConfig, Node, OmegaConf, open_dict, read_write
from omegaconf.base import Metadata


class _HydraParts(Protocol):
    """Private functions of Hydra's that write and log what a job must write and log.

    They are Hydra's words, not ours: the text of the files, "Job failed" under the name of
    Hydra's own logger, and what a JobReturn carries to another process. None of them is to be
    had in public, and words of our own would not stay the same as Hydra's.
    """

    _save_config: Callable[[Any, str, Path], None]
    _log_job_error_to_file: Callable[[], None]
    _flush_loggers: Callable[[], None]
    _serialize_traceback: Callable[[Any], Any]
    _serialize_exception_chain: Callable[[BaseException], Any]
    _serialize_exception_group: Callable[[BaseException], Any]
    _set_job_return_handoff: Callable[[BaseException, JobReturn], None]


_hydra = cast(_HydraParts, hydra_utils)

_KNOWN_RETURN = frozenset(
    {
        "overrides",
        "cfg",
        "hydra_cfg",
        "working_dir",
        "task_name",
        "status",
        "_return_value",
        "_remote_traceback",
        "_remote_exception_chain",
        "_remote_exception_group",
    }
)


_NO_COPY = "no_deepcopy_set_nodes"
# All that a configuration consists of, beside what pickle knows itself; its metadata name types.
_COPIED_ALIKE = (Node, Metadata, Enum, PurePath, defaultdict, type, GenericAlias, UnionType)
# Classes of these that have been met: there are few, and a configuration has a thousand nodes.
_met: set[type] = set()


def unknown_to_us() -> list[str]:
    """What the installed Hydra has or lacks, so that its jobs cannot be run here as it does."""
    faults = [
        f"hydra.core.utils has no {name}"
        for name in _HydraParts.__annotations__
        if not callable(getattr(hydra_utils, name, None))
    ]
    for owner, found, known in (
        ("JobReturn", set(vars(JobReturn())), _KNOWN_RETURN),
        ("HydraConfig", set(vars(HydraConfig.instance())), {"cfg"}),
    ):
        faults += [f"{owner} has {name}" for name in sorted(found - known)]
        faults += [f"{owner} has no {name}" for name in sorted(known - found)]
    return faults


if unknown_to_us():
    raise ImportError(
        "the installed hydra-core runs jobs in a way that this version of resnet_sweep does not "
        f"know: {', '.join(unknown_to_us())}"
    )


def run_job(
    task_function: TaskFunction,
    config: DictConfig,
    job_dir_key: str,
    job_subdir_key: str | None,
    hydra_context: HydraContext,
    configure_logging: bool = True,
) -> JobReturn:
    """Runs a task as a job of Hydra's.

    Args:
        task_function: Called with the configuration without ``hydra``.
        config: Composed for this job; its ``hydra.runtime.output_dir`` is filled in.
        job_dir_key: Key of the output folder, or of what it is in.
        job_subdir_key: Key of the rest of its path; None if there is no more.
        hydra_context: Callbacks and whitelist.
        configure_logging: Whether the job gets the logging of ``hydra.job_logging``.

    Returns:
        Status and value, where an exception of the task is a value as well.

    Raises:
        BaseException: What is no Exception, as Ctrl-C, after the callbacks have heard of it;
            and what goes wrong around the task.
    """
    with execution_whitelist(hydra_context.execution_whitelist, reset=True), _kept_hydra_config():
        output_dir = _fill_in_output_dir(config, job_dir_key, job_subdir_key)
        returned = _copies(config)
        with _in_folder(output_dir, returned):
            if configure_logging:
                configure_log(
                    config.hydra.job_logging,
                    config.hydra.verbose,
                    execution_whitelist=hydra_context.execution_whitelist,
                )
            _save(config, returned)
            returned.task_name = JobRuntime.instance().get("name")
            return _Job(task_function, config, hydra_context, returned).run()


@contextmanager
def _kept_hydra_config() -> Iterator[None]:
    outside = HydraConfig.instance().cfg
    try:
        yield
    finally:
        HydraConfig.instance().cfg = outside


def _fill_in_output_dir(config: DictConfig, dir_key: str, subdir_key: str | None) -> str:
    """Works out the job's folder, as the patterns have it: perhaps relative."""
    OmegaConf.set_readonly(config.hydra, True)
    # Patterns may ask for ${hydra:...}; nothing of the user's runs yet, so no copy is needed.
    HydraConfig.instance().cfg = cast(Any, config)
    output_dir = str(OmegaConf.select(config, dir_key))
    if subdir_key is not None:
        output_dir = os.path.join(output_dir, str(OmegaConf.select(config, subdir_key)))
    with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = os.path.abspath(output_dir)
    return output_dir


def _copies(config: DictConfig) -> JobReturn:
    """Sets HydraConfig, and begins a return with copies that the task cannot change by accident."""
    task_cfg = copied(config)
    own = task_cfg._get_node("hydra")
    with read_write(task_cfg), open_dict(task_cfg):
        del task_cfg["hydra"]
    visible = _alone(own)
    hydra_node = visible._get_node("hydra")
    assert isinstance(hydra_node, DictConfig)
    HydraConfig.instance().cfg = cast(Any, visible)
    # As if it were a part of the configuration: interpolations reach the user's keys.
    hydra_node._set_parent(config)
    env_set = hydra_node.job.env_set
    with read_write(env_set):
        OmegaConf.resolve(env_set)
    # Pickle goes up to parents, too.
    hydra_node._set_parent(visible)
    hydra_cfg = copied(visible)
    hydra_node._set_parent(config)
    overrides = OmegaConf.to_container(config.hydra.overrides.task)
    assert isinstance(overrides, list)
    return JobReturn(cfg=task_cfg, hydra_cfg=hydra_cfg, overrides=overrides)


def _alone(hydra_node: Any) -> DictConfig:
    """What OmegaConf.masked_copy makes of a configuration, around a node that is ours already."""
    alone = DictConfig({}, flags={_NO_COPY: True})
    alone["hydra"] = hydra_node
    alone._set_flag(_NO_COPY, None)
    return alone


class _Pickler(pickle.Pickler):
    """Refuses what pickle would copy and copy.deepcopy shares: values that are objects."""

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind in _met:
            return NotImplemented
        # The classes of what typing makes of types have no public names.
        if isinstance(obj, _COPIED_ALIKE) or kind.__module__ == "typing":
            _met.add(kind)
            return NotImplemented
        # Two functions by which pickle says how such types are put together.
        if obj is operator.getitem or obj is operator.or_:
            return NotImplemented
        raise pickle.PicklingError(f"{type(obj)} is no part of a configuration")


def copied(config: DictConfig) -> DictConfig:
    """What copy.deepcopy makes of a configuration without a parent, but six times faster."""
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(config)
    except (pickle.PicklingError, AttributeError, TypeError):
        # Objects, and classes of a function, for instance.
        return copy.deepcopy(config)
    return cast(DictConfig, pickle.loads(buffer.getbuffer()))  # noqa: S301


@contextmanager
def _in_folder(output_dir: str, returned: JobReturn) -> Iterator[None]:
    """Makes the job's folder, and works in it where hydra.job.chdir says so."""
    before = os.getcwd()
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    assert returned.hydra_cfg is not None
    if not returned.hydra_cfg.hydra.job.chdir:
        returned.working_dir = before
        yield
        return
    try:
        os.chdir(output_dir)
        returned.working_dir = output_dir
        yield
    finally:
        os.chdir(before)


def _save(config: DictConfig, returned: JobReturn) -> None:
    subdir = config.hydra.output_subdir
    if subdir is None:
        return
    folder = Path(config.hydra.runtime.output_dir) / Path(subdir)
    _hydra._save_config(returned.cfg, "config.yaml", folder)
    _hydra._save_config(returned.hydra_cfg, "hydra.yaml", folder)
    _hydra._save_config(config.hydra.overrides.task, "overrides.yaml", folder)


class _Job:
    """A task between the hooks of the application's callbacks."""

    def __init__(
        self,
        task_function: TaskFunction,
        config: DictConfig,
        context: HydraContext,
        returned: JobReturn,
    ) -> None:
        self.task_function, self.config, self.returned = task_function, config, returned
        self.callbacks = context.callbacks
        self._has_begun = False
        # The exception that ends the job early, if one does.
        self._leaving: BaseException | None = None

    def run(self) -> JobReturn:
        try:
            try:
                self._begin()
            except BaseException as error:
                self._fail(error)
                self._leaving = error
                raise
            finally:
                self._end()
        except BaseException as error:
            # For Hydra's main, which then knows the job's log. Hooks have seen the return before.
            if error is self._leaving:
                _hydra._set_job_return_handoff(error, self.returned)
            raise
        return self.returned

    def _begin(self) -> None:
        assert self.returned.hydra_cfg is not None
        with env_override(self.returned.hydra_cfg.hydra.job.env_set):
            # Before the hook: one that is interrupted still has its counterpart called.
            self._has_begun = True
            self.callbacks.on_job_start(config=self.config, task_function=self.task_function)
            self._call()

    def _call(self) -> None:
        returned = self.returned
        try:
            returned.return_value = self.task_function(cast(DictConfig, returned.cfg))
            returned.status = JobStatus.COMPLETED
        except Exception as error:
            self._fail(error)
            self._describe(error)

    def _describe(self, error: Exception) -> None:
        """Keeps an exception in a form that reaches other processes, and in the job's log."""
        returned = self.returned
        # An exception may be of a class that fails at anything that it is asked; the job has
        # failed with it nevertheless, and that is what has to be told.
        with suppress(Exception):
            returned._remote_traceback = _hydra._serialize_traceback(error.__traceback__)
            returned._remote_exception_chain = _hydra._serialize_exception_chain(error)
            returned._remote_exception_group = _hydra._serialize_exception_group(error)
        with suppress(Exception):
            _hydra._log_job_error_to_file()

    def _fail(self, error: BaseException) -> None:
        self.returned.return_value = error
        self.returned.status = JobStatus.FAILED

    def _end(self) -> None:
        try:
            _hydra._flush_loggers()
        except BaseException as error:
            self._failed_to_flush(error)
        finally:
            if self._has_begun:
                try:
                    self.callbacks.on_job_end(config=self.config, job_return=self.returned)
                except BaseException:
                    # It takes the place of what was under way, and is no part of the return.
                    self._leaving = None
                    raise

    def _failed_to_flush(self, error: BaseException) -> None:
        """Raises it, unless something is known already that says more."""
        if self._leaving is not None:
            return
        has_failed = self.returned.status is JobStatus.FAILED
        if has_failed and isinstance(error, Exception):
            return
        if not has_failed:
            self._fail(error)
        self._leaving = error
        raise error
