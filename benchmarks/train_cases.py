"""What ``benchmarks/train.py`` measures: its cases, the rounds of a case, what is wanted."""

from __future__ import annotations

import argparse
import math
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.figures import tell
from benchmarks.ways import V1_5, WAYS, Block, WayProcess, network
from resnet_sweep.config import Config
from resnet_sweep.data import ImageData, open_data
from resnet_sweep.data.config import AugmentConfig, CatsDogsConfig
from resnet_sweep.training.config import ConstantConfig, SgdConfig, TrainerConfig
from resnet_sweep.training.peaks import measure_peaks
from resnet_sweep.training.roofline import Peaks, Roofline, network_roofline

# Which ways are compared, ours first: both sides of a ratio train the same network.
PAIRS = (
    ("ours", "plain"),
    ("ours", "tuned"),
    ("ours_v1.5", "torchvision"),
    ("ours_v1.5", "timm"),
    ("ours", "ceiling"),
)
# Ways whose network is not the study's.
V1_5_WAYS = ("torchvision", "timm", "ours_v1.5")
# What ours should reach at least, by device, the other way, and pixels (None: any).
WANTED: dict[tuple[str, str, int | None], float] = {
    ("cpu", "plain", 64): 1.7,
    ("cpu", "plain", 224): 2.5,
    ("cpu", "tuned", None): 1.0,
    ("cpu", "ceiling", None): 0.95,
    ("cuda", "plain", 224): 5.0,
    ("cuda", "timm", 224): 1.3,
    ("cuda", "ceiling", None): 0.95,
}
# Of a GPU's roofline, at this size and from this batch on.
WANTED_ROOFLINE_SHARE, ROOFLINE_SIZE, LARGE_BATCH = 0.6, 224, 128
# Images from here on take so long that a CPU gets fewer of them.
LARGE_SIZE = 128


@dataclass(frozen=True)
class Case:
    """What is measured at one size of images and of batches.

    Attributes:
        size: Height and width in pixels.
        rounds: Timed blocks of each way.
        config: Of our run.
        data: The decoded images.
        decode_s: Seconds it took to list and decode them, which no block contains.
    """

    size: int
    rounds: int
    config: Config
    data: ImageData
    decode_s: float

    @property
    def batch_size(self) -> int:
        """Images a step."""
        return self.config.trainer.batch_size


@dataclass(frozen=True)
class WayFound:
    """What was measured of one way.

    Attributes:
        name: The way's, for people.
        num_threads: CPU threads of its arithmetic.
        blocks: One a round.
        validations: One a round; of whole ways.
        checkpoints_ms: One a round; of whole ways.
        peak_memory_mib: Of the GPU, else of the way's own process without its loader's.
        roofline: Of a step on its network.
    """

    name: str
    num_threads: int
    blocks: list[Block]
    validations: list[Block]
    checkpoints_ms: list[float]
    peak_memory_mib: float
    roofline: Roofline

    def roofline_share(self, batch_size: int) -> list[float]:
        """The share of the roofline that each round has reached."""
        return [self.roofline.share(batch_size / block.images_per_s) for block in self.blocks]


@dataclass(frozen=True)
class Measured:
    """What was measured of one case.

    Attributes:
        case: Which one.
        ways: By kind, in the order of ``WAYS``.
    """

    case: Case
    ways: dict[str, WayFound]

    def ratios(self) -> list[tuple[str, float | None, list[float]]]:
        """Ours over each other way: its name, what is wanted, and one ratio a round."""
        device = self.case.config.trainer.device
        found = []
        for ours, other in PAIRS:
            if ours in self.ways and other in self.ways:
                a, b = self.ways[ours], self.ways[other]
                pairs = zip(a.blocks, b.blocks, strict=True)
                wanted = WANTED.get((device, other, None))
                found.append(
                    (
                        f"{a.name} / {b.name}",
                        WANTED.get((device, other, self.case.size), wanted),
                        [one.images_per_s / two.images_per_s for one, two in pairs],
                    )
                )
        return found

    @property
    def wanted_roofline_share(self) -> float | None:
        """The least share of the roofline that ours should reach here."""
        case = self.case
        large = case.size == ROOFLINE_SIZE and case.batch_size >= LARGE_BATCH
        return WANTED_ROOFLINE_SHARE if large and case.config.trainer.device == "cuda" else None


def build_config(args: argparse.Namespace, size: int, batch_size: int, cache: Path) -> Config:
    """The configuration of our run: the schema's defaults, and the plain way's learning rate."""
    return Config(
        data=CatsDogsConfig(
            root=args.root,
            image_size=size,
            num_train=images_of_block(args, size),
            num_val=images_of_validation(args, size),
            # Kaggle's own set has broken files; the plain ways read only what we could decode.
            on_corrupt="skip",
            cache_dir=str(cache),
            augment=AugmentConfig(horizontal_flip=True),
        ),
        optimizer=SgdConfig(lr=3e-3),
        scheduler=ConstantConfig(),
        trainer=TrainerConfig(
            epochs=rounds_of(args, size) + 1,  # the first one warms up
            batch_size=batch_size,
            device=args.device,
            threads=args.threads,
            compile="always" if args.compile else "never",
        ),
    )


