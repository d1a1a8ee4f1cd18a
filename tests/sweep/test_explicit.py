"""Explicit trials: lists and files."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from resnet_sweep.faults import ConfigError
from resnet_sweep.sweep.explicit import read_trials

NOWHERE = Path("/nonexistent")


def typed(text: str) -> Any:
    """What Hydra makes of ``hydra.sweeper.trials=...``."""
    return OverridesParser.create().parse_override(f"hydra.sweeper.trials={text}").value()


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, str], str]:
    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return name

    return write


def test_none_are_none() -> None:
    assert read_trials(None, NOWHERE) == []
    assert read_trials([], NOWHERE) == []
    assert read_trials(OmegaConf.create([]), NOWHERE) == []


@pytest.mark.parametrize("node", [lambda spec: spec, OmegaConf.create])
def test_a_list_from_the_command_line(node: Callable[[Any], Any]) -> None:
    spec = typed("[{optimizer.lr:1e-3,model:plain50},{optimizer:{lr:0.1,betas:[0.9,0.99]}},{}]")
    assert read_trials(node(spec), NOWHERE) == [
        {"optimizer.lr": 0.001, "model": "plain50"},
        {"optimizer.lr": 0.1, "optimizer.betas": [0.9, 0.99]},
        {},
    ]


def test_values_keep_their_types() -> None:
    values = {"a": True, "b": None, "c": 1, "d": 1.0, "e": "1", "f": [], "g": {}, "+h": [[1], {}]}
    (read,) = read_trials(OmegaConf.create([values]), NOWHERE)
    assert read == values
    assert [type(value) for value in read.values()] == [type(value) for value in values.values()]


def test_interpolations_of_the_sweeps_configuration_are_resolved() -> None:
    config = OmegaConf.create({"lr": 0.5, "trials": [{"optimizer.lr": "${lr}"}]})
    assert read_trials(config.trials, NOWHERE) == [{"optimizer.lr": 0.5}]
    with pytest.raises(ConfigError, match=r"trials\[0\].a=.*: refers to nope, which is not"):
        read_trials(OmegaConf.create({"trials": [{"a": "${nope}"}]}).trials, NOWHERE)


def test_a_yaml_file(file: Callable[[str, str], str], tmp_path: Path) -> None:
    name = file(
        "trials.yaml",
        """
- optimizer.lr: 1e-3   # a number here, text to other readers of YAML
  model: plain50
- optimizer: {lr: 0.1, nesterov: yes}
  note: '1e-3'
  trainer.seed: null
  later: ${optimizer.lr}
