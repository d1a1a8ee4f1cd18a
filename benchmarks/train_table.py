"""The table of ``benchmarks/train.py``, and its raw numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch

from benchmarks.figures import spread
from benchmarks.options import facts_of, header
from benchmarks.train_cases import Measured, WayFound
from benchmarks.ways import Block
from resnet_sweep.training.roofline import Peaks

# Of the column with the names of ways and ratios.
NAME_WIDTH = 34


def machine(device: torch.device, precision: str, compiles: bool, peaks: Peaks) -> dict[str, Any]:
    """What the numbers depend on beside the code."""
    return {
        **facts_of([], None, "timm"),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "device": device.type,
        "precision": precision,
        "compile": compiles,
        "peaks": dataclasses.asdict(peaks),
    }


def head(facts: dict[str, Any]) -> str:
    """The machine and the settings, as four lines."""
    compiled = ", compiled" if facts["compile"] else ""
    title = f"ResNet-50, SGD, ours in {facts['precision']}{compiled}"
    peaks = facts["peaks"]
    return (
        f"{header(title, facts)}\n"
        f"measured peaks: {peaks['flops_per_s'] / 1e12:.2f} TFLOP/s in {facts['precision']}, "
        f"{peaks['bytes_per_s'] / 1e9:.0f} GB/s"
    )


def table(measured: Measured) -> str:
    """Speeds and ratios of one case, each as median (least - most) over the rounds."""
    case = measured.case
    threads = ", ".join(str(n) for n in sorted({w.num_threads for w in measured.ways.values()}))
    images = case.config.data
    lines = [
        f"{case.size} pixels, batch {case.batch_size}, {images.num_train} images a block, "
        f"{case.rounds} rounds, {threads} threads; decoding them once took {case.decode_s:.1f} s",
        f"  {'training':<{NAME_WIDTH}}{'images/s':<26}{'peak MiB':<10}of the roofline",
    ]
    for way in measured.ways.values():
        share = median(way.roofline_share(case.batch_size))
        lines.append(
            f"  {way.name:<{NAME_WIDTH}}{_speeds(way.blocks):<26}{way.peak_memory_mib:<10.0f}"
            f"{100 * share:.0f}%"
        )
    return "\n".join([*lines, *_others(measured), *_ratios(measured)])


def _ratios(measured: Measured) -> list[str]:
    """The rows of what is wanted."""
    rows = measured.ratios()
    if "ours" in measured.ways:
        shares = measured.ways["ours"].roofline_share(measured.case.batch_size)
        rows.append(("ours / its roofline", measured.wanted_roofline_share, shares))
    if not rows:
        return []
    lines = [f"  {'ratio, round by round':<{NAME_WIDTH + 26}}wanted"]
    for name, wanted, ratios in rows:
        least = "-" if wanted is None else f"{wanted:.2f}"
        lines.append(f"  {name:<{NAME_WIDTH}}{spread(ratios, 2):<26}{least}")
    return lines


def _others(measured: Measured) -> list[str]:
    """The rows of what a run does beside training."""
    whole = [way for way in measured.ways.values() if way.validations]
    if not whole:
        return []
    num = measured.case.config.data.num_val
    lines = [f"  {f'validation on {num} images':<{NAME_WIDTH}}images/s"]
    lines += [f"  {way.name:<{NAME_WIDTH}}{_speeds(way.validations)}" for way in whole]
    lines.append(f"  {'a due checkpoint':<{NAME_WIDTH}}ms of the training thread")
    lines += [f"  {way.name:<{NAME_WIDTH}}{spread(way.checkpoints_ms, 1)}" for way in whole]
    return lines


def as_json(facts: dict[str, Any], results: Sequence[Measured]) -> dict[str, Any]:
    """The raw numbers."""
    return {"machine": facts, "cases": [_case_as_json(measured) for measured in results]}


def _case_as_json(measured: Measured) -> dict[str, Any]:
    case = measured.case
    return {
        "size": case.size,
        "batch_size": case.batch_size,
        "rounds": case.rounds,
        "decode_s": case.decode_s,
        "ways": {kind: _way_as_json(way, case.batch_size) for kind, way in measured.ways.items()},
        "ratios": {
            name: {"wanted": wanted, "rounds": ratios} for name, wanted, ratios in measured.ratios()
        },
        "wanted_roofline_share": measured.wanted_roofline_share,
    }


def _way_as_json(way: WayFound, batch_size: int) -> dict[str, Any]:
    return {
        "name": way.name,
        "threads": way.num_threads,
        "peak_memory_mib": way.peak_memory_mib,
        "blocks": _blocks_as_json(way.blocks),
        "validations": _blocks_as_json(way.validations),
        "checkpoints_ms": way.checkpoints_ms,
        "roofline": {
            "flops": way.roofline.flops,
            "num_bytes": way.roofline.num_bytes,
            "step_s": way.roofline.step_s,
            "shares": way.roofline_share(batch_size),
        },
    }


def _blocks_as_json(blocks: Sequence[Block]) -> list[dict[str, float]]:
    return [{**dataclasses.asdict(b), "images_per_s": b.images_per_s} for b in blocks]


def _speeds(blocks: Sequence[Block]) -> str:
    return spread([block.images_per_s for block in blocks], 1)
