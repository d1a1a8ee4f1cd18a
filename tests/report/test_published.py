"""Published values beside measured ones."""

from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf
from studies import StudyOnDisk

from resnet_sweep.report.results import load_results

PUBLISHED = [
    {"when": {"model": "resnet50", "lr": 0.1}, "objective": 0.75, "learned": True},
    {"when": {"model": "plain50", "lr": 0.1}, "learned": False},
    {"when": {"data.size": 64, "lr": 1}, "objective": 0.5},
]


def publish(made: StudyOnDisk, model: str = "resnet50") -> StudyOnDisk:
    """Adds what a sweep writes at its start: its settings and its choices."""
    config = OmegaConf.load(made.folder.multirun_yaml)
    config.hydra.sweeper.published = PUBLISHED
    config.hydra.runtime = {"choices": {"model": model}}
    config.model, config.data, config.lr = {"depth": 50}, {"size": 64}, 0.1
    OmegaConf.save(config, made.folder.multirun_yaml)
    return made


def columns(path: Path) -> list[list[object]]:
    table = load_results(path).sort_values("ticket")
    return table[["published", "published_learned"]].astype(object).to_numpy().tolist()


def test_swept_values_and_fixed_ones_are_matched(tmp_path):
    planned = [{"lr": 0.1}, {"lr": 1.0}, {"lr": 0.2}]
    publish(StudyOnDisk(tmp_path / "res", planned))
    first, second, third = columns(tmp_path / "res")
    assert first == [0.75, True]
    assert second[0] == 0.5
    assert second[1] is pd.NA
    assert pd.isna(third[0])
    publish(StudyOnDisk(tmp_path / "plain", planned), model="plain50")
    first, *_ = columns(tmp_path / "plain")
    assert pd.isna(first[0])
    assert first[1] is False


def test_a_trial_that_is_yet_to_be_drawn_has_nothing_published(tmp_path):
    publish(StudyOnDisk(tmp_path, n_trials=2))
    assert "published" not in load_results(tmp_path)


def test_a_parameter_counts_and_not_what_it_was_before_the_sweep(tmp_path):
    publish(StudyOnDisk(tmp_path, [{"model": "other", "lr": 0.1}]))
    assert "published" not in load_results(tmp_path)
