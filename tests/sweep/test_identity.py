"""When two commands mean the same study, and what is said when they do not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from test_plan import OPTIONS

from resnet_sweep.sweep.conditions import lookup_in
from resnet_sweep.sweep.identity import differences, overrides_hash, quoted, study_identity
from resnet_sweep.sweep.plan import make_plan

CONFIG = "lr: 0.1\ndevice: cpu\ndata: {root: here, num: 3}\nmap: {}\n"
STUDY = ["hydra/sweeper=study"]


@pytest.fixture
def conf(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "config.yaml").write_text(CONFIG)
    with initialize_config_dir(str(tmp_path)):
        yield tmp_path


def digest(*overrides: str) -> str:
    config = compose("config", [*STUDY, *overrides], return_hydra_config=True)
    return overrides_hash(config, {"device", "data.root"})


def identity(*arguments: str, **options: Any) -> dict[str, Any]:
    """Of a sweep in which ``key=a,b`` varies and other arguments are fixed."""
    fixed = [line for line in arguments if "," not in line]
    config = compose("config", [*STUDY, *fixed], return_hydra_config=True)
    loader = GlobalHydra.instance().config_loader()
    changed = replace(OPTIONS, **options)
    plan = make_plan(changed, arguments, loader, Path("/nonexistent"), lookup_in(config))
    return study_identity(changed, plan, config, {"device", "data.root"})


@pytest.mark.usefixtures("conf")
def test_the_same_command_has_the_same_hash() -> None:
    first = digest("lr=1", "data.num=4")
    assert len(first) == 8
    assert first == digest("data.num=4", "lr=1"), "order"
    assert first == digest("lr=1", "data.num=4", "device=cuda", "data.root=there"), "free keys"
    how = ("hydra.sweeper.n_trials=9", "hydra.sweeper.n_jobs=2", "hydra.verbose=true")
    assert first == digest("lr=1", "data.num=4", *how), "how it is worked on"
    others = [
        digest("lr=2", "data.num=4"),
        digest("lr=1"),
        digest("lr=1", "data.num=4", "hydra.sweeper.direction=maximize"),
        digest("lr=1", "data.num=4", "hydra/sweeper/pruner=median"),
        digest("lr=1", "data.num=4", "hydra.sweeper.repeats=2", "hydra.sweeper.seed_key=lr"),
        digest("lr=1", "data.num=4", "hydra.sweeper.trials=[{lr:1}]"),
    ]
    assert len({first, *others}) == 7


@pytest.mark.usefixtures("conf")
def test_what_stands_for_something_else_each_time_is_taken_as_typed() -> None:
    assert digest("lr=${data.num}") == digest("lr=${data.num}")
    assert digest("lr=${data.num}") != digest("lr=3")
    moving = "data.root=${now:%f}"
    assert digest(moving) == digest(moving)


@pytest.mark.usefixtures("conf")
def test_an_identity_survives_json_and_differs_from_itself_in_nothing() -> None:
    first = identity("lr=0.1,0.2")
    assert differences(json.loads(json.dumps(first)), identity("lr=0.1,0.2")) == []
    assert differences(first, identity("lr=0.1,0.2", "device=cuda", "data.root=x")) == []


@pytest.mark.usefixtures("conf")
def test_all_differences_are_named() -> None:
    old = identity("lr=0.1,0.2")
    new = identity("lr=0.1,0.3", "data.num=4", "+map.a=1", direction="maximize", repeats=2)
    found = {fault.key: str(fault) for fault in differences(old, new)}
    assert found.keys() == {
        "hydra.sweeper.direction", "hydra.sweeper.repeats", "lr", "data.num", "map", "map.a",
    }  # fmt: skip
    assert "data.num=4: the study has data.num=3" in found["data.num"]
    assert "map.a=1: the study has no map.a" in found["map.a"]
    assert "hydra.sweeper.study_name" in found["lr"]
    trials = identity("lr=0.1,0.2", trials=[{"data.num": 1}])
    assert {fault.key for fault in differences(old, trials)} >= {"hydra.sweeper.trials", "data.num"}


@pytest.mark.usefixtures("conf")
def test_what_params_set_once_for_all_is_part_of_a_study() -> None:
    old = identity("lr=0.1,0.2", params={"data.num": 3, "device": "cpu"})
    new = identity("lr=0.1,0.2", params={"data.num": "4", "device": "cuda"})
    (fault,) = differences(json.loads(json.dumps(old)), new)
    assert "data.num=4: the study has data.num=3" in str(fault)
    assert differences(new, identity("lr=0.1,0.2", params={"data.num": 4})) == []


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=20))
def test_any_folder_can_be_an_override(text: str) -> None:
    line = f"key={quoted(text)}"
    assert OverridesParser.create().parse_override(line).value() == text
