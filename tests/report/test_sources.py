"""What a user names: folders, folders above them, files and storages."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
from omegaconf import OmegaConf
from studies import StudyOnDisk, study_of_every_kind

from resnet_sweep.faults import ResultsError
from resnet_sweep.report.columns import parameters_of
from resnet_sweep.report.differing import differing_settings
from resnet_sweep.report.report import Report
from resnet_sweep.report.results import load_history, load_results
from resnet_sweep.report.sources import open_sources
from resnet_sweep.study.folder import StudyFolder


def made(path: Path, value: float = 0.5, name: str = "same", storage: str | None = None) -> Path:
    """A study of one trial."""
    study = StudyOnDisk(path, [{"x": 1}], name=name, storage=storage)
    study.report(study.begin(0, {"x": 1}), step1=value)
    study.end(0, values=value)
    study.close()
    return path


def single(folder: Path) -> Path:
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text("a: 1")
    (folder / ".hydra" / "hydra.yaml").write_text("hydra: {mode: RUN}")
    (folder / ".hydra" / "overrides.yaml").write_text("[]")
    return folder


def test_a_folder_above_many(tmp_path, caplog):
    made(tmp_path / "sweeps" / "deeper" / "one", name="one")
    made(tmp_path / "two", name="two")
    single(tmp_path / "runs" / "a")
    single(tmp_path / "runs" / "b")
    (tmp_path / "README.md").write_text("x")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    table = load_results(tmp_path)
    assert table.groupby("study").size().to_dict() == {"one": 1, "two": 1, "runs": 2}
    assert "left out" not in caplog.text


def test_one_that_is_broken_does_not_hide_the_others(tmp_path, caplog):
    made(tmp_path / "good", name="good")
    made(tmp_path / "broken", name="broken")
    (tmp_path / "broken" / "study.journal").unlink()
    with caplog.at_level(logging.WARNING):
        assert load_results(tmp_path)["study"].tolist() == ["good"]
    assert "left out: " in caplog.text
    assert "study.journal is missing" in caplog.text
    with pytest.raises(ResultsError, match=r"study\.journal is missing"):
        load_results(tmp_path / "broken")
    (tmp_path / "good" / "study.journal").unlink()
    with pytest.raises(ResultsError, match=r"broken: holds no study"):
        load_results(tmp_path)


def test_everything_wrong_is_told_at_once(tmp_path):
    (tmp_path / "empty").mkdir()
    named = [tmp_path / "empty", tmp_path / "nothing", f"sqlite:///{tmp_path}/no.db"]
    with pytest.raises(ResultsError) as caught:
        load_results(named)
    text = str(caught.value)
    assert "empty: holds no sweep and no run" in text
    assert "nothing: is no folder, CSV file or URL of a storage" in text
    assert "is no file" in text
    assert not (tmp_path / "no.db").exists()


def test_nothing_named_is_nothing(tmp_path):
    assert load_results([]).empty
    assert load_history([]).empty
    assert load_history([]).columns.tolist()[-2:] == ["reported", "folder"]


NOBODY = 65534
READING = """
import os, sys
from resnet_sweep import load_results
os.setgid(int(sys.argv[2])), os.setuid(int(sys.argv[2]))
try:
    print(len(load_results(sys.argv[1])))
except ValueError as error:
    print(error)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_what_may_not_be_read_is_told(tmp_path):
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder.is_relative_to("/tmp/pytest-of-root"):
            folder.chmod(0o755)
    single(tmp_path / "outputs" / "runs" / "a")
    made(tmp_path / "outputs" / "secret").chmod(0o700)

    def read(path: Path) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", READING, path, str(NOBODY)],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip(), done.stderr

    seen, said = read(tmp_path / "outputs")
    assert seen == "1"
    assert "Permission denied" in said
    seen, said = read(tmp_path / "outputs" / "secret")
    assert "cannot be read: Permission denied" in seen


def test_what_is_named_twice_counts_once(tmp_path):
    path = made(tmp_path / "one")
    assert len(load_results([path, tmp_path, str(path), path / ".." / "one"])) == 1
    assert len(load_history([path, tmp_path])) == 1


