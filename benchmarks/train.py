"""Training speed: our loop beside the plain way of training, on the same network and images.

    python -m benchmarks.train --root FOLDER     cats and dogs; or set $RESNET_SWEEP_TEST_DATA

ResNet-50 of the study trains on two classes in four ways:

    plain           a DataLoader with a worker a core that decodes JPEGs on every access,
                    torchvision's transforms, NCHW, fp32, loss and accuracy read every step
    plain+cl+bf16   the same in channels_last and in the precision that ours uses (the name
                    tells it: a machine without bf16 instructions trains in fp32)
    ours            an epoch of ``Trainer``, from the decoded cache to the row of metrics.csv
    ceiling         ``TrainStep`` on one batch that is on the device already: no data, no metrics

Every way has a process of its own, which rests while the others train. A block is the same
number of images for every way. After one block each to warm up, the ways run
one after another in every round, and each round starts with another way. Ratios are taken
round by round, because what slows a machine down for a minute slows both sides of a ratio. It
does not slow them alike, though: the machine should be idle, above all for the fp32 way, whose
threads wait for one another.

The time of a block is the wall time of its training loop, with the wait for its first batch.
Decoding into the cache happens once, before, and is not in it; how long it took is reported.
Files are warm for all ways: the warm-up has read every one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.figures import at_least, cpu_model, spread, tell
from benchmarks.ways import WAYS, Block, WayProcess
from resnet_sweep.config import Config, check_config
from resnet_sweep.data import ImageData, open_data
from resnet_sweep.data.build import num_cores
from resnet_sweep.data.config import AugmentConfig, CatsDogsConfig
from resnet_sweep.faults import UserError
from resnet_sweep.training.config import ConstantConfig, SgdConfig, TrainerConfig
from resnet_sweep.training.device import resolve_precision

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
    """The blocks of one case.

    Attributes:
        case: What was measured.
        blocks: By the way's name, one a round.
        num_threads: CPU threads of the process of ours.
    """

    case: Case
    blocks: dict[str, list[Block]]
    num_threads: int

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


def measure(case: Case, folder: Path) -> Measured:
    """Warms up, then times every way once a round, each in its own process."""
    with ExitStack() as stack:
        ways = [stack.enter_context(WayProcess(kind, case.config, folder / kind)) for kind in WAYS]
        tell(f"{case.size} pixels, warm-up")
        for way in ways:
            way.block()
        blocks: dict[str, list[Block]] = {way.name: [] for way in ways}
        for i in range(case.rounds):
            first = i % len(ways)
            for way in ways[first:] + ways[:first]:
                blocks[way.name].append(way.block())
            speeds = ", ".join(f"{name} {b[-1].images_per_s:.1f}" for name, b in blocks.items())
            tell(f"{case.size} pixels, round {i + 1} of {case.rounds}: {speeds} images/s")
        return Measured(case, blocks, ways[WAYS.index("ours")].num_threads)


def machine(config: Config, num_threads: int) -> dict[str, Any]:
    """What the numbers depend on beside the code."""
    device = torch.device(config.trainer.device)
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": num_cores(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "device": device.type,
        "torch": torch.__version__,
        "threads": num_threads,
        "precision": resolve_precision(config.trainer.precision, device),
        "batch_size": config.trainer.batch_size,
    }


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
    facts = machine(cases[0].config, results[0].num_threads)
    if args.json is not None:
        args.json.write_text(json.dumps(as_json(facts, results), indent=1) + "\n")
    print("\n\n".join([header(facts), *map(table, results)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
