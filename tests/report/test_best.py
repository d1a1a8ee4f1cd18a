"""best.yaml: which trial, what is in it, and that its command runs it again."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from commands import SMALL, Command, only_sweep
from omegaconf import OmegaConf
from studies import StudyOnDisk

from resnet_sweep.report.best import write_best
from resnet_sweep.report.sources import open_sources


def with_configs(made: StudyOnDisk, **changes: dict) -> None:
    """Each trial's folder as Hydra leaves it for an application that is not ours."""
    for number, trial in enumerate(made.study.get_trials(deepcopy=False)):
        hydra = made.path / "trials" / str(number) / ".hydra"
        hydra.mkdir(parents=True)
        config = {"lr": trial.params["lr"], "twice": "${double:${lr}}", "name": "a ${lr} b"}
        (hydra / "config.yaml").write_text(json.dumps(config | changes))


@pytest.fixture
def study(tmp_path: Path) -> StudyOnDisk:
    planned = [{"lr": lr} for lr in (0.1, 0.2, 0.3, 0.4)]
    made = StudyOnDisk(tmp_path / "mine", planned, attrs={"program": ["python", "my app.py"]})
    made.add(0, planned[0], values=0.5)
    made.add(1, planned[1], values=0.75)
    made.add(2, planned[2], "PRUNED", 0.875)
    made.add(3, planned[3], values=0.75, duplicate_of=1)
    with_configs(made)
    return made


def test_the_best_completed_trials_that_were_really_run(study, tmp_path):
    written = write_best(open_sources(study.path), study.path, 9, base=tmp_path)
    assert [one.path.name for one in written] == ["best.yaml", "best-2.yaml"]
    assert written[0].title == "Best of lr_trials: trial 1, objective 0.7500; lr=0.2"
    assert written[1].title == "Number 2 of lr_trials: trial 0, objective 0.5000; lr=0.1"
    assert [OmegaConf.load(one.path).lr for one in written] == [0.2, 0.1]


def test_the_command_names_the_file_for_the_application_it_came_from(study, tmp_path):
    (best,) = write_best(open_sources(study.path), study.path, base=tmp_path)
    words = ["--config-path", str(study.path), "--config-name", "best"]
    assert shlex.split(best.command) == ["python", "my app.py", *words]
    lines = best.path.read_text().splitlines()
    assert lines[:2] == [f"# {best.title}", f"# The same again: {best.command}"]


def test_what_only_the_application_can_resolve_stays_as_it_is(study):
    (best,) = write_best(open_sources(study.path), study.path)
    config = OmegaConf.to_container(OmegaConf.load(best.path), resolve=False)
    assert config == {"lr": 0.2, "twice": "${double:${lr}}", "name": "a ${lr} b"}


def test_an_application_that_nobody_knows_how_to_start_has_no_command(tmp_path):
    made = StudyOnDisk(tmp_path / "mine", [{"lr": 0.1}])
    made.add(0, {"lr": 0.1}, values=0.5)
    with_configs(made)
    (best,) = write_best(open_sources(made.path), made.path)
    assert best.command is None
    assert best.path.read_text().count("#") == 1


def test_hostile_names_stay_inside_the_comment(tmp_path):
    name = "mine\nlr: 7 # <script>"
    made = StudyOnDisk(tmp_path / "it's\nmine", [{"lr": 0.1}], name=name)
    made.add(0, {"lr": 0.1}, values=0.5)
    with_configs(made)
    (best,) = write_best(open_sources(made.path), made.path)
    assert OmegaConf.load(best.path).lr == 0.1


@pytest.mark.parametrize(
    ("state", "values"), [("FAIL", ()), ("PRUNED", 0.5)], ids=["failed", "pruned"]
)
def test_without_a_completed_trial_there_is_none(tmp_path, state, values):
    made = StudyOnDisk(tmp_path / "mine", [{"lr": 0.1}])
    made.add(0, {"lr": 0.1}, state, values)
    with_configs(made)
    assert write_best(open_sources(made.path), made.path) == []
    assert not (made.path / "best.yaml").exists()


def test_the_best_of_several_studies_with_the_same_objective(study, tmp_path):
    other = StudyOnDisk(tmp_path / "other", [{"lr": 0.5}], name="other")
    other.add(0, {"lr": 0.5}, values=0.625)
    with_configs(other)
    sources = open_sources([study.path, other.path])
    written = write_best(sources, tmp_path / "other", 3)
    assert [OmegaConf.load(one.path).lr for one in written] == [0.2, 0.5, 0.1]
    loss = StudyOnDisk(tmp_path / "loss", [{"lr": 0.5}], directions=["minimize"], name="loss")
    loss.add(0, {"lr": 0.5}, values=0.625)
    with_configs(loss)
    # What is better cannot be said of an accuracy and a loss.
    assert write_best(open_sources([study.path, loss.path]), tmp_path) == []