def test_studies_of_one_name_are_told_apart(tmp_path):
    paths = [made(tmp_path / name, value) for name, value in (("a", 0.25), ("b", 0.5))]
    assert load_results(paths)["study"].tolist() == list(map(str, paths))
    assert load_history(paths)["study"].tolist() == list(map(str, paths))
    files = []
    for path in paths:
        Report(open_sources(path)).write_tables(StudyFolder(path))
        files.append(path / "results.csv")
    names = [f"same ({file})" for file in files]
    assert load_results(files)["study"].tolist() == names
    assert load_history(files)["study"].tolist() == names
    assert load_history([path / "history.csv" for path in paths])["study"].tolist() == ["same"] * 2


def test_several_studies_with_different_parameters_come_back_from_one_file(tmp_path):
    made(tmp_path / "a", name="a")
    study_of_every_kind(tmp_path / "b").close()
    two = StudyOnDisk(tmp_path / "c", [{}], directions=["maximize", "minimize"], name="c")
    two.add(0, {}, values=[0.5, 1.0], told=[1, "x"])
    report = Report(open_sources(tmp_path))
    (tmp_path / "report").mkdir()
    report.write_tables(StudyFolder(tmp_path / "report"))
    pd.testing.assert_frame_equal(
        load_results(tmp_path / "report"), load_results([tmp_path / name for name in "abc"])
    )
    pd.testing.assert_frame_equal(load_history(tmp_path / "report" / "results.csv"), report.history)


