"""What the benchmarks of whole commands share: options, images, the head of their tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.figures import at_least, cpu_model, num_usable_cores, tell
from benchmarks.measured import the_gpu
from resnet_sweep.data.config import CatsDogsConfig, check_data
from resnet_sweep.faults import UserError
from resnet_sweep.sweep.local.gpus import Gpu

ROOT_VARIABLE = "RESNET_SWEEP_TEST_DATA"
# How the settings that a fault names are called on these command lines.
_OPTIONS = {
    "data.root": "--root",
    "data.image_size": "--size",
    "data.num_train": "--images",
}


@dataclass(frozen=True)
class Images:
    """What a command trains on.

    Attributes:
        root: Folder of cats and dogs.
        size: Height and width in pixels.
        num_train: Training images.
        num_val: Validation images.
    """

    root: str
    size: int
    num_train: int
    num_val: int

    @classmethod
    def of(cls, args: argparse.Namespace, size: int) -> Images:
        """Those that were asked for, and a fifth as many for validation, as the study has it."""
        return cls(args.root, size, args.images, max(2, args.images // 10 * 2))

    @property
    def overrides(self) -> list[str]:
        """What is typed for them."""
        return [
            "data=cats_dogs",
            f"data.root={os.path.abspath(os.path.expanduser(self.root))}",
            f"data.image_size={self.size}",
            f"data.num_train={self.num_train}",
            f"data.num_val={self.num_val}",
            # Kaggle's own set has broken files.
            "data.on_corrupt=skip",
        ]

    def config(self, cache: Path) -> CatsDogsConfig:
        """The same for us, in a cache of decoded images."""
        return CatsDogsConfig(
            root=self.root,
            image_size=self.size,
            num_train=self.num_train,
            num_val=self.num_val,
            on_corrupt="skip",
            cache_dir=str(cache),
        )


def new_parser(name: str, description: str, quick: str) -> argparse.ArgumentParser:
    """A command line with the options that all have.

    Args:
        name: Of the module.
        description: Of the program.
        quick: What ``--quick`` stands for.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    add = parser.add_argument
    add(
        "--root",
        default=os.environ.get(ROOT_VARIABLE),
        help=f"folder of cats and dogs, unpacked (default: ${ROOT_VARIABLE})",
    )
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    add("--rounds", type=at_least(1), help="times that everything is measured")
    add("--quick", action="store_true", help=quick)
    add("--json", type=Path, metavar="FILE", help="where to write the raw numbers")
    return parser


def fill(args: argparse.Namespace, usual: dict[str, Any]) -> None:
    """Sets the options that were not typed."""
    for name, value in usual.items():
        if getattr(args, name) is None:
            setattr(args, name, value)


def check_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Gpu | None:
    """Ends the program with exit code 2 where an option is wrong; returns the GPU in use."""
    if not args.root:
        parser.error(f"no images: set --root to a folder of cats and dogs, or ${ROOT_VARIABLE}")
    if not Path(args.root).expanduser().is_dir():
        parser.error(f"--root {args.root}: is not a folder")
    if args.json is not None and not args.json.parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist")
    gpu = the_gpu() if args.device == "cuda" else None
    if args.device == "cuda" and gpu is None:
        parser.error("--device cuda: there is no such device here")
    return gpu


def decode(parser: argparse.ArgumentParser, images: Images, cache: Path, batch_size: int) -> float:
    """Fills a cache with decoded images, and ends the program with code 2 where it cannot.

    Returns:
        The seconds it took.
    """
    from resnet_sweep.data import open_data

    if images.num_train < batch_size:
        parser.error(f"--images {images.num_train}: must be at least one batch of {batch_size}")
    config = images.config(cache)
    faults = check_data(config)
    if faults:
        parser.error(_in_options("; ".join(map(str, faults))))
    tell(f"decoding {images.num_train + images.num_val} images of {images.size} pixels")
    began_s = time.monotonic()
    try:
        open_data(config)
    except UserError as error:
        parser.error(_in_options(str(error)))
    return time.monotonic() - began_s


def _in_options(text: str) -> str:
    for key, option in _OPTIONS.items():
        text = text.replace(f"{key}=", f"{option} ").replace(key, option)
    return text


def facts_of(images: Images | Sequence[Images], gpu: Gpu | None, *packages: str) -> dict[str, Any]:
    """What numbers depend on beside the code: machine, versions, images, date."""
    sets = [images] if isinstance(images, Images) else list(images)
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": num_usable_cores(),
        "gpu": _gpu_name(gpu),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("torch", "torchvision", *packages)},
        "images": [{**asdict(one), "root": Path(one.root).name} for one in sets],
    }


def header(title: str, facts: dict[str, Any]) -> str:
    """What was measured, when and on what: three lines."""
    versions = ", ".join(f"{name} {value}" for name, value in facts["versions"].items())
    gpu = facts["gpu"] or "no GPU in use"
    return (
        f"{title}, {facts['date']}\n"
        f"{facts['cpu']}, {facts['cores']} cores, {gpu}\n"
        f"Python {facts['python']}, {versions}"
    )


def publish(args: argparse.Namespace, raw: Mapping[str, Any], parts: Sequence[str]) -> None:
    """Writes the raw numbers where they were asked for, and prints the tables."""
    if args.json is not None:
        args.json.write_text(json.dumps(raw, indent=1) + "\n")
    print("\n\n".join(parts))


def _gpu_name(gpu: Gpu | None) -> str | None:
    if gpu is None:
        return None
    import pynvml

    pynvml.nvmlInit()
    try:
        name = pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid))
        return name if isinstance(name, str) else str(name, "utf-8")
    finally:
        pynvml.nvmlShutdown()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
