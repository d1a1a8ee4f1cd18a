"""Training speed: our loop beside the plain way of training, on the same network and images.

    python -m benchmarks.train --root FOLDER     cats and dogs; or set $RESNET_SWEEP_TEST_DATA

ResNet-50 of the study trains on two classes in four ways:

    plain           a DataLoader with a worker a core that decodes JPEGs on every access,
                    torchvision's transforms, NCHW, fp32, loss and accuracy read every step
    plain+cl+bf16   the same in channels_last and in the precision that ours uses (the name
                    tells it: a machine without bf16 instructions trains in fp32)
    ours            an epoch of ``Trainer``, from the decoded cache to the row of metrics.csv
    ceiling         ``TrainStep`` on one batch that is on the device already: no data, no metrics

A block is the same number of images for every way. After one block each to warm up, the ways
run one after another in every round, and each round starts with another way. Ratios are taken
round by round, because what slows a machine down for a minute slows both sides of a ratio.
It does not slow them alike, though: the machine should be idle, above all for the fp32 way,
whose threads wait for one another.

The time of a block is the wall time of its training loop, with the wait for its first batch.
Decoding into the cache happens once, before, and is not in it; how long it took is reported.
Files are warm for all ways: the warm-up has read every one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import platform
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from resnet_sweep.config import Config, check_config
from resnet_sweep.data import ImageData, open_data
from resnet_sweep.data.config import AugmentConfig, CatsDogsConfig
from resnet_sweep.data.sources import build_source
from resnet_sweep.faults import UserError
from resnet_sweep.models import build_model
from resnet_sweep.training.config import ConstantConfig, Recipe, SgdConfig, TrainerConfig
from resnet_sweep.training.device import resolve_precision, set_process_state
from resnet_sweep.training.folder import RunFolder
from resnet_sweep.training.loop import Trainer
from resnet_sweep.training.optimizers import build_optimizer
from resnet_sweep.training.progress import ProgressView
from resnet_sweep.training.step import TrainStep

ROOT_VARIABLE = "RESNET_SWEEP_TEST_DATA"
# What ours should reach at least.
WANTED_OVER_PLAIN = {64: 1.7, 224: 2.5}
WANTED_OVER_TUNED = 1.0
WANTED_OVER_CEILING = 0.95
# Images from here on take so long that a CPU gets fewer of them.
LARGE_SIZE = 128
# How the settings that a fault names are called on this command line.
OPTIONS = {
    "data.root": "--root",
    "data.image_size": "--sizes",
    "data.num_train": "--images",
    "trainer.batch_size": "--batch-size",
}


@dataclass(frozen=True)
class Block:
    """One timed block of one way.

    Attributes:
        images: Images that were trained on.
        seconds: Wall time of the training loop.
        loss: Mean over the block; of the ceiling, which sums nothing, the last step's.
    """

    images: int
    seconds: float
    loss: float

    @property
    def images_per_s(self) -> float:
        """Speed of the block."""
        return self.images / self.seconds


class Way(ABC):
    """One way to train; its network and optimizer live from block to block."""

    name: str

    @abstractmethod
    def block(self) -> Block:
        """Trains on one block of images and times it."""


class JpegFiles(Dataset[tuple[Tensor, int]]):
    """Images decoded on every access."""

    def __init__(
        self, paths: Sequence[str], labels: Sequence[int], transform: Callable[[Any], Tensor]
    ) -> None:
        self._paths, self._labels, self._transform = paths, labels, transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self._paths[index]) as image:
            return self._transform(image.convert("RGB")), self._labels[index]


Loader = DataLoader[tuple[Tensor, int]]


class PlainWay(Way):
    """The loop of the tutorials, as it is or with channels_last and autocast."""

    def __init__(
        self,
        model: nn.Module,
        loader: Loader,
        *,
        lr: float,
        device: torch.device,
        channels_last: bool = False,
        precision: str = "fp32",
    ) -> None:
        self.name = f"plain+cl+{precision}" if channels_last else "plain"
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._precision, self._loader, self._device = precision, loader, device
        self._model = model.to(device, memory_format=self._format)  # type: ignore[call-overload]
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=lr, momentum=0.9)

    def block(self) -> Block:
        """One pass over the loader, from the call of iter(): no batch is there before."""
        synchronize(self._device)
        started = time.perf_counter()
        loss_sum = 0.0
        num_correct = num_images = 0
        for images, labels in self._loader:
            loss, correct = self._step(images, labels)
            loss_sum += loss.item() * len(labels)
            num_correct += int(correct.item())
            num_images += len(labels)
        synchronize(self._device)
        return Block(num_images, time.perf_counter() - started, loss_sum / num_images)

    def _step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        images = images.to(self._device, non_blocking=True)
        labels = labels.to(self._device, non_blocking=True)
        images = images.to(memory_format=self._format)
        self._optimizer.zero_grad()
        bf16 = self._precision == "bf16"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=bf16):
            logits = self._model(images)
            loss = F.cross_entropy(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss, (logits.argmax(dim=1) == labels).sum()


class OursWay(Way):
    """Epochs of a Trainer, one a block, as ``fit`` runs them."""

    name = "ours"

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._epoch = 0
        self._view = ProgressView(trainer.config.epochs, len(trainer.train_batches), 1, None)

    def block(self) -> Block:
        """One epoch; the time is the training phase's, as it is written to metrics.csv.

        Not ``fit``, which would run all epochs without a pause for the other ways.
        """
        self._epoch += 1
        synchronize(self._trainer.device)
        # The phase ends with the read-back of the loss, which waits for the device.
        row, _ = self._trainer._one_epoch(self._epoch, self._view, lambda: None)
        num_images = round(row["images_per_s"] * row["seconds"])
        return Block(num_images, row["seconds"], row["train_loss"])


class CeilingWay(Way):
    """Our step alone, on the same batch again and again."""

    name = "ceiling"

    def __init__(self, model: nn.Module, trainer: Trainer, config: Config) -> None:
        model = model.to(trainer.device)
        if config.trainer.channels_last:
            model = model.to(memory_format=torch.channels_last)
        optimizer = build_optimizer(config.optimizer, model.parameters())
        self._step = TrainStep(model, optimizer, precision=trainer.precision)
        self._images, self._labels = next(iter(trainer.train_batches.epoch(0)))
        self._num_steps = len(trainer.train_batches)
        self._lr, self._device = config.optimizer.lr, trainer.device

    def block(self) -> Block:
        """As many steps as an epoch of ours has."""
        loss = torch.tensor(math.nan)
        synchronize(self._device)
        started = time.perf_counter()
        for _ in range(self._num_steps):
            loss, _ = self._step(self._images, self._labels, self._lr)
        synchronize(self._device)
        seconds = time.perf_counter() - started
        return Block(self._num_steps * len(self._labels), seconds, loss.item())


@dataclass(frozen=True)
class Case:
    """What is measured at one size of images.

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