""",
    )
    expected = [
        {"optimizer.lr": 0.001, "model": "plain50"},
        {
            "optimizer.lr": 0.1,
            "optimizer.nesterov": True,
            "note": "1e-3",
            "trainer.seed": None,
            "later": "${optimizer.lr}",
        },
    ]
    assert read_trials(name, tmp_path) == expected
    assert read_trials(str(tmp_path / name), NOWHERE) == expected


def test_a_csv_file(file: Callable[[str, str], str], tmp_path: Path) -> None:
    name = file(
        "trials.CSV",
        "\ufeffoptimizer.lr, model ,a,b\r\n"
        "1e-3,plain50,true,\r\n"
        "\r\n"
        "0.1, resnet50 ,,'1e-3'\r\n"
        '5,"""7""",null,"[1, 2e-1]"\r\n',
    )
    assert read_trials(name, tmp_path) == [
        {"optimizer.lr": 0.001, "model": "plain50", "a": True},
        {"optimizer.lr": 0.1, "model": "resnet50", "b": "1e-3"},
        {"optimizer.lr": 5, "model": "7", "a": None, "b": [1, 0.2]},
    ]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1e-3", 0.001),
        ("-2", -2),
        (".nan", math.nan),
        ("~", None),
        ("False", False),
        ("a: b", "a: b"),
        ("a #b", "a #b"),
        ("#fff", "#fff"),
        ("-", "-"),
        ("---", "---"),
        ("*x", "*x"),
        ("${optimizer.lr}", "${optimizer.lr}"),
        ("/data/a b", "/data/a b"),
        ("'it''s'", "it's"),
        ("'open", "'open"),
        ("[1", "[1"),
        ("{a}", "{a}"),
    ],
)
def test_a_cell(cell: str, value: Any, file: Callable[[str, str], str], tmp_path: Path) -> None:
    (trial,) = read_trials(file("t.csv", f"x\n{cell}\n"), tmp_path)
    assert type(trial["x"]) is type(value)
    assert trial["x"] == value or (math.isnan(value) and math.isnan(trial["x"]))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", "", "a.yaml: has no trials in it"),
        ("a.yaml", "# nothing\n", "has no trials in it"),
        ("a.yaml", "[]", "has no trials in it"),
        ("a.yml", "a: 1", "must hold a list of trials; begin each trial with '- '"),
        ("a.yaml", "- {a: 1, a: 2}", "a.yaml: cannot be read: .*duplicate key a"),
        ("a.yaml", "- {a: [", "a.yaml: cannot be read: while parsing"),
        ("a.yaml", "- 3", r"hydra.sweeper.trials=a.yaml\[0\]=3: is no trial; write {key: value"),
        ("a.csv", "", "has no trials in it"),
        ("a.csv", "lr\n", "has no trials in it"),
        ("a.csv", "lr,b,lr\n1,2,3\n", "has the column lr twice"),
        ("a.csv", "lr,\n1,2\n", "has a column without a key in its first row"),
        (
            "a.csv",
            "lr,b\n1\n1,2,3\n",
            "1 cells for trial 1 and 2 columns(.|\n)*3 cells for trial 2",
        ),
        ("a.csv", 'lr\n"1\n', "is no CSV file: "),
        ("a.csv", "hydra.run.dir\nx\n", r"a.csv\[0\].hydra.run.dir=x: belongs to Hydra"),
        ("a.txt", "x", r"is of no known form; choose one of: a list of trials"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    name: str, text: str, said: str, file: Callable[[str, str], str], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        read_trials(file(name, text), tmp_path)


def test_a_file_that_is_missing_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trials=.*/nope.yaml: is no file"):
        read_trials("nope.yaml", tmp_path)
    (tmp_path / "latin.csv").write_bytes(b"model\n\xe9\n")
    with pytest.raises(ConfigError, match=r"latin.csv: cannot be read: is no text in UTF-8"):
        read_trials("latin.csv", tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"- model: \xe9\n")
    with pytest.raises(ConfigError, match=r"latin.yaml: "):
        read_trials("latin.yaml", tmp_path)


def test_everything_wrong_with_a_list_is_said_at_once() -> None:
    spec = [
        {"hydra.sweep.dir": "x", "lr": 1},
        "model=plain50",
        {"optimizer": {"lr": 1}, "optimizer.lr": 2},
        {"hydra/launcher": "local", "a b": 1, "~c": None},
        {"x": [{"y": object()}]},
    ]
    with pytest.raises(ConfigError) as caught:
        read_trials(spec, NOWHERE)
    assert [fault.key for fault in caught.value.faults] == [
        "hydra.sweeper.trials[0].hydra.sweep.dir",
        "hydra.sweeper.trials[1]",
        "hydra.sweeper.trials[2].optimizer.lr",
        "hydra.sweeper.trials[3].hydra/launcher",
        "hydra.sweeper.trials[3].a b",
        "hydra.sweeper.trials[3].~c",
        "hydra.sweeper.trials[4].x",
    ]
    assert caught.value.faults[2].rule == "is set twice"
    assert caught.value.faults[6].rule == "is of type object, which cannot be typed as an override"


@pytest.mark.parametrize("spec", [3, True, {"optimizer.lr": 0.1}, {"study": "x"}, {}])
def test_unknown_forms(spec: object) -> None:
    with pytest.raises(ConfigError, match=r"is of no known form; choose one of: .*{study:FOLDER"):
        read_trials(spec, NOWHERE)
