"""The examples, as a newcomer uses them: from a copy, by their commands."""

import json
import runpy
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import ROOT, Command
from omegaconf import OmegaConf
from PIL import Image

from resnet_sweep import load_results
from resnet_sweep.models import build_model
from resnet_sweep.models.config import ModelConfig

EXAMPLES = ROOT / "examples"
NOTEBOOK = EXAMPLES / "reading_results.ipynb"
CELLS = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
OWN = ("examples/own_application/train.py", "-m", "hydra.sweeper.study_name=mine")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    return tmp_path


def python(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def printed(cell: dict) -> str:
    return "".join(
        "".join(output["text"])
        for output in cell["outputs"]
        if output["output_type"] == "stream" and output["name"] == "stdout"
    )


def test_the_notebook_was_run_from_its_first_cell_to_its_last_without_an_error():
    assert [cell["execution_count"] for cell in CELLS] == list(range(1, len(CELLS) + 1))
    kinds = [output["output_type"] for cell in CELLS for output in cell["outputs"]]
    assert "display_data" in kinds  # The pictures.
    assert "error" not in kinds
    assert not any(output.get("name") == "stderr" for cell in CELLS for output in cell["outputs"])


@pytest.mark.slow
def test_the_notebook_says_what_it_says_when_it_is_run(checkout: Path):
    mark = "-- next cell --"
    cells = ["".join(cell["source"]) + f"\nprint({mark!r})\n" for cell in CELLS]
    program = "import matplotlib; matplotlib.use('agg')\n" + "".join(cells)
    said = python(checkout / "examples", "-W", "error", "-c", program)
    assert said.split(f"{mark}\n")[:-1] == [printed(cell) for cell in CELLS]


@pytest.mark.slow
def test_a_trained_network_predicts_what_it_predicted_in_its_run(checkout: Path, command: Command):
    python(checkout, "examples/draw_shapes.py", "shapes")
    done = command(
        *("model=resnet18", "data=image_folder", "data.root=shapes", "data.image_size=32"),
        *("trainer.epochs=6", "trainer.threads=1", "optimizer.lr=1e-2"),
        "hydra.run.dir=outputs/runs/a",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with np.load(checkout / "outputs" / "runs" / "a" / "predictions.npz") as kept:
        names, best = kept["name"].tolist(), kept["best"].tolist()
    assert len(set(best)) > 1
    paths = [f"shapes/{name}" for name in names]
    classes = ["circle", "square", "triangle"]
    for folder in ("outputs/runs/a", "outputs/runs"):  # A run, and the best of those in a folder.
        said = python(checkout, "examples/predict.py", folder, *paths)
        found = [line.partition(": ")[2].split()[0] for line in said.splitlines()]
        assert found == [classes[label] for label in best]


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """What predict.py reads of a run, of a network as it was made."""
    data = {"image_size": 32, "channels": 3, "resize": "crop"}
    model = OmegaConf.structured(ModelConfig(depth=18))
    network = build_model(ModelConfig(depth=18), 2, 3, 32)
    folder = tmp_path / "run"
    folder.mkdir()
    OmegaConf.save(OmegaConf.create({"data": data, "model": model}), folder / "rerun.yaml")
    kept = {"classes": ["cat", "dog"], "mean": [0.5] * 3, "std": [0.2] * 3}
    torch.save({**kept, "model": network.state_dict()}, folder / "best.pt")
    return folder


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs predict.py in this process; returns its exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr("sys.argv", ["predict.py", *map(str, arguments)])
        try:
            runpy.run_path(str(EXAMPLES / "predict.py"), run_name="__main__")
        except SystemExit as end:
            return (end.code, *capsys.readouterr())
        return (0, *capsys.readouterr())

    return run


def test_a_broken_image_keeps_no_answer_from_the_others(predict, run_folder: Path, tmp_path: Path):
    good, broken, gone = (tmp_path / name for name in ("good.png", "broken.jpg", "gone.png"))
    Image.new("RGB", (40, 50), (200, 10, 10)).save(good)
    Image.effect_noise((64, 64), 50).save(broken)
    broken.write_bytes(broken.read_bytes()[:600])
    code, answers, complaints = predict(run_folder, broken, good, gone, tmp_path)
    assert code == 1
    (answer,) = answers.splitlines()
    assert answer.startswith((f"{good}: cat 0.", f"{good}: dog 0."))
    first, second, third = complaints.splitlines()
    assert first.startswith(f"{broken}: ")
    assert "truncated" in first
    assert second == f"{gone}: No such file or directory"
    assert third == f"{tmp_path}: Is a directory"
    assert predict(run_folder, good) == (0, answers, "")
    assert predict(run_folder, gone) == (1, "", f"{second}\n")


def test_what_predict_needs_of_a_run_is_named_when_it_is_not_there(predict, run_folder: Path):
    (run_folder / "best.pt").unlink()
    code, _, _ = predict(run_folder, "image.png")
    assert code == f"{run_folder / 'best.pt'}: No such file or directory"
    code, _, _ = predict(run_folder / "nowhere", "image.png")
    assert f"path={run_folder / 'nowhere'}: is no folder" in code


@pytest.mark.slow
def test_an_own_application_searches_and_gives_up_what_falls_behind(checkout: Path):
    python(checkout, *OWN, "study=search")
    runs = load_results(checkout / "outputs" / "own_application" / "mine")
    assert len(runs) == 12
    assert set(runs["state"]) == {"COMPLETE", "PRUNED"}
    assert runs["objective"].iloc[0] > 0.85
    without = runs[runs["optimizer"] == "sgd"]
    assert without["optimizer.momentum"].isna().all()


@pytest.mark.slow
def test_an_own_application_with_two_objectives_lists_what_none_other_dominates(checkout: Path):
    said = python(
        checkout,
        *OWN,
        "objective=[accuracy,loss]",
        "hydra.sweeper.direction=[maximize,minimize]",
        "optimizer.lr=1,0.1",
        "epochs=3",
    )
    assert "objective_0" in said
    runs = load_results(checkout / "outputs" / "own_application" / "mine")
    assert runs["objective_0"].between(0.5, 1).all()
    assert runs["objective_1"].gt(0).all()
    assert len(runs) == 2


@pytest.mark.slow
def test_an_own_application_that_was_killed_goes_on_where_it_was(checkout: Path):
    command = [sys.executable, *OWN, "epochs=150", "optimizer.lr=1,0.3,0.1"]
    study = checkout / "outputs" / "own_application" / "mine"
    killed = subprocess.Popen(command, cwd=checkout, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not (study / "trials" / "1" / "last.npz").exists():
        assert killed.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    first = (study / "trials" / "0" / "last.npz").read_bytes()
    python(checkout, *command[1:])
    runs = load_results(study)
    assert runs["state"].tolist() == ["COMPLETE"] * 3
    # What was finished is left alone, what was running goes on from its checkpoint.
    assert (study / "trials" / "0" / "last.npz").read_bytes() == first
    taken_up = runs[runs["attempt"] == 1]
    assert taken_up["optimizer.lr"].tolist() == [0.3]
    assert taken_up["began_at_epoch"].gt(0).all()
