"""``benchmarks/train.py`` from the outside: what it measures is there; how fast, nobody asks."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT
from PIL import Image


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "RESNET_SWEEP_TEST_DATA"}
    command = [sys.executable, "-m", "benchmarks.train", "--device", "cpu", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=200
    )


def write_images(folder: Path, num: int) -> None:
    pixels = np.random.default_rng(0)
    for i in range(num):
        image = Image.fromarray(pixels.integers(0, 256, (40, 48, 3), dtype=np.uint8))
        image.save(folder / f"{('cat', 'dog')[i % 2]}.{i}.jpg")


@pytest.mark.slow
def test_every_way_trains_on_the_same_number_of_images(tmp_path: Path) -> None:
    write_images(tmp_path, 64)
    raw = tmp_path / "raw.json"
    small = ["--sizes", "32", "--images", "32", "--batch-size", "16", "--threads", "1"]
    found = run("--root", str(tmp_path), *small, "--rounds", "2", "--json", str(raw))
    assert found.returncode == 0, found.stderr
    result = json.loads(raw.read_text())
    machine, [at_32] = result["machine"], result["sizes"]
    assert (machine["device"], machine["threads"], machine["batch_size"]) == ("cpu", 1, 16)
    tuned = f"plain+cl+{machine['precision']}"
    assert list(at_32["ways"]) == ["plain", tuned, "ours", "ceiling"]
    for blocks in at_32["ways"].values():
        assert [block["images"] for block in blocks] == [32, 32]
        # A new loss in the second round: the weights have moved.
        assert all(math.isfinite(block["loss"]) and block["seconds"] > 0 for block in blocks)
        assert blocks[0]["loss"] != blocks[1]["loss"]
    wanted = {name: ratio["wanted"] for name, ratio in at_32["ratios"].items()}
    assert wanted == {"ours / plain": None, f"ours / {tuned}": 1.0, "ours / ceiling": 0.95}
    speeds = {name: [b["images_per_s"] for b in blocks] for name, blocks in at_32["ways"].items()}
    ratios = at_32["ratios"]["ours / plain"]["rounds"]
    assert ratios == [a / b for a, b in zip(speeds["ours"], speeds["plain"], strict=True)]
    assert "32 pixels, 32 images a block, 2 rounds" in found.stdout


def test_missing_data_are_asked_for(tmp_path: Path) -> None:
    unset = run()
    assert unset.returncode == 2
    assert "set --root" in unset.stderr
    write_images(tmp_path, 8)
    too_few = run("--root", str(tmp_path), "--sizes", "32", "--images", "32")
    assert too_few.returncode == 2
    assert "--images 32: needs cat 16, dog 16" in too_few.stderr
    assert "Traceback" not in unset.stderr + too_few.stderr
