"""The Ray cluster that a sweep's workers run on: joined or started, and how many have room."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from resnet_sweep.faults import ConfigError, Fault

log = logging.getLogger(__name__)

_INIT = "hydra.launcher.ray.init"
_REMOTE = "hydra.launcher.ray.remote"


def ask_for_token() -> None:
    """Lets a cluster of our own refuse all who do not know a token that only its processes have.

    Ray listens on every address of a machine, and who reaches it runs what he likes. It reads
    the token when it is imported: a program that has done so already is told.
    """
    if os.environ.keys() & {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
        return
    ray = sys.modules.get("ray")
    if ray is None:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    elif not ray.is_initialized():
        log.warning(
            "the program has imported ray before the sweep could give its cluster a token of its"
            " own; the cluster listens on every address of this machine, and whether it asks for a"
            " token is left to the installed Ray: if it does not, who reaches it runs programs as"
            " you; import ray later, in the task, or set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
            " before the command"
        )


def connect(config: DictConfig) -> bool:
    """Connects to the cluster, or starts one on this machine.

    Returns:
        False where that was done before.

    Raises:
        ConfigError: There is no such cluster, or Ray refuses its settings.
    """
    init = options(config, "init")
    address = init.get("address") or os.environ.get("RAY_ADDRESS")
    is_own = address in (None, "local")
    if is_own:
        ask_for_token()
    import ray

    if ray.is_initialized():
        return False
    if is_own:
        # What would listen on a port of its own, and what would report to Ray's makers.
        init = {"include_dashboard": False, **init}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # By null Ray would also mean a cluster that a file in /tmp names, anybody's.
        init["address"] = "local"
    try:
        with _kept_handlers():
            ray.init(**{"log_to_driver": False, **init})
    except ConnectionError as error:
        rule = f"cannot be reached: {' '.join(str(error).split())}"
        fix = "start it with `ray start --head`; null starts one on this machine"
        raise ConfigError([Fault(f"{_INIT}.address", address, rule, fix=fix)]) from error
    except (TypeError, ValueError, RuntimeError) as error:
        rule = f"is refused by Ray: {' '.join(str(error).split())}"
        raise ConfigError([Fault(_INIT, init, rule)]) from error
    return True


@contextlib.contextmanager
def _kept_handlers() -> Iterator[None]:
    """Ray takes SIGTERM for itself, in the process of whoever connects."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def room(config: DictConfig) -> int:
    """Workers for which the living nodes have room together.

    Raises:
        ConfigError: No node has room for one.
    """
    import ray

    remote = options(config, "remote")
    wanted: dict[str, float] = {
        "CPU": remote.get("num_cpus", 1),
        "GPU": remote.get("num_gpus", 0),
        "memory": remote.get("memory", 0),
        **remote.get("resources", {}),
    }
    wanted = {name: amount for name, amount in wanted.items() if amount}
    listed: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = [node["Resources"] for node in listed if node["Alive"]]
    num = sum(_fits(wanted, node) for node in nodes)
    if not num:
        asked = ", ".join(f"{amount:g} {name}" for name, amount in wanted.items())
        there = "; ".join(
            ", ".join(f"{node.get(name, 0):g} {name}" for name in wanted) for node in nodes
        )
        rule = f"a worker asks for {asked}, and no node has that; nodes have: {there}"
        raise ConfigError([Fault(_REMOTE, remote, rule)])
    if "GPU" not in wanted and any(node.get("GPU") for node in nodes):
        log.warning("nodes have GPUs, and no worker asks for one: +%s.num_gpus=1", _REMOTE)
    return num


def _fits(wanted: dict[str, float], node: dict[str, float]) -> int:
    # Ray counts ten thousandths: ten tenths are a whole.
    parts = [
        math.floor(round(1e4 * node.get(name, 0)) / max(1, round(1e4 * amount)))
        for name, amount in wanted.items()
    ]
    # A worker that asks for nothing finds room for as many as there are CPUs.
    return min(parts) if parts else math.floor(node.get("CPU", 0))


def options(config: DictConfig, part: str) -> dict[str, Any]:
    """The settings of hydra-ray-launcher for "init" or for "remote"."""
    found = OmegaConf.to_container(config.hydra.launcher.ray[part], resolve=True)
    assert isinstance(found, dict)
    return {str(name): value for name, value in found.items()}
