"""Data that change under a study: nothing is trained on others, and nothing is lost."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fault_sweeps import LOCAL, attempts_of, kinds, sweep, trials_of
from PIL import Image

APP = Path(__file__).with_name("changed_app") / "app.py"
AGREEING = ("hydra.sweeper.task=changed_task.ChangedTask", "hydra.sweeper.study_name=study")
STUDY = "multirun/study"


def lay(cwd: Path, *contents: str) -> None:
    for slot, content in enumerate(contents):
        (cwd / f"data-cpu{slot}").write_text(content)


@pytest.mark.slow
def test_a_worker_with_other_data_takes_no_more_and_the_others_do_its_trials(tmp_path):
    lay(tmp_path, "old", "old")
    space = "x=range(0,40)"
    first = sweep(tmp_path, *LOCAL, *AGREEING, space, "hydra.sweeper.n_trials=2", app=APP)
    assert first.process.returncode == 0, first.text
    lay(tmp_path, "old", "new")
    (tmp_path / "together").touch()
    more = sweep(tmp_path, *LOCAL, *AGREEING, space, "hydra.sweeper.n_trials=9", app=APP)
    assert more.process.returncode == 0, more.text
    attempts = attempts_of(tmp_path / STUDY)
    assert sorted(attempts) == list(range(9))
    assert {trials[-1].state.name for trials in attempts.values()} == {"COMPLETE"}
    counts = Counter(kinds(tmp_path / STUDY))
    assert counts == {"COMPLETE": 9, "data_changed": 1}
    (log,) = (tmp_path / STUDY / "workers").glob("*cpu1*")
    assert "data_changed: the next trial would fail with it, too; this worker" in log.read_text()


@pytest.mark.slow
def test_a_sweep_without_the_studys_data_is_refused_and_goes_on_when_they_are_back(tmp_path):
    lay(tmp_path, "old", "old")
    command = (*LOCAL, *AGREEING, "x=1,2,3,4")
    rate = "hydra.sweeper.max_failure_rate=0"
    started = sweep(tmp_path, *command, "hydra.sweeper.timeout_s=0.1", app=APP)
    assert started.process.returncode == 4, started.text
    lay(tmp_path, "new", "new")
    again = "hydra.sweeper.retry={timeout:1}"
    refused = sweep(tmp_path, *command, rate, again, app=APP)
    assert refused.process.returncode == 2, refused.text
    assert "a trial says new, not old" in refused.text
    assert "4 trials are left; to go on: python" in refused.text
    # One for each worker, which is no failure of the trial's.
    assert Counter(kinds(tmp_path / STUDY)) == {"timeout": 4, "data_changed": 2}
    lay(tmp_path, "old", "old")
    done = sweep(tmp_path, *command, rate, again, app=APP)
    assert done.process.returncode == 0, done.text
    attempts = attempts_of(tmp_path / STUDY)
    assert [trials[-1].state.name for trials in attempts.values()] == ["COMPLETE"] * 4


def lay_images(root: Path) -> None:
    for label, name in enumerate("ab"):
        (root / name).mkdir(parents=True)
        for number in range(10):
            colour = (90 * label + number, 60 * label, 9 * number)
            Image.new("RGB", (40, 40), colour).save(root / name / f"{number}.png")


@pytest.mark.slow
def test_training_on_images_that_changed_is_refused_and_goes_on_when_they_are_back(tmp_path):
    lay_images(tmp_path / "images")
    command = (
        *("data=image_folder", "data.root=images", "data.image_size=32"),
        *("model=resnet18", "trainer.epochs=1", "trainer.batch_size=4", "trainer.device=cpu"),
        *("optimizer.lr=interval(0.001,0.01)", "hydra.sweeper.study_name=study"),
        # Of workers that refuse the test above knows.
        "hydra/launcher=basic",
    )
    env = {"RESNET_SWEEP_CACHE": str(tmp_path / "cache")}
    first = sweep(tmp_path, *command, "hydra.sweeper.n_trials=1", app=None, env=env)
    assert first.process.returncode == 0, first.text
    image = tmp_path / "images" / "a" / "3.png"
    before = image.read_bytes()
    Image.new("RGB", (40, 40), (0, 255, 0)).save(image)
    refused = sweep(tmp_path, *command, "hydra.sweeper.n_trials=2", app=None, env=env)
    assert refused.process.returncode == 2, refused.text
    assert f"data.root={tmp_path}/images: these are not the images" in refused.text
    assert "files of the same names have other contents" in refused.text
    # The best trial names its images as well.
    best = ("--config-dir", "outputs/study", "--config-name", "best")
    again = subprocess.run(
        [sys.executable, "-m", "resnet_sweep", *best],
        cwd=tmp_path,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
    )
    assert again.returncode == 2, again.stderr
    assert "the images are others: they hash to" in again.stderr + again.stdout
    image.write_bytes(before)
    done = sweep(tmp_path, *command, "hydra.sweeper.n_trials=2", app=None, env=env)
    assert done.process.returncode == 0, done.text
    study = tmp_path / "outputs" / "study"
    assert kinds(study) == ["COMPLETE", "data_changed", "COMPLETE"]
    hashes = {
        json.loads((study / trial.user_attrs["folder"] / "result.json").read_text())["data_hash"]
        for trial in trials_of(study)
        if trial.state.name == "COMPLETE"
    }
    assert len(hashes) == 1


@pytest.mark.slow
def test_a_broken_image_ends_a_sweep_which_goes_on_when_it_is_mended(tmp_path):
    lay_images(tmp_path / "images")
    image = tmp_path / "images" / "a" / "3.png"
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    command = (
        *("data=image_folder", "data.root=images", "data.image_size=32", "trainer.device=cpu"),
        *("model=resnet18", "trainer.epochs=1", "trainer.batch_size=4", "optimizer.lr=1e-2,1e-3"),
        *("hydra.sweeper.study_name=study", "hydra/launcher=basic"),
    )
    env = {"RESNET_SWEEP_CACHE": str(tmp_path / "cache")}
    refused = sweep(tmp_path, *command, app=None, env=env)
    assert refused.process.returncode == 2, refused.text
    assert f"data.root={image}: is broken" in refused.text
    assert "mend the images and give the same command again" in refused.text
    image.write_bytes(whole)
    done = sweep(tmp_path, *command, app=None, env=env)
    assert done.process.returncode == 0, done.text
    assert kinds(tmp_path / "outputs" / "study") == ["data", "COMPLETE", "COMPLETE"]