def ran(folder: Path, config: str, choices: dict) -> Path:
    """A run's folder, with what Hydra saves in it."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(config)
    hydra = {"hydra": {"mode": "MULTIRUN", "runtime": {"choices": choices}}}
    OmegaConf.save(OmegaConf.create(hydra), folder / ".hydra" / "hydra.yaml")
    return folder


def searches(base: Path) -> list[Path]:
    """A search for each of two networks, and one that kept its learning rate."""
    config = "optimizer: {lr: 0.1, decay: '${optimizer.lr}', clip: null}\ntrainer: {seed: 3}\n"
    swept = {
        "resnet": [{"optimizer.lr": 0.25}, {"optimizer.lr": 0.5}],
        "plain": [{"optimizer.lr": 0.25, "trainer.seed": 1}],
        "fixed": [{"optimizer.decay": 0.5, "optimizer.clip": 1.0}],
    }
    for name, settings in swept.items():
        study = StudyOnDisk(base / name, n_trials=3, name=name)
        for ticket, values in enumerate(settings):
            study.add(ticket, values, values=0.5)
        # One run is enough.
        choices = {"model": f"{name}18", "data": "digits", "study": name, "hydra/launcher": name}
        ran(base / name / "trials" / "0", config, choices)
        study.close()
    return [base / name for name in swept]


def test_what_differs_between_sources_is_a_parameter_of_all(tmp_path):
    paths = searches(tmp_path)
    table = load_results(paths)
    parameters = ["optimizer.lr", "model", "optimizer.clip", "trainer.seed", "optimizer.decay"]
    assert sorted(parameters_of(table)) == sorted(parameters)
    ended = table[table["state"] == "COMPLETE"]
    assert ended["model"].tolist() == ["resnet18", "resnet18", "plain18", "fixed18"]
    assert ended["optimizer.lr"].tolist() == [0.25, 0.5, 0.25, 0.1]
    assert ended["optimizer.clip"].tolist() == [None, None, None, 1.0]
    # The seed is told by its own column, and what follows the learning rate by that.
    assert ended["trainer.seed"].tolist() == [pd.NA, pd.NA, 1, pd.NA]
    assert ended["optimizer.decay"].dropna().tolist() == [0.5]
    waiting = table[table["state"] == "WAITING"]
    assert len(waiting) == 5
    assert waiting[parameters].isna().all(axis=None)
    report = Report(open_sources(paths))
    report.write_tables(StudyFolder(tmp_path))
    pd.testing.assert_frame_equal(load_results(tmp_path / "results.csv"), report.runs)


def test_one_source_has_the_parameters_that_it_has_swept(tmp_path):
    for path in searches(tmp_path):
        assert "model" not in load_results(path)
    twice = load_results([tmp_path / "resnet", tmp_path / "resnet"])
    assert parameters_of(twice) == ["optimizer.lr"]


def test_a_source_of_which_no_run_is_there_tells_nothing_of_its_settings(tmp_path):
    paths = searches(tmp_path)
    shutil.rmtree(tmp_path / "plain" / "trials")
    table = load_results(paths)
    assert table[table["study"] == "plain"]["model"].isna().all()
    assert set(table["model"].dropna()) == {"resnet18", "fixed18"}


def test_a_study_in_memory_is_what_it_has_written(tmp_path):
    path = made(tmp_path / "kept", name="kept")
    Report(open_sources(path)).write_tables(StudyFolder(path))
    before = load_results(path), load_history(path)
    config = OmegaConf.load(path / "multirun.yaml")
    config.hydra.sweeper.storage = "memory"
    OmegaConf.save(config, path / "multirun.yaml")
    (path / "study.journal").unlink()
    pd.testing.assert_frame_equal(load_results(path), before[0])
    pd.testing.assert_frame_equal(load_history(path), before[1])
    assert open_sources(path)[0].folder == path
    (path / "results.csv").unlink()
    with pytest.raises(ResultsError, match="kept in the memory of its sweep"):
        load_results(path)


def test_studies_of_optuna_alone_in_two_storages(tmp_path):
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in "ab"]
    for url in urls:
        study = optuna.create_study(storage=url, study_name="s")
        study.optimize(lambda trial: trial.suggest_int("x", 0, 9), n_trials=1)
        study.enqueue_trial({"x": 1})
    table = load_results(urls)
    assert table["study"].nunique() == 2
    assert table["state"].tolist() == ["COMPLETE", "WAITING"] * 2


OTHERWISE = """
model: {depth: 18, plain: PLAIN, num_classes: null}
data: {num_train: NUM, image_size: 32, num_val: 40}
optimizer: {lr: 0.1, decay: '${optimizer.lr}'}
trainer: {seed: 3, epochs: 5, threads: NUM, precision: PRECISION}
"""


def sweeps_with_other_settings(base: Path) -> list[Path]:
    """Two sweeps of the learning rate, over 300 and over 96 images."""
    for name, num, precision in (("res", 300, "auto"), ("plain", 96, "fp32")):
        study = StudyOnDisk(base / name, [{"optimizer.lr": lr} for lr in (0.1, 0.2)], name=name)
        config = OTHERWISE.replace("NUM", str(num)).replace("PRECISION", precision)
        for ticket, lr in enumerate((0.1, 0.2)):
            study.add(ticket, {"optimizer.lr": lr}, values=0.5)
            own = config.replace("PLAIN", str(name == "plain").lower()).replace("0.1", str(lr))
            # What is typed for each trial differs in its own sweep.
            own = own.replace("40", str(40 + ticket + num))
            ran(base / name / "trials" / str(ticket), own, {"model": name})
        study.close()
    return [base / "res", base / "plain"]


def test_settings_that_each_source_fixed_otherwise_are_parameters_of_all(tmp_path):
    paths = sweeps_with_other_settings(tmp_path)
    table = load_results(paths)
    # The network's own settings are told by its name, what is left to a run by nothing.
    assert parameters_of(table) == ["optimizer.lr", "model", "data.num_train"]
    assert table["data.num_train"].tolist() == [300, 300, 96, 96]
    assert table["data.num_train"].dtype == "Int64"
    sources = open_sources(paths)
    assert differing_settings(sources) == {"data.num_train": [300, 96]}
    assert differing_settings(sources[:1]) == {}
    Report(sources).write_tables(StudyFolder(tmp_path))
    pd.testing.assert_frame_equal(load_results(tmp_path / "results.csv"), table)


def test_a_setting_that_was_typed_counts_also_where_its_group_differs(tmp_path):
    paths = sweeps_with_other_settings(tmp_path)
    for path in paths:
        (path / "trials" / "0" / ".hydra" / "overrides.yaml").write_text("[+model.plain=x]")
    assert "model.plain" in parameters_of(load_results(paths))
