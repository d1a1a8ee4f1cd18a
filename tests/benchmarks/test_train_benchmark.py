"""``benchmarks/train.py`` from the outside: what it measures is there; how fast, nobody asks."""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ROOT
from PIL import Image

from benchmarks import train
from benchmarks.train_cases import Case, Measured, WayFound, build_config, images_of_block
from benchmarks.train_table import table
from benchmarks.ways import Block
from resnet_sweep.training.roofline import OperationCost, Peaks, Roofline

# Everything but timm's, which is optional.
WAYS = ["plain", "tuned", "torchvision", "ours", "ours_v1.5", "ceiling"]
# The same with processes that are forked from one which has loaded torch: six take half a minute.
PROGRAM = """
import multiprocessing, runpy
forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload(["benchmarks.ways.process"])
multiprocessing.get_context = lambda method: forked
runpy.run_module("benchmarks.train", run_name="__main__", alter_sys=True)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "RESNET_SWEEP_TEST_DATA"}
    command = [sys.executable, "-c", PROGRAM, "--device", "cpu", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=800
    )


def write_images(folder: Path, num: int) -> None:
    pixels = np.random.default_rng(0)
    for i in range(num):
        image = Image.fromarray(pixels.integers(0, 256, (40, 48, 3), dtype=np.uint8))
        image.save(folder / f"{('cat', 'dog')[i % 2]}.{i}.jpg")


def measured(folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """The raw numbers and the table of a small run."""
    write_images(folder, 64)
    raw = folder / "raw.json"
    small = ["--sizes", "32", "--images", "32", "--val-images", "8", "--threads", "1"]
    found = run("--root", str(folder), *small, "--json", str(raw), *arguments)
    assert found.returncode == 0, found.stderr
    return json.loads(raw.read_text()), found.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_way_trains_on_the_same_number_of_images(tmp_path: Path) -> None:
    arguments = ["--batch-sizes", "16", "--rounds", "2", "--ways", *WAYS]
    result, said = measured(tmp_path, *arguments)
    machine, [case] = result["machine"], result["cases"]
    assert machine["device"] == "cpu"
    assert (case["size"], case["batch_size"], list(case["ways"])) == (32, 16, WAYS)
    for way in case["ways"].values():
        blocks = way["blocks"]
        assert [block["images"] for block in blocks] == [32, 32]
        # A new loss in the second round: the weights have moved.
        assert all(math.isfinite(block["loss"]) and block["seconds"] > 0 for block in blocks)
        assert blocks[0]["loss"] != blocks[1]["loss"]
        assert way["threads"] == 1
        assert way["peak_memory_mib"] > 0
        assert len(way["roofline"]["shares"]) == 2
    whole = {kind for kind, way in case["ways"].items() if way["validations"]}
    assert whole == {"plain", "tuned", "ours", "ours_v1.5"}
    for kind in whole:
        way = case["ways"][kind]
        assert [block["images"] for block in way["validations"]] == [8, 8]
        assert len(way["checkpoints_ms"]) == 2
    flops = {kind: way["roofline"]["flops"] for kind, way in case["ways"].items()}
    assert flops["plain"] == flops["ours"] == flops["ceiling"]
    assert flops["torchvision"] == flops["ours_v1.5"] > flops["ours"]
    ratios = case["ratios"]
    tuned = f"plain+cl+{machine['precision']}"
    assert {name: ratio["wanted"] for name, ratio in ratios.items()} == {
        "ours / plain": None,
        f"ours / {tuned}": 1.0,
        "ours v1.5 / torchvision+fp32": None,
        "ours / ceiling": 0.95,
    }
    assert "32 pixels, batch 16, 32 images a block, 2 rounds, 1 threads" in said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ways_and_batches_are_chosen(tmp_path: Path) -> None:
    if find_spec("timm") is None:
        pytest.skip("timm is not installed")
    arguments = ["--batch-sizes", "16", "32", "--rounds", "1", "--ways", "ours_v1.5", "timm"]
    result, said = measured(tmp_path, *arguments)
    assert [case["batch_size"] for case in result["cases"]] == [16, 32]
    for case in result["cases"]:
        assert list(case["ways"]) == ["timm", "ours_v1.5"]
        assert [way["blocks"][0]["images"] for way in case["ways"].values()] == [32, 32]
        [(name, ratio)] = case["ratios"].items()
        assert name.startswith("ours v1.5 / timm+cl+")
        assert len(ratio["rounds"]) == 1
    assert "ours v1.5 / timm" in said


def test_missing_data_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusal(*arguments: str) -> str:
        with pytest.raises(SystemExit, match=r"^2$"):
            train.main(["--device", "cpu", *arguments])
        return capsys.readouterr().err

    monkeypatch.delenv("RESNET_SWEEP_TEST_DATA", raising=False)
    assert "set --root" in refusal()
    write_images(tmp_path, 8)
    few = ["--root", str(tmp_path), "--sizes", "32", "--val-images", "2"]
    assert "--images 32: needs cat 16, dog 16" in refusal(*few, "--images", "32")
    uneven = refusal(*few, "--images", "64", "--batch-sizes", "32", "48")
    assert "--images 64: must be a multiple of --batch-sizes" in uneven


def options(**changed: Any) -> argparse.Namespace:
    usual = {"root": "unused", "device": "cpu", "threads": None, "compile": False}
    usual |= {"rounds": None, "images": None, "val_images": None, "batch_sizes": [32]}
    return argparse.Namespace(**usual | changed)


def test_a_block_has_full_batches_of_every_size() -> None:
    assert images_of_block(options(), 64) == 640
    assert images_of_block(options(), 224) == 128
    assert images_of_block(options(batch_sizes=[32, 256]), 224) == 256
    assert images_of_block(options(device="cuda", batch_sizes=[32, 256]), 224) == 3584
    assert images_of_block(options(images=96), 224) == 96


@pytest.mark.parametrize(
    ("device", "size", "batch_size", "wanted", "wanted_share"),
    [
        ("cpu", 64, 32, {"plain": 1.7, "timm": None, "ceiling": 0.95}, None),
        ("cpu", 224, 32, {"plain": 2.5, "timm": None, "ceiling": 0.95}, None),
        ("cuda", 64, 256, {"plain": None, "timm": None, "ceiling": 0.95}, None),
        ("cuda", 224, 32, {"plain": 5.0, "timm": 1.3, "ceiling": 0.95}, None),
        ("cuda", 224, 256, {"plain": 5.0, "timm": 1.3, "ceiling": 0.95}, 0.6),
    ],
)
def test_what_is_wanted_depends_on_device_and_size(
    device: str,
    size: int,
    batch_size: int,
    wanted: dict[str, float | None],
    wanted_share: float | None,
) -> None:
    args = options(device=device, batch_sizes=[batch_size])
    config = build_config(args, size, batch_size, Path("unused"))
    # Half a second of arithmetic a step.
    roofline = Roofline((OperationCost("mm", "other", "forward", 50.0, 1.0),), Peaks(100.0, 100.0))

    def way(name: str, images_per_s: float) -> WayFound:
        return WayFound(name, 1, [Block(64, 64 / images_per_s, 0.7)] * 2, [], [], 100.0, roofline)

    ways = {"plain": way("plain", 10), "timm": way("timm", 20), "ours": way("ours", 2 * batch_size)}
    ways |= {"ours_v1.5": way("ours v1.5", 30), "ceiling": way("ceiling", 4 * batch_size)}
    found = Measured(Case(size, 2, config, data=None, decode_s=1.0), ways)  # type: ignore[arg-type]
    ratios = {name.rpartition(" / ")[2]: (least, values) for name, least, values in found.ratios()}
    assert {name: least for name, (least, _) in ratios.items()} == wanted
    assert ratios["timm"][1] == pytest.approx([1.5, 1.5])
    assert ratios["ceiling"][1] == pytest.approx([0.5, 0.5])
    assert found.wanted_roofline_share == wanted_share
    assert ways["ours"].roofline_share(batch_size) == pytest.approx([1.0, 1.0])
    least = "-" if wanted_share is None else "0.60"
    assert table(found).endswith(f"  1.00 (1.00 - 1.00)      {least}")
