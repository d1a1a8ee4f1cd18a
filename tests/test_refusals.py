"""What Hydra and OmegaConf refuse is told by key, value and rule, and all of it at once."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.errors import MissingConfigException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resnet_sweep.command import Command
from resnet_sweep.config import composed_faults, register_schema
from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.outcome import Typed
from resnet_sweep.refusals import REFUSED, faults_of


@pytest.fixture(scope="module", autouse=True)
def schema() -> None:
    register_schema()


def refused(*arguments: str) -> list[str]:
    """All faults of a command, each as it is told."""
    command = Command.typed(arguments)
    try:
        config = command.compose(command.overrides)
    except REFUSED as error:
        return [str(fault) for fault in command.faults(error)]
    return [str(fault) for fault in composed_faults(config)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.epochs=abc", "trainer.epochs=abc: must be a whole number"),
        ("trainer.epochs=1e400", "trainer.epochs=1e400: must be a whole number"),
        ("optimizer.lr=x", "optimizer.lr=x: must be a number"),
        ("optimizer.lr=nan", "optimizer.lr=nan: must be a finite number"),
        ("trainer.cuda_graph=3", "trainer.cuda_graph=3: must be true or false"),
        ("trainer.cuda_graph=2.5", "trainer.cuda_graph=2.5: must be true or false"),
        (
            "trainer.microbatch=[1]",
            "trainer.microbatch=[1]: must be a whole number, a text or null",
        ),
        ("trainer.epochs=null", "trainer.epochs=null: must not be null"),
        ("trainer.epochs=" + "9" * 30, "9: must be less than 2147483648"),
        ("trainer.epochs=" + "9" * 5000, ": has too many digits"),
        ("trainer.epoch=1", "trainer.epoch=1: is no setting; did you mean trainer.epochs?"),
        ("+trainer.foo=1", "trainer.foo=1: is no setting; nothing would read it"),
        ("~trainer.epochs", "override=~trainer.epochs: cannot be left out"),
        ("optimizer=null", "optimizer=null: must be the name of a choice"),
        ("optimizer=adm", "optimizer=adm: is not known; choose one of: adam, adamw"),
        ("=3", "override==3: must be the name of a choice"),
        ("trainer.epochs=${nope}", "trainer.epochs=${nope}: refers to nope, which is not there"),
        ("trainer.epochs=${trainer.epochs}", "trainer.epochs=${trainer.epochs}: refers to itself"),
        ("trainer.seed=${oc.env:NOPE_X}", "the environment variable NOPE_X, which is not there"),
        ("trainer.seed=${nope", "trainer.seed=${nope: cannot be read: mismatched input '{'"),
        ('trainer.seed="1', "trainer.seed=\"1: cannot be read from '\"1' on; values with spaces"),
        ("", "override='': cannot be read"),
        ("+@a=b", "@a=b: is no override that Hydra knows"),
        ("trainer.seed='a\x1b[31m'", r"trainer.seed='a\x1b[31m': must be a whole number"),
        ("trainer.seed=" + "[" * 3000 + "]" * 3000, "is nested too deeply"),
    ],
)
def test_an_override_is_refused_by_key_value_and_rule(override: str, said: str) -> None:
    (told,) = refused(override)
    assert said in told
    assert len(told) < 600
    assert told.isprintable()


def test_several_values_without_m_are_each_told_what_makes_a_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Typed, "program", ("python", "-m", "resnet_sweep"))
    fix = "several values make a sweep; type -m for one: python -m resnet_sweep -m ..."
    assert refused("optimizer.lr=1e-2,1e-3", "trainer.epochs=x", "model=resnet18,plain18") == [
        f"optimizer.lr=1e-2,1e-3: {fix}, or [1e-2,1e-3] where a list is meant",
        f"model=resnet18,plain18: {fix}",
        "trainer.epochs=x: must be a whole number",
    ]
    assert refused("optimizer.lr=interval(1e-3,0.1)") == [f"optimizer.lr=interval(1e-3,0.1): {fix}"]


@pytest.mark.parametrize("words", [(), ("-m", "optimizer.lr=1,2")], ids=["run", "sweep"])
def test_a_setting_of_another_choice_is_told_whose_it_is(words: tuple[str, ...]) -> None:
    assert refused(*words, "optimizer=adam", "optimizer.momentum=0.5") == [
        "optimizer.momentum=0.5: is no setting; optimizer=rmsprop, optimizer=sgd have it"
    ]


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("ray", "'resnet-sweep[ray]'"),
        ("submitit_slurm", "'resnet-sweep[submitit]'"),
        ("joblib", "hydra-joblib-launcher"),
    ],
)
def test_a_launcher_that_is_not_installed_says_what_has_it(name: str, package: str) -> None:
    error = MissingConfigException("not found", f"hydra/launcher/{name}", ["basic", "local"])
    (fault,) = faults_of(error)
    assert str(fault) == f"hydra/launcher={name}: is not installed; pip install {package}"


def test_a_launcher_that_nobody_knows_has_its_choices_told() -> None:
    # Its settings are nobody's fault.
    (told,) = refused("-m", "hydra/launcher=rya", "hydra.launcher.rya.init.address=auto")
    assert told.startswith("hydra/launcher=rya: is not known; choose one of: basic, ")


@pytest.mark.slow
def test_all_that_is_wrong_is_told_at_once() -> None:
    told = refused(
        "trainer.epochs=abc",
        "model=nope",
        "trainer.epoch=3",
        "trainer.seed=(1",
        "optimizer=adm",
        # Of a choice that is not known nobody knows the settings.
        "optimizer.betas=[0.9,0.99]",
        "trainer.cuda_graph=2.5",
    )
    assert sorted(told) == [
        "model=nope: is not known; choose one of: plain101, plain152, plain18, plain34, plain50, "
        "resnet101, resnet152, resnet18, resnet34, resnet50",
        "optimizer=adm: is not known; choose one of: adam, adamw, rmsprop, sgd",
        "trainer.cuda_graph=2.5: must be true or false",
        "trainer.epoch=3: is no setting; did you mean trainer.epochs?",
        "trainer.epochs=abc: must be a whole number",
        "trainer.seed=(1: cannot be read: extraneous input '('; values with spaces, commas, "
        "brackets, quotes, = or ~ need quotes of their own: \"data.root='my cats (1)'\"",
    ]  # fmt: skip


def test_what_only_a_whole_configuration_shows_is_told_at_once() -> None:
    told = refused(
        "data=image_folder", "trainer.cuda_graph=3", "optimizer.lr=-1", "trainer.seed=${nope}"
    )
    assert [line.partition("=")[0] for line in told] == ["trainer.cuda_graph", "trainer.seed"]
    told = refused("data=image_folder", "trainer.cuda_graph=3", "optimizer.lr=-1", "+a.b=1")
    keys = [line.partition("=")[0] for line in told]
    assert keys == ["trainer.cuda_graph", "a", "data.root", "optimizer.lr"]


def test_a_folder_of_configurations_that_is_none_is_named() -> None:
    command = Command.typed(["--config-dir", "/nowhere/at/all"])
    told = [str(fault) for fault in command.faults(ValueError("not found"))]
    assert told == ["--config-dir=/nowhere/at/all: is not a folder"]


def test_values_are_told_in_one_line_that_a_terminal_bears() -> None:
    fault = Fault("a\x1b", "x\ny" + "z" * 1000, "is\x07 odd", ("\x00",), "")
    text = str(fault)
    assert text.isprintable()
    assert r"a\x1b=x\ny" in text
    assert len(text) < 400
    assert str(Fault("a", 10**5000, "is odd")) == "a=a number of more than 300 digits: is odd"
    assert str(Fault("a", True, "is odd")) == "a=true: is odd"


KEYS = st.sampled_from(
    ["trainer.epochs", "trainer.cuda_graph", "optimizer", "optimizer.lr", "model", "trainer", "x",
     "hydra.job.name", "data.augment", "objective.metric", "trainer.microbatch", "@a", "a@b", ""]
)  # fmt: skip
VALUES = st.sampled_from(
    ["1", "-1", "1e400", "nan", "null", "true", "abc", "''", '"', "${x}", "${", "[1]", "{a:1}", "(",
     "[[1,2],{b:c}]", "9" * 400, "a b", "\\", "'a\nb'", "${oc.env:HOME}", "1,2", "choice()", "é"]
) | st.text(max_size=8)  # fmt: skip
OVERRIDES = st.builds(
    lambda sign, key, equals, value: f"{sign}{key}{equals}{value}",
    st.sampled_from(["", "+", "++", "~"]), KEYS, st.sampled_from(["=", "=", "=", ""]), VALUES,
)  # fmt: skip


def check(arguments: list[str]) -> None:
    arguments = [one for one in arguments if not one.startswith("-")]
    command = Command.typed(arguments)
    try:
        composed_faults(command.compose(command.overrides))
    except REFUSED as error:
        faults: list[Any] = command.faults(error)
        assert faults
        assert str(ConfigError(faults)).replace("\n", "").isprintable()


def examples(number: int) -> settings:
    return settings(
        max_examples=number, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )


@pytest.mark.slow
@examples(12)
@given(arguments=st.lists(OVERRIDES, min_size=1, max_size=3))
def test_any_overrides_are_a_configuration_or_told(arguments: list[str]) -> None:
    check(arguments)
