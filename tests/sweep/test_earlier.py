"""The best of an earlier study: which they are, and what they were."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from resnet_sweep.faults import ConfigError
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.storage import close_storage, open_storage
from resnet_sweep.sweep.earlier import _ranked, read_earlier

LR = FloatDistribution(0.0, 1.0)
BETAS = CategoricalDistribution(["[0.9,0.999]", "none"])


def folder_of(
    path: Path,
    directions: Sequence[str],
    trials: Sequence[tuple[TrialState, Mapping[str, Any], Sequence[float] | None]],
    attrs: Mapping[str, Any] | None = None,
    folder: str | None = None,
) -> Path:
    """A study's folder as a sweep leaves it."""
    path.mkdir()
    files = StudyFolder(path)
    OmegaConf.save(
        {"hydra": {"sweeper": {"study_name": "s", "storage": None}}}, files.multirun_yaml
    )
    storage = open_storage(None, files)
    study = optuna.create_study(storage=storage, study_name="s", directions=list(directions))
    for key, value in (attrs or {}).items():
        study.set_user_attr(key, value)
    for number, (state, params, values) in enumerate(trials):
        known = {key: BETAS if key == "betas" else LR for key in params}
        one = create_trial(
            state=state,
            params=dict(params),
            distributions=known,
            values=values,
            user_attrs={"folder": folder or f"trials/{number}"},
        )
        study.add_trial(one)
        if folder is None:
            record_of(path / "trials" / str(number))
    close_storage(storage)
    return path


def record_of(folder: Path, choices: str = "{}") -> None:
    """What Hydra leaves in the folder of a trial."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text("lr: 0.1\nhalf: ${lr}\n")
    (folder / ".hydra" / "hydra.yaml").write_text(f"hydra: {{runtime: {{choices: {choices}}}}}")


DONE = TrialState.COMPLETE
NOWHERE = Path("/nonexistent")


def best(spec: Mapping[str, Any], base: Path) -> list[Mapping[str, Any]]:
    """Values of the trials."""
    return [trial.values for trial in read_earlier(spec, base).trials]


def test_the_best_of_a_study(tmp_path: Path) -> None:
    folder_of(
        tmp_path / "search",
        ["maximize"],
        [
            (DONE, {"lr": 0.1}, [0.5]),
            (DONE, {"lr": 0.2}, [0.9]),
            (TrialState.PRUNED, {"lr": 0.25}, [0.99]),
            (DONE, {"lr": 0.2}, [0.9]),
            (TrialState.FAIL, {"lr": 0.3}, None),
            (DONE, {"lr": 0.4}, [0.7]),
            (DONE, {"lr": 0.5}, [0.7]),
        ],
    )
    spec = {"study": "search", "best": 3}
    assert best(spec, tmp_path) == [{"lr": 0.2}, {"lr": 0.4}, {"lr": 0.5}]
    everything = best({"study": str(tmp_path / "search"), "best": 4}, NOWHERE)
    assert everything[-1] == {"lr": 0.1}
    with pytest.raises(ConfigError, match=r"best=5: is more than the 4 different trials that sea"):
        best({"study": "search", "best": 5}, tmp_path)


def test_the_best_of_a_study_that_minimises(tmp_path: Path) -> None:
    folder_of(tmp_path / "a", ["minimize"], [(DONE, {"lr": v}, [v]) for v in (0.5, 0.1, 0.3)])
    assert best({"study": "a", "best": 2}, tmp_path) == [{"lr": 0.1}, {"lr": 0.3}]


def test_the_front_of_several_objectives_comes_first(tmp_path: Path) -> None:
    values = [(0.1, 5.0), (0.9, 9.0), (0.8, 9.0), (0.5, 1.0), (0.05, 5.0), (0.1, 5.0)]
    trials = [(DONE, {"lr": i / 10}, pair) for i, pair in enumerate(values)]
    folder_of(tmp_path / "a", ["maximize", "minimize"], trials)
    found = [trial["lr"] for trial in best({"study": "a", "best": 6}, tmp_path)]
    assert found == [0.1, 0.3, 0.0, 0.2, 0.5, 0.4]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 4)] * 2), min_size=1, max_size=12))
def test_what_comes_first_is_what_optuna_calls_the_front(costs: list[tuple[int, int]]) -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    for i, cost in enumerate(costs):
        study.add_trial(
            create_trial(params={"lr": i / 20}, distributions={"lr": LR}, values=list(cost))
        )
    ranked = [trial.number for trial in _ranked(study, len(costs))]
    front = {trial.number for trial in study.best_trials}
    assert set(ranked[: len(front)]) == front
    assert sorted(ranked) == list(range(len(costs)))
    later = itertools.combinations(ranked, 2)
    assert not any(
        costs[two][0] < costs[one][0] and costs[two][1] > costs[one][1] for one, two in later
    )


def test_a_list_that_optuna_was_told_as_text_is_a_list_again(tmp_path: Path) -> None:
    trials = [(DONE, {"betas": "[0.9,0.999]"}, [1.0])]
    choices = {"space": {"betas": {"choices": ["[0.9,0.999]", "none"]}}}
    folder_of(tmp_path / "a", ["maximize"], trials, choices)
    quoted = {"space": {"betas": {"choices": ["'[0.9,0.999]'", "none"]}}}
    folder_of(tmp_path / "b", ["maximize"], trials, quoted)
    assert best({"study": "a", "best": 1}, tmp_path) == [{"betas": [0.9, 0.999]}]
    assert best({"study": "b", "best": 1}, tmp_path) == [{"betas": "[0.9,0.999]"}]


def test_what_is_wrong_with_the_best_of_a_study_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        best({"study": None, "best": 0}, tmp_path)
    assert [fault.key for fault in caught.value.faults] == [
        "hydra.sweeper.trials.study",
        "hydra.sweeper.trials.best",
    ]
    said = r"hydra.sweeper.trials.study=.*/nope: holds no study: it is not a folder"
    with pytest.raises(ConfigError, match=said):
        best({"study": "nope", "best": 1}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_trial_was_is_read_from_its_folder(tmp_path: Path) -> None:
    trials = [(DONE, {"lr": 0.1}, [0.5])]
    ours = folder_of(tmp_path / "a", ["minimize"], trials, folder="trials/7")
    # Of several runs with different seeds the first tells it.
    record_of(ours / "trials" / "7" / "0", "{net: large, nets: [a, b], hydra/launcher: local}")
    found = read_earlier({"study": "a", "best": 1}, tmp_path)
    assert (found.name, found.folder, found.directions) == ("a", ours, ("minimize",))
    assert found.trials[0].config == {"lr": 0.1, "half": "${lr}"}
    assert found.trials[0].choices == {"net": "large", "nets": ["a", "b"]}


def test_a_trial_whose_settings_are_gone_is_refused_by_number(tmp_path: Path) -> None:
    trials = [(DONE, {"lr": v}, [v]) for v in (0.1, 0.2, 0.3)]
    folder = folder_of(tmp_path / "a", ["minimize"], trials)
    (folder / "trials/0/.hydra" / "config.yaml").unlink()
    (folder / "trials/2/.hydra" / "hydra.yaml").write_text("hydra: {}")
    with pytest.raises(ConfigError, match=r"no config.yaml of its trial 0, so") as caught:
        read_earlier({"study": "a", "best": 3}, tmp_path)
    first, second = map(str, caught.value.faults)
    assert first.startswith(f"hydra.sweeper.trials.study={folder}: ")
    assert "cannot tell the settings of its trial 2" in second
