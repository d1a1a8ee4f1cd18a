"""From the command to the end of the first training step, part by part.

    python -m benchmarks.startup --root FOLDER                  cats and dogs; on two cores
    python -m benchmarks.startup --root FOLDER --device cuda    on the first visible GPU

    ours, warm     ``python -m resnet_sweep``: ResNet-50, batch 32, images decoded before
    ours, cold     the same with an empty cache of decoded images, and from a copy of our code
                   without compiled bytecode. Bytecode of others stays, and the system's page
                   cache is as warm as for the rest: to drop it takes an administrator
    plain          a script as short as they come: import torch and torchvision, build the same
                   network, a DataLoader with a worker a core, one step
    import torch   and nothing else

A process is ended after its first step, which on a GPU is waited for. The parts:

    python       until the interpreter runs
    composing    until the task is called: Hydra, our imports, the configuration, its check
    torch        its import, wherever it happens
    opening      of the images: listing them, or the decoded cache; cold: decoding
    building     from there to the network and its optimizer on the device
    batch        until the first batch is there
    step         the first step
    other        what is between: other imports, what is set for the process

Parts that overlap count in both, and make ``other`` less. The ways run one after another in
every round, and each round begins with another way.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.figures import at_least, spread, tell
from benchmarks.measured import ROOT, Finished, environment, in_turn, run_measured
from benchmarks.options import (
    Images,
    check_options,
    decode,
    facts_of,
    fill,
    header,
    new_parser,
    publish,
)
from benchmarks.stamping import ONE_STEP_VARIABLE
from benchmarks.stamps import times_of
from resnet_sweep.sweep.local.gpus import Gpu

BATCH_SIZE = 32
WANTED_WARM_CPU_S = 6.0
WARM, COLD, PLAIN, BARE = "ours, warm", "ours, cold", "plain", "import torch"
WAYS = (WARM, COLD, PLAIN, BARE)
PARTS = ("python", "composing", "torch", "opening", "building", "batch", "step", "other")


@dataclass(frozen=True)
class Start:
    """One start.

    Attributes:
        total_s: From the command to the end of the first step, or of the only import.
        parts_s: What it is made of; a part that a way does not have is missing.
    """

    total_s: float
    parts_s: dict[str, float]

    @classmethod
    def of(cls, done: Finished) -> Start:
        """What the stamps say."""
        at_s = {one.event: one.at_s for one in reversed(done.stamps)}
        spans = {
            "composing": ("python", "composed"),
            "torch": ("import torch", "imported torch"),
            "opening": ("opening", "opened"),
            "building": ("opened", "fit"),
            "batch": ("fit", "step"),
            "step": ("step", "stepped"),
        }
        parts = {"python": times_of(done.stamps, "python")[0] - done.began_s}
        parts |= {
            name: at_s[end] - at_s[begin]
            for name, (begin, end) in spans.items()
            if begin in at_s and end in at_s
        }
        last = "stepped" if "stepped" in at_s else "imported torch"
        total_s = times_of(done.stamps, last)[0] - done.began_s
        return cls(total_s, {**parts, "other": total_s - sum(parts.values())})


def measure(
    args: argparse.Namespace, images: Images, gpu: Gpu | None, folder: Path
) -> dict[str, list[Start]]:
    """All starts of each way, after one of each that is not counted, save where it is quick."""
    found: dict[str, list[Start]] = {name: [] for name in WAYS}
    for i in range(0 if args.quick else -1, args.rounds):
        for name in in_turn(WAYS, i):
            start = _start(name, args, images, gpu, folder, f"{i}-{WAYS.index(name)}")
            tell(f"round {i + 1} of {args.rounds}: {name}: {start.total_s:.2f} s")
            if i >= 0:
                found[name].append(start)
    return found


def _start(
    name: str,
    args: argparse.Namespace,
    images: Images,
    gpu: Gpu | None,
    folder: Path,
    place: str,
) -> Start:
    cache, own = folder / "cache", folder / f"code-{place}"
    code = []
    if name == COLD:
        cache, code = folder / f"cache-{place}", [own]
        for part in ("resnet_sweep", "conf"):
            shutil.copytree(ROOT / part, own / part, ignore=shutil.ignore_patterns("__pycache__"))
    env = {**environment(gpu, cache, *code), ONE_STEP_VARIABLE: "1"}
    done = run_measured(command_of(name, args, images), folder / place, env)
    if name == COLD:
        shutil.rmtree(cache)
    return Start.of(done)


def command_of(name: str, args: argparse.Namespace, images: Images) -> list[str]:
    """What is run for one of ``WAYS``."""
    if name == BARE:
        return [sys.executable, "-c", "import torch"]
    if name == PLAIN:
        sizes = [str(images.size), str(images.num_train)]
        root = str(Path(images.root).expanduser().absolute())
        return [sys.executable, "-m", "benchmarks.plain_start", root, *sizes, args.device]
    return [
        *(sys.executable, "-m", "resnet_sweep", "model=resnet50", *images.overrides),
        *(f"trainer.batch_size={BATCH_SIZE}", f"trainer.device={args.device}"),
    ]


def table(args: argparse.Namespace, found: dict[str, list[Start]]) -> str:
    """A line a way: the total as median (min - max), the parts as medians, in seconds."""
    lines = [f"  {'seconds':<14}{'in all':<24}" + "".join(f"{part:>10}" for part in PARTS)]
    for name, starts in found.items():
        parts = [
            f"{median(one.parts_s[part] for one in starts):>10.2f}"
            if part in starts[0].parts_s
            else f"{'-':>10}"
            for part in PARTS
        ]
        total = spread([one.total_s for one in starts], 2)
        lines.append(f"  {name:<14}{total:<24}" + "".join(parts))
    if args.device == "cpu":
        warm_s = median(one.total_s for one in found[WARM])
        lines.append(f"  wanted of ours, warm: at most {WANTED_WARM_CPU_S:.1f} s; {warm_s:.2f} s")
    over = [
        mine.total_s / other.total_s for mine, other in zip(found[WARM], found[PLAIN], strict=True)
    ]
    lines.append(f"  ours, warm / plain, round by round: {spread(over, 2)}")
    return "\n".join(lines)


def as_json(facts: dict[str, Any], found: dict[str, list[Start]]) -> dict[str, Any]:
    """The raw numbers."""
    return {
        "machine": facts,
        "wanted_warm_cpu_s": WANTED_WARM_CPU_S,
        "starts": {name: [asdict(one) for one in starts] for name, starts in found.items()},
    }


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(
        "startup",
        "From the command to the end of the first training step.",
        quick="64 pixels, 64 images, 1 round, none before it",
    )
    add = parser.add_argument
    add("--size", type=at_least(32), help="pixels (default: 224)")
    add("--images", type=at_least(2), help="for training (default: 3000)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; 0, or 2 for wrong arguments."""
    parser = build_parser()
    args = parser.parse_args(argv)
    fill(args, {"size": 64, "images": 64, "rounds": 1} if args.quick else {})
    fill(args, {"size": 224, "images": 3000, "rounds": 5})
    gpu = check_options(parser, args)
    images = Images.of(args, args.size)
    with TemporaryDirectory() as name:
        decode_s = decode(parser, images, Path(name, "cache"), BATCH_SIZE)
        found = measure(args, images, gpu, Path(name))
    facts = {**facts_of(images, gpu, "hydra-core", "optuna"), "decode_s": decode_s}
    title = (
        f"Command to first step, ResNet-50, {args.size} pixels, batch {BATCH_SIZE}, "
        f"{args.images} images on {args.device}, {args.rounds} rounds"
    )
    publish(args, as_json(facts, found), [header(title, facts), table(args, found)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
