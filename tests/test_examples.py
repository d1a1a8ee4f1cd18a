"""The examples, as a newcomer uses them: from a copy, by their commands."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, Command

from resnet_sweep import load_results

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
