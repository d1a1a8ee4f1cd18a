"""Training speed: our loop beside the plain way, torchvision's recipe and timm's loop.

    python -m benchmarks.train --root FOLDER     cats and dogs; or set $RESNET_SWEEP_TEST_DATA
    python -m benchmarks.train --root FOLDER --device cuda

ResNet-50 trains on two classes in these ways (``--ways`` chooses some of them):

    plain         a DataLoader with a worker a core that decodes JPEGs on every access,
                  torchvision's transforms, NCHW, fp32, loss and accuracy read every step
    tuned         the same in channels_last and in the precision that ours uses (its name in
                  the table tells which: a machine without bf16 instructions trains in fp32)
    torchvision   torchvision's reference recipe, see ``ways/torchvision_recipe.py``
    timm          timm's loader, network and loop, see ``ways/timm_way.py``; left out where
                  timm is not installed
    ours          an epoch of ``Trainer``, from the decoded cache to the row of metrics.csv
    ours_v1.5     the same with the network that torchvision and timm have
    ceiling       ``TrainStep`` on one batch that is on the device already: no data, no metrics

Every way has a process of its own, which rests while the others train. A block is the same
number of images for every way. Ways that train the same network are measured together: after
one block each to warm up, they run one after another in every round, and each round starts with
another way. Ratios are taken round by round, because what slows a machine down for a minute
slows both sides of a ratio. It does not slow them alike, though: the machine should be idle,
above all for the fp32 way, whose threads wait for one another.

The time of a block is the wall time of its training loop, with the wait for its first batch.
Decoding into the cache happens once, before, and is not in it; how long it took is reported.
Files are warm for all ways: the warm-up has read every one. Validation and checkpoints are rows
of their own, for the plain ways and for ours: a pass over images that training does not see,
and the time for which the training thread stands still when a checkpoint is due (what is
written beside it after that is not in it).

Memory is the most that tensors took on a GPU, or the most that the way's own process had of the
host, without its loader's workers. The roofline is that of a step on the way's network in the
precision of ours, against peaks that are measured first, so a way in fp32 is held against bf16.
Where the machine was busy then, or a compiled network fuses operations, a share may pass 100%.
On a GPU fp32 is what torch makes of it: TF32 in convolutions.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.figures import at_least, tell
from benchmarks.options import ROOT_VARIABLE
from benchmarks.train_cases import build_config, measure, measure_machine, open_cases
from benchmarks.train_table import as_json, head, machine, table
from benchmarks.ways import WAYS, has_timm
from resnet_sweep.config import check_config
from resnet_sweep.faults import UserError
from resnet_sweep.training.device import resolve_device, resolve_precision

STUDY_BATCH = 32
# Up to four ways hold their memory at the same time: at 224 pixels 256 images a batch should take
# some 70 GiB, from the sizes of the activations, so a smaller GPU gets half of them.
LARGE_BATCH, LARGE_BATCH_GIB = 256, 120
# How the settings that a fault names are called on this command line.
OPTIONS = {
    "data.root": "--root",
    "data.image_size": "--sizes",
    "data.num_train": "--images",
    "data.num_val": "--val-images",
    "trainer.batch_size": "--batch-sizes",
    "trainer.threads": "--threads",
}
WITHOUT_TIMM = "timm is not installed: its way is left out (pip install timm)"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train",
        description="Training speed of ours beside other ways.",
    )
    add = parser.add_argument
    add(
        "--root",
        default=os.environ.get(ROOT_VARIABLE),
        help=f"folder of cats and dogs, unpacked (default: ${ROOT_VARIABLE})",
    )
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    add("--ways", choices=WAYS, nargs="+", help="default: all of them")
    add("--threads", type=at_least(1), help="CPU threads of the arithmetic (default: torch's)")
    add("--sizes", type=at_least(1), nargs="+", default=[64, 224], help="pixels (default: 64 224)")
    add(
        "--batch-sizes",
        type=at_least(2),
        nargs="+",
        help=f"images a step (default: {STUDY_BATCH}; on a GPU also {LARGE_BATCH}, or "
        f"{LARGE_BATCH // 2} where it has less than {LARGE_BATCH_GIB} GiB)",
    )
    add("--rounds", type=at_least(1), help="blocks of each way (default: 5, from 128 pixels on 3)")
    add(
        "--images",
        type=at_least(1),
        help="images of a block, a multiple of every batch size (default: 640, from 128 pixels "
        "on 128, on a GPU 3,584, rounded up to full batches)",
    )
    add(
        "--val-images",
        type=at_least(2),
        help="images of a validation (default: 256, from 128 pixels on 64, on a GPU 512)",
    )
    add(
        "--compile",
        action="store_true",
        help="put ours and timm's network through torch.compile; its time is in the warm-up",
    )
    add("--json", type=Path, metavar="FILE", help="where to write the raw numbers")
    return parser


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the program with exit code 2 where an argument is wrong; fills in the defaults."""
    if not args.root:
        parser.error(f"no images: set --root to a folder of cats and dogs, or ${ROOT_VARIABLE}")
    if Path(args.root).is_file():
        parser.error(f"--root {args.root}: must be a folder; the plain way reads single files")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no such device here")
    if args.device == "auto":
        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.ways and "timm" in args.ways and not has_timm():
        parser.error("--ways timm: timm is not installed (pip install timm)")
    args.ways = [way for way in WAYS if way in (args.ways or WAYS)]
    if not has_timm() and "timm" in args.ways:
        args.ways.remove("timm")
        tell(WITHOUT_TIMM)
    args.batch_sizes = args.batch_sizes or usual_batches(args.device)
    for batch_size in args.batch_sizes:
        if args.images is not None and args.images % batch_size:
            parser.error(f"--images {args.images}: must be a multiple of --batch-sizes")
    if args.json is not None and not args.json.parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist")
    check_settings(parser, args)


def check_settings(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the program with exit code 2 where a setting of our runs is wrong."""
    for size in args.sizes:
        for batch_size in args.batch_sizes:
            faults = check_config(build_config(args, size, batch_size, Path("unused")))
            if faults:
                parser.error(in_options("; ".join(map(str, faults))))


def usual_batches(device: str) -> list[int]:
    """The study's batch, and on a GPU the large one that fits."""
    if device != "cuda":
        return [STUDY_BATCH]
    fits = torch.cuda.get_device_properties(0).total_memory >= LARGE_BATCH_GIB * 2**30
    return [STUDY_BATCH, LARGE_BATCH if fits else LARGE_BATCH // 2]


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
    device = resolve_device(args.device)
    precision = resolve_precision("auto", device)
    results = []
    with TemporaryDirectory() as folder:
        tell("decoding the images into a temporary cache")
        try:
            cases = open_cases(args, Path(folder, "cache"))
        except UserError as error:
            parser.error(in_options(str(error)))
        peaks = measure_machine(device, precision, args.threads)
        facts = machine(device, precision, args.compile, peaks)
        for i, case in enumerate(cases):
            results.append(measure(case, args.ways, Path(folder, f"case-{i}"), peaks, precision))
            if args.json is not None:
                # After every case: a way may end for want of memory in a later one.
                args.json.write_text(json.dumps(as_json(facts, results), indent=1) + "\n")
    lines = [head(facts), *map(table, results)]
    if not has_timm():
        lines.append(WITHOUT_TIMM)
    print("\n\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