def test_of_several_runs_of_a_trial_the_mean_counts(tmp_path):
    for name, values in (("steady", [0.75, 0.75]), ("lucky", [0.875, 0.125])):
        attrs = {"identity": {"repeats": 2}}
        made = StudyOnDisk(tmp_path / name, [{"lr": 0.1}], name=name, attrs=attrs)
        number = made.add(0, {"lr": 0.1}, values=sum(values) / 2, repeat_values=values)
        for repeat, value in enumerate(values):
            hydra = made.path / "trials" / str(number) / str(repeat) / ".hydra"
            hydra.mkdir(parents=True)
            (hydra / "config.yaml").write_text(json.dumps({"name": name, "value": value}))
    (best, *_) = write_best(open_sources([tmp_path / "lucky", tmp_path / "steady"]), tmp_path)
    assert OmegaConf.load(best.path).name == "steady"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rerun.yaml", b""),
        ("rerun.yaml", b"# only\n"),
        ("rerun.yaml", b"\xff\xfe: 1"),
        ("config.yaml", b"{torn"),
    ],
)
def test_files_that_cannot_be_read_cost_themselves_only(study, name, content):
    hydra = study.path / "trials" / "1" / ".hydra"
    (hydra / name if name == "config.yaml" else hydra.parent / name).write_bytes(content)
    (best,) = write_best(open_sources(study.path), study.path)
    assert OmegaConf.load(best.path).lr == (0.1 if name == "config.yaml" else 0.2)


def test_what_an_earlier_report_has_written_and_no_longer_holds_goes(study):
    write_best(open_sources(study.path), study.path, 2)
    assert (study.path / "best-2.yaml").exists()
    write_best(open_sources(study.path), study.path, 1)
    assert not (study.path / "best-2.yaml").exists()


@pytest.mark.slow
def test_the_printed_command_gives_the_same_metrics_bit_for_bit(command: Command, tmp_path):
    grid = ["optimizer.lr=1e-2,1e-3", "trainer=deterministic", "hydra/launcher=local"]
    done = command("-m", *SMALL, *grid)
    assert done.returncode == 0, done.stderr
    (printed,) = [line for line in done.stdout.splitlines() if line.startswith("the best again: ")]
    words = shlex.split(printed.partition(": ")[2])
    assert words[:3] == ["python", "-m", "resnet_sweep"]
    again = subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, capture_output=True)
    assert again.returncode == 0, again.stderr
    (rerun,) = (tmp_path / "outputs" / "runs").iterdir()
    sweep = next(path for path in (tmp_path / "outputs").iterdir() if path.name != "runs")
    table = pd.read_csv(sweep / "results.csv")
    best = sweep / table["folder"].iloc[0]
    new, old = (json.loads((run / "result.json").read_text()) for run in (rerun, best))
    assert new["objective"] == old["objective"] == table["objective"].iloc[0]
    assert new["last"]["train_loss"] == old["last"]["train_loss"]
    assert new["data_hash"] == old["data_hash"]


@pytest.mark.slow
def test_an_application_that_is_not_ours_runs_its_best_again(tmp_path):
    (tmp_path / "app.py").write_text(
        "import hydra\n"
        '@hydra.main(config_path="conf", config_name="config", version_base=None)\n'
        "def main(cfg):\n"
        "    print('x is', cfg.x, cfg.group.y)\n"
        "    return (cfg.x - 2) ** 2\n"
        "main()\n"
    )
    (tmp_path / "conf" / "group").mkdir(parents=True)
    (tmp_path / "conf" / "config.yaml").write_text("defaults: [group: a]\nx: 0\n")
    (tmp_path / "conf" / "group" / "a.yaml").write_text("y: here\n")
    run = {"cwd": tmp_path, "capture_output": True, "text": True}
    sweep = [sys.executable, "app.py", "-m", "hydra/sweeper=study", "hydra/launcher=basic", "x=1,2"]
    done = subprocess.run([*sweep, "hydra.sweep.dir=out"], **run)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.rpartition("the best again: ")[2].strip()
    words = shlex.split(printed)
    again = subprocess.run([sys.executable, *words[1:]], **run)
    assert again.stdout == "x is 2 here\n", again.stderr


def test_the_sweep_names_its_best(command: Command, tmp_path):
    done = command("-m", *SMALL, "trainer.epochs=1", "optimizer.lr=1e-3", "hydra/launcher=basic")
    assert done.returncode == 0, done.stderr
    shown = only_sweep(tmp_path).relative_to(tmp_path)
    assert done.stdout.splitlines()[-1] == (
        f"the best again: python -m resnet_sweep --config-dir {shown} --config-name best"
    )
    page = (tmp_path / shown / "report.html").read_text()
    assert f"-m study=confirm hydra.sweeper.trials.study={shown}" in page
    text = (tmp_path / shown / "best.yaml").read_text()
    assert text.startswith("# Best of ")
    assert "threads: 1\n" in text