def rounds_of(args: argparse.Namespace, size: int) -> int:
    """Rounds, where the command line does not tell."""
    return int(args.rounds or (3 if size >= LARGE_SIZE else 5))


def images_of_block(args: argparse.Namespace, size: int) -> int:
    """Images of a block, where the command line does not tell: full batches of every size.

    A GPU needs more of them than a CPU, or the wait for the first batch would be most of a
    block of the ways that decode; so many are about the study's own epoch.
    """
    if args.images:
        return int(args.images)
    least = 3500 if args.device == "cuda" else 128 if size >= LARGE_SIZE else 640
    step = math.lcm(*args.batch_sizes)
    return -(-least // step) * step


def images_of_validation(args: argparse.Namespace, size: int) -> int:
    """Images of a validation, where the command line does not tell."""
    usual = 512 if args.device == "cuda" else 64 if size >= LARGE_SIZE else 256
    return int(args.val_images or usual)


def open_cases(args: argparse.Namespace, cache: Path) -> list[Case]:
    """Decodes the images of every size.

    Raises:
        DataError: The images are missing, too few, broken or in no known layout.
    """
    cases = []
    for size in args.sizes:
        decode_s: float | None = None
        for batch_size in args.batch_sizes:
            config = build_config(args, size, batch_size, cache)
            started = time.perf_counter()
            data = open_data(config.data)
            # The other batches find them decoded.
            decode_s = decode_s or time.perf_counter() - started
            cases.append(Case(size, rounds_of(args, size), config, data, decode_s))
    return cases


def measure_machine(device: torch.device, precision: str, threads: int | None) -> Peaks:
    """The peaks of the device, measured before anything else runs on it."""
    tell("measuring the peaks of the device")
    peaks = measure_peaks(device, precision, threads)
    if device.type == "cuda":
        # The ways have the memory to themselves.
        torch.cuda.empty_cache()
    return peaks


def measure(case: Case, kinds: list[str], folder: Path, peaks: Peaks, precision: str) -> Measured:
    """Warms up, then times every way once a round, each in its own process.

    Ways of one network at a time, so that no more of them need memory than are compared.

    Args:
        case: What is measured.
        kinds: The ways, some of ``WAYS``.
        folder: For what the ways write.
        peaks: Of the device.
        precision: Of the arithmetic of ours, for which the peaks were measured.
    """
    found: dict[str, WayFound] = {}
    for has_v1_5 in (False, True):
        group = [kind for kind in kinds if (kind in V1_5_WAYS) == has_v1_5]
        if group:
            found |= _measure_together(case, group, folder, peaks, precision)
    return Measured(case, {kind: found[kind] for kind in WAYS if kind in found})


def _measure_together(
    case: Case, kinds: list[str], folder: Path, peaks: Peaks, precision: str
) -> dict[str, WayFound]:
    told = f"{case.size} pixels, batch {case.batch_size}"
    with ExitStack() as stack:
        ways = [stack.enter_context(WayProcess(kind, case.config, folder / kind)) for kind in kinds]
        tell(f"{told}, warm-up of {', '.join(kinds)}")
        rounds = _Rounds(ways)
        rounds.warm_up()
        for i in range(case.rounds):
            rounds.take(i)
            tell(f"{told}, round {i + 1} of {case.rounds}: {rounds.newest()} images/s")
        # Before the checkpoints, whose copies on the host would count.
        memory_mib = {way.kind: way.peak_memory_mib() for way in ways}
        tell(f"{told}, checkpoints")
        checkpoints_ms = _checkpoints_ms([way for way in ways if way.is_whole], case.rounds)
    return {
        way.kind: WayFound(
            way.name,
            way.num_threads,
            rounds.blocks[way.kind],
            rounds.validations[way.kind],
            checkpoints_ms.get(way.kind, []),
            memory_mib[way.kind],
            _roofline(case, way.kind, peaks, precision),
        )
        for way in ways
    }


class _Rounds:
    """Blocks and validations of all ways, in turn."""

    def __init__(self, ways: list[WayProcess]) -> None:
        self._ways = ways
        self.blocks: dict[str, list[Block]] = {way.kind: [] for way in ways}
        self.validations: dict[str, list[Block]] = {way.kind: [] for way in ways}

    def warm_up(self) -> None:
        for way in self._ways:
            way.block()
            if way.is_whole:
                way.validation()

    def take(self, number: int) -> None:
        """One block and validation of every way; each round starts with another one."""
        first = number % len(self._ways)
        for way in self._ways[first:] + self._ways[:first]:
            self.blocks[way.kind].append(way.block())
            if way.is_whole:
                self.validations[way.kind].append(way.validation())

    def newest(self) -> str:
        return ", ".join(
            f"{way.name} {self.blocks[way.kind][-1].images_per_s:.1f}" for way in self._ways
        )


def _checkpoints_ms(ways: list[WayProcess], rounds: int) -> dict[str, list[float]]:
    for way in ways:
        way.checkpoint_ms()
    found: dict[str, list[float]] = {way.kind: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            found[way.kind].append(way.checkpoint_ms())
    return found


def _roofline(case: Case, kind: str, peaks: Peaks, precision: str) -> Roofline:
    model = network(case.config, case.data, V1_5 if kind in V1_5_WAYS else None)
    shape = (case.config.data.channels, case.size, case.size)
    return network_roofline(model, shape, case.batch_size, precision, peaks)