@dataclass(frozen=True)
class Measured:
    """The blocks of one case: by the way's name, one a round."""

    case: Case
    blocks: dict[str, list[Block]]

    def ratios(self) -> list[tuple[str, float | None, list[float]]]:
        """Ours over each other way: its name, what is wanted, and one ratio a round."""
        plain, tuned, ours, ceiling = self.blocks
        wanted = {
            plain: WANTED_OVER_PLAIN.get(self.case.size),
            tuned: WANTED_OVER_TUNED,
            ceiling: WANTED_OVER_CEILING,
        }
        return [
            (
                f"{ours} / {other}",
                least,
                [
                    a.images_per_s / b.images_per_s
                    for a, b in zip(self.blocks[ours], self.blocks[other], strict=True)
                ],
            )
            for other, least in wanted.items()
        ]


def synchronize(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def build_config(args: argparse.Namespace, size: int, cache: Path) -> Config:
    """The configuration of our run: the schema's defaults, and the plain way's learning rate."""
    rounds, images = defaults_of(args, size)
    return Config(
        data=CatsDogsConfig(
            root=args.root,
            image_size=size,
            num_train=images,
            # The least there is: the training phase is timed without the validation.
            num_val=2,
            # Kaggle's own set has broken files; the plain ways read only what we could decode.
            on_corrupt="skip",
            cache_dir=str(cache),
            augment=AugmentConfig(horizontal_flip=True),
        ),
        optimizer=SgdConfig(lr=3e-3),
        scheduler=ConstantConfig(),
        trainer=TrainerConfig(
            epochs=rounds + 1,  # the first one warms up
            batch_size=args.batch_size,
            device=args.device,
            threads=args.threads,
        ),
    )


def defaults_of(args: argparse.Namespace, size: int) -> tuple[int, int]:
    """Rounds and images of a block, where the command line does not tell.

    On two cores all of it takes less than eight minutes. A GPU needs more images, or the
    wait for the first batch would be most of a block of the plain ways.
    """
    large = size >= LARGE_SIZE
    rounds = args.rounds or (3 if large else 5)
    default_batches = 100 if args.device == "cuda" else 4 if large else 20
    return rounds, args.images or default_batches * args.batch_size


def open_case(args: argparse.Namespace, size: int, cache: Path) -> Case:
    """Decodes the images of one size.

    Raises:
        DataError: The images are missing, too few, broken or in no known layout.
    """
    config = build_config(args, size, cache)
    started = time.perf_counter()
    data = open_data(config.data)
    return Case(size, config.trainer.epochs - 1, config, data, time.perf_counter() - started)


def build_ways(case: Case, folder: Path) -> list[Way]:
    """The four ways: plain, plain with our memory format and precision, ours, ceiling."""
    config = case.config
    device = torch.device(config.trainer.device)
    precision = resolve_precision(config.trainer.precision, device)
    lr = config.optimizer.lr
    loader = build_loader(case, device)
    trainer = Trainer(
        model=network(case),
        data=case.data,
        recipe=Recipe(config.optimizer, config.scheduler, config.trainer, config.objective),
        augment=config.data.augment,
        folder=RunFolder(folder),
        device=device,
        precision=precision,
        settings=dataclasses.asdict(config),
    )
    return [
        PlainWay(network(case), loader, lr=lr, device=device),
        PlainWay(
            network(case), loader, lr=lr, device=device, channels_last=True, precision=precision
        ),
        OursWay(trainer),
        CeilingWay(network(case), trainer, config),
    ]


def network(case: Case) -> nn.Module:
    """ResNet-50 of the study, with the same weights at every call."""
    config = case.config
    torch.manual_seed(config.trainer.seed)
    return build_model(config.model, len(case.data.classes), config.data.channels, case.size)


def build_loader(case: Case, device: torch.device) -> Loader:
    """The plain ways' loader, over the files that our cache was decoded from."""
    train = case.data.train
    location = {sample.name: sample.location for sample in build_source(case.config.data).samples()}
    transform = transforms.Compose(
        [
            transforms.Resize(case.size),
            transforms.CenterCrop(case.size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(case.data.mean.tolist(), case.data.std.tolist()),
        ]
    )
    files = JpegFiles([location[name] for name in train.names], train.labels.tolist(), transform)
    return DataLoader(
        files,
        batch_size=case.config.trainer.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=num_cores(),
        # The workers of both plain ways live from the warm-up to the end.
        persistent_workers=True,
        pin_memory=device.type == "cuda",
    )


def measure(case: Case, folder: Path) -> Measured:
    """Warms up, then times every way once a round."""
    # Threads and cuDNN's choices are the process's, so they are the same for every way.
    set_process_state(case.config.trainer, torch.device(case.config.trainer.device))
    ways = build_ways(case, folder)
    tell(f"{case.size} pixels, warm-up")
    for way in ways:
        way.block()
    blocks: dict[str, list[Block]] = {way.name: [] for way in ways}
    for i in range(case.rounds):
        first = i % len(ways)
        for way in ways[first:] + ways[:first]:
            block = way.block()
            # Arithmetic on NaN or infinity has a speed of its own.
            assert math.isfinite(block.loss), f"{way.name} diverged"
            blocks[way.name].append(block)
        speeds = ", ".join(f"{name} {done[-1].images_per_s:.1f}" for name, done in blocks.items())
        tell(f"{case.size} pixels, round {i + 1} of {case.rounds}: {speeds} images/s")
    return Measured(case, blocks)


def tell(line: str) -> None:
    """Shows progress, apart from the result on stdout."""
    print(line, file=sys.stderr, flush=True)


def machine(config: Config) -> dict[str, Any]:
    """What the numbers depend on beside the code; read after the threads are set."""
    device = torch.device(config.trainer.device)
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": num_cores(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "device": device.type,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "precision": resolve_precision(config.trainer.precision, device),
        "batch_size": config.trainer.batch_size,
    }


def cpu_model() -> str:
    """The processor's name, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def header(facts: dict[str, Any]) -> str:
    """The machine and the settings, as two lines."""
    gpu = f", {facts['gpu']}" if facts["gpu"] else ", no GPU in use"
    return (
        f"ResNet-50, batch {facts['batch_size']}, SGD, ours in {facts['precision']}, "
        f"{facts['date']}\n"
        f"{facts['cpu']}, {facts['cores']} cores{gpu}; "
        f"torch {facts['torch']}, {facts['threads']} threads"
    )


def table(measured: Measured) -> str:
    """Speeds and ratios of one size, each as median (min - max) over the rounds."""
    case = measured.case
    lines = [
        f"{case.size} pixels, {case.config.data.num_train} images a block, {case.rounds} rounds; "
        f"decoding them once took {case.decode_s:.1f} s",
        f"  {'way':<24}images/s",
    ]
    for name, blocks in measured.blocks.items():
        lines.append(f"  {name:<24}{spread([block.images_per_s for block in blocks], 1)}")
    lines.append(f"  {'ratio, round by round':<50}wanted")
    for name, wanted, ratios in measured.ratios():
        least = "-" if wanted is None else f"{wanted:.2f}"
        lines.append(f"  {name:<24}{spread(ratios, 2):<26}{least}")
    return "\n".join(lines)


def spread(values: Sequence[float], digits: int) -> str:
    """Median (min - max)."""
    middle, least, most = (f"{v:.{digits}f}" for v in (median(values), min(values), max(values)))
    return f"{middle:>6} ({least} - {most})"


def as_json(facts: dict[str, Any], results: Sequence[Measured]) -> dict[str, Any]:
    """The raw numbers."""
    return {
        "machine": facts,
        "sizes": [
            {
                "size": measured.case.size,
                "rounds": measured.case.rounds,
                "decode_s": measured.case.decode_s,
                "ways": {
                    name: [
                        {**dataclasses.asdict(block), "images_per_s": block.images_per_s}
                        for block in blocks
                    ]
                    for name, blocks in measured.blocks.items()
                },
                "ratios": {
                    name: {"wanted": wanted, "rounds": ratios}
                    for name, wanted, ratios in measured.ratios()
                },
            }
            for measured in results
        ],
    }


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train",
        description="Training speed of ours beside the plain way.",
    )
    add = parser.add_argument
    add(
        "--root",
        default=os.environ.get(ROOT_VARIABLE),
        help=f"folder of cats and dogs, unpacked (default: ${ROOT_VARIABLE})",
    )
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    add("--threads", type=at_least(1), help="CPU threads of the arithmetic (default: torch's)")
    add("--sizes", type=at_least(1), nargs="+", default=[64, 224], help="pixels (default: 64 224)")
    add("--rounds", type=at_least(1), help="blocks of each way (default: 5, from 128 pixels on 3)")
    add(
        "--images",
        type=at_least(1),
        help="images of a block, a multiple of the batch size (default: 20 batches, from 128 "
        "pixels on 4, on a GPU 100)",
    )
    add("--batch-size", type=at_least(2), default=32, help="default: %(default)s")
    add("--json", type=Path, metavar="FILE", help="where to write the raw numbers")
    return parser


def at_least(least: int) -> Callable[[str], int]:
    """A type of argparse: whole numbers from ``least`` on."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
        return value

    return number


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the program with exit code 2 where an argument is wrong; resolves the device."""
    if not args.root:
        parser.error(f"no images: set --root to a folder of cats and dogs, or ${ROOT_VARIABLE}")
    if Path(args.root).is_file():
        parser.error(f"--root {args.root}: must be a folder; the plain way reads single files")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no such device here")
    if args.device == "auto":
        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.images is not None and args.images % args.batch_size:
        parser.error(f"--images {args.images}: must be a multiple of --batch-size")
    if args.json is not None and not args.json.parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist")
    for size in args.sizes:
        faults = check_config(build_config(args, size, Path("unused")))
        if faults:
            parser.error(in_options("; ".join(map(str, faults))))


def in_options(text: str) -> str:
    """Names the options of this program where a fault names settings."""
    for key, option in OPTIONS.items():
        text = text.replace(f"{key}=", f"{option} ").replace(key, option)
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; 0, or 2 for wrong arguments."""
    parser = build_parser()
    args = parser.parse_args(argv)
    check(parser, args)
    with TemporaryDirectory() as folder:
        tell("decoding the images into a temporary cache")
        try:
            cases = [open_case(args, size, Path(folder, "cache")) for size in args.sizes]
        except UserError as error:
            parser.error(in_options(str(error)))
        results = [measure(case, Path(folder, f"run-{case.size}")) for case in cases]
    facts = machine(cases[0].config)
    if args.json is not None:
        args.json.write_text(json.dumps(as_json(facts, results), indent=1) + "\n")
    print("\n\n".join([header(facts), *map(table, results)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
