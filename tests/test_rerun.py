"""rerun.yaml: what a run has resolved, as a configuration that runs it again."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from commands import SMALL, Command, only_sweep
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

from resnet_sweep.config import Config
from resnet_sweep.data.config import ImageFolderConfig
from resnet_sweep.models.config import ModelConfig
from resnet_sweep.report.results import load_results
from resnet_sweep.rerun import Resolved, rerun_yaml
from resnet_sweep.training.config import AdamConfig, StepConfig

EXACT = (*SMALL[1:], "trainer=deterministic")
MEASURED = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr"]
NASTY = 'it\'s "a" ${b} \\${c}\n ??? #é\t'
WORD = 'it\'s "a"\n 1e5 #é\t'
# Control characters and half pairs are for no YAML file; Hydra's own are not written with them.
TEXTS = st.text(
    st.sampled_from("${}\\'\"\n:#?!&*- 0e1.~é\u2028") | st.characters(codec="utf-8"), max_size=12
).filter(lambda text: text != "???")


def run_again(folder: Path, cwd: Path) -> Path:
    """Runs the command in the file's head, anywhere; returns the new run's folder."""
    head = (folder / "rerun.yaml").read_text(encoding="utf-8").splitlines()
    line = head[1].removeprefix("#   python")
    cwd.mkdir()
    done = subprocess.run(
        ["bash", "-c", shlex.quote(sys.executable) + line],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    (again,) = (cwd / "outputs" / "runs").iterdir()
    return again


def assert_same_run(one: Path, other: Path) -> None:
    tables = [pd.read_csv(path / "metrics.csv")[MEASURED] for path in (one, other)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    results = [json.loads((path / "result.json").read_text()) for path in (one, other)]
    for key in ("objective", "test", "seed", "threads", "precision", "device", "data_hash"):
        assert results[0][key] == results[1][key]
    texts = [(path / "rerun.yaml").read_text(encoding="utf-8") for path in (one, other)]
    # All but the folder, which stands in the command.
    assert texts[0].splitlines()[2:] == texts[1].splitlines()[2:]


@pytest.mark.slow
def test_a_run_again_gives_the_same_numbers_bit_for_bit(command: Command, tmp_path):
    done = command("model=resnet18", *EXACT, "data.num_test=20", "hydra.run.dir=first")
    assert done.returncode == 0, done.stderr
    before = (tmp_path / "first" / "result.json").read_bytes()
    again = run_again(tmp_path / "first", tmp_path / "elsewhere")
    assert_same_run(tmp_path / "first", again)
    assert (tmp_path / "first" / "result.json").read_bytes() == before
    pinned = OmegaConf.load(again / "rerun.yaml")
    result = json.loads((again / "result.json").read_text())
    assert pinned.trainer.device == "cpu" or result["device"].split()[0] != "cpu"
    assert pinned.trainer.precision == result["precision"]
    assert (pinned.trainer.threads, pinned.model.num_classes) == (1, 10)
    assert pinned.data.content == result["data_hash"]
    # Both are called by their names in a table of single runs.
    table = load_results([tmp_path / "first", tmp_path / "elsewhere"])
    assert table["model"].tolist() == ["resnet18", "resnet18"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["local", "basic"])
def test_a_trial_runs_again_alone_and_without_the_users_own_choices(
    command: Command, tmp_path, launcher
):
    group = tmp_path / "mine" / "model"
    group.mkdir(parents=True)
    (group / "own.yaml").write_text("depth: 18\nplain: true\n")
    done = command(
        "-m",
        "--config-dir=mine",
        "model=own",
        "optimizer=adam,sgd",
        *EXACT,
        "trainer.epochs=1",
        f"hydra/launcher={launcher}",
    )
    assert done.returncode == 0, done.stderr
    trial = only_sweep(tmp_path) / "trials" / "0"
    assert_same_run(trial, run_again(trial, tmp_path / "elsewhere"))


@pytest.mark.slow
def test_hostile_names_and_networks_of_ones_own_run_again_bit_for_bit(
    command: Command, tmp_path, monkeypatch
):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, num_classes: int, word: str) -> None:\n"
        f"        assert word == {WORD!r}\n"
        "        super().__init__(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))\n"
    )
    for label in "ab":
        (tmp_path / NASTY / label).mkdir(parents=True)
        for number in range(20):
            colour = (12 * number, 250 if label == "a" else 0, 99)
            Image.new("RGB", (32, 32), colour).save(tmp_path / NASTY / label / f"{number}.png")
    config = tmp_path / "mine" / "data"
    config.mkdir(parents=True)
    (config / "nasty.yaml").write_text(
        "defaults: [/hydra/schema/data/image_folder@_here_]\n"
        "root: ${oc.env:NASTY_ROOT}\nimage_size: 32\n"
    )
    monkeypatch.setenv("NASTY_ROOT", str(tmp_path / NASTY))
    monkeypatch.setenv("WORD", WORD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    done = command(
        "--config-dir=mine",
        "--allow=mine",
        "data=nasty",
        "model._target_=mine.Net",
        "+model.kwargs.word=${oc.env:WORD}",
        *EXACT[2:],
        "trainer.batch_size=8",
        "hydra.run.dir='my \"run\"\n\u2028'",
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.delenv("NASTY_ROOT")
    monkeypatch.delenv("WORD")
    first = tmp_path / 'my "run"\n\u2028'
    assert "--allow mine" in (first / "rerun.yaml").read_text(encoding="utf-8")
    assert_same_run(first, run_again(first, tmp_path / "elsewhere"))


@settings(max_examples=50, deadline=None)
@given(root=TEXTS, key=TEXTS, value=TEXTS)
def test_every_text_is_read_back_as_it_is(root: str, key: str, value: str):
    config = Config(
        model=ModelConfig(_target_="torchvision.models.resnet18", kwargs={key: [{"a": value}, 1]}),
        data=ImageFolderConfig(root=root),
        optimizer=AdamConfig(lr=0.1 + 0.2, betas=(0.5, 1 / 3)),
        scheduler=StepConfig(),
    )
    resolved = Resolved("cpu", "fp32", 3, 2, "1e5", 16, "always")
    text = rerun_yaml(config, resolved, {}, Path("/runs") / root)
    read = OmegaConf.create(text)
    assert read.data.root == root
    assert OmegaConf.to_container(read.model.kwargs, resolve=True) == {key: [{"a": value}, 1]}
    assert (read.optimizer.lr, read.optimizer.betas) == (0.1 + 0.2, [0.5, 1 / 3])
    assert read.data.content == "1e5"
    assert (read.trainer.device, read.trainer.precision, read.trainer.threads) == ("cpu", "fp32", 3)
    assert (read.trainer.microbatch, read.trainer.compile) == (16, "always")
    assert read.model.num_classes == 2
    # The run's own configuration stays open.
    assert config.data.content is None


def test_what_was_set_stays_set():
    config = Config(
        model=ModelConfig(num_classes=1000),
        data=ImageFolderConfig(root="/a"),
        optimizer=AdamConfig(),
        scheduler=StepConfig(),
    )
    config.data.content = "old"
    text = rerun_yaml(config, Resolved("cuda", "bf16", 1, 2, "old", 8, "never"), {}, Path("/runs"))
    read = OmegaConf.create(text)
    assert (read.model.num_classes, read.trainer.device) == (1000, "cuda")
    assert "--allow" not in text
