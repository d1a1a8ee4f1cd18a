"""Ways in processes of their own.

A process keeps its allocator, its threads and its caches to itself: what ours sets up for
its process must not make the plain way faster, nor the other way round.
"""

from __future__ import annotations

import math
import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from benchmarks.ways.base import V1_5, Block, Way, WholeWay, network, write_out_the_network
from benchmarks.ways.loaders import plain_loaders
from benchmarks.ways.ours import CeilingWay, OursWay, build_trainer
from benchmarks.ways.plain import PlainWay
from benchmarks.ways.timm_way import TimmWay
from benchmarks.ways.torchvision_recipe import TorchvisionWay
from resnet_sweep.config import Config
from resnet_sweep.data import open_data
from resnet_sweep.training.device import resolve_device, resolve_precision, set_process_state


def build_way(kind: str, config: Config, folder: Path) -> Way:
    """One of ``WAYS``, in this process and with what it sets up for it.

    Args:
        kind: Which way.
        config: Of our run; the other ways take their numbers from it.
        folder: For the files that it writes.
    """
    device = resolve_device(config.trainer.device)
    precision = resolve_precision(config.trainer.precision, device)
    data = open_data(config.data)
    if kind in ("ours", "ours_v1.5", "ceiling"):
        set_process_state(config.trainer, device)
        model = V1_5 if kind == "ours_v1.5" else None
        trainer = build_trainer(config, data, device, precision, folder, model)
        if kind == "ceiling":
            return CeilingWay(trainer)
        return OursWay(trainer, "ours v1.5" if model else "ours")
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    torch.backends.cudnn.benchmark = True
    if kind == "torchvision":
        return TorchvisionWay(config, data, device)
    if kind == "timm":
        return TimmWay(config, data, device, precision)
    tuned = kind == "tuned"
    write_out_the_network()
    return PlainWay(
        network(config, data),
        plain_loaders(config, data),
        lr=config.optimizer.lr,
        device=device,
        folder=folder,
        channels_last=tuned,
        precision=precision if tuned else "fp32",
    )


class WayProcess:
    """A way in a process of its own, which rests between what it is asked for.

    Args:
        kind: One of ``WAYS``.
        config: Of our run.
        folder: For the files that the way writes.

    Attributes:
        kind: The way.
        name: What the way calls itself.
        num_threads: CPU threads of its arithmetic.
        is_whole: Whether it validates and writes checkpoints.
    """

    def __init__(self, kind: str, config: Config, folder: Path) -> None:
        self.kind = kind
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, kind, config, folder))
        self._process.start()
        there.close()
        self.name, self.num_threads, self.is_whole = self._receive()

    def __enter__(self) -> WayProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pipe.close()
        self._process.join(timeout=60)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def block(self) -> Block:
        """Has the process train on one block."""
        return self._pass("block")

    def validation(self) -> Block:
        """The validation after the newest block; of a whole way."""
        return self._pass("validation")

    def checkpoint_ms(self) -> float:
        """What a due checkpoint takes from the training thread; of a whole way."""
        return float(self._ask("checkpoint_ms"))

    def peak_memory_mib(self) -> float:
        """Most memory that the process has used so far."""
        return float(self._ask("peak_memory_mib"))

    def _pass(self, request: str) -> Block:
        block: Block = self._ask(request)
        # Arithmetic on NaN or infinity has a speed of its own.
        assert math.isfinite(block.loss), f"{self.name} diverged"
        return block

    def _ask(self, request: str) -> Any:
        self._pipe.send(request)
        return self._receive()

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            raise RuntimeError(
                f"the way {self.kind!r} ended with exit code {code}; see above"
            ) from None


def _serve(pipe: Connection, kind: str, config: Config, folder: Path) -> None:
    # A loader's workers start as in a script, not as this process was started: to load torch anew
    # would cost torchvision's recipe, whose workers live for an epoch, seconds a block.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    way = build_way(kind, config, folder)
    # Told from here: what this process has set is what the numbers depend on.
    pipe.send((way.name, torch.get_num_threads(), isinstance(way, WholeWay)))
    while True:
        try:
            request = pipe.recv()
        except EOFError:
            return
        pipe.send(getattr(way, request)())
