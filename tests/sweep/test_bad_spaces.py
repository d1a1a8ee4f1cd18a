"""Whatever is typed or written as a search space: a space, or faults that say what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import OverrideParseException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.sweep.config import Options, check_options
from resnet_sweep.sweep.space import Space

NUMBERS = st.sampled_from(
    ["0", "1", "-1", "0.5", "1e-4", "1e400", "nan", "inf", "-inf", "9" * 400, "null", "a", "true"]
)
WORDS = st.sampled_from(
    ["a", "", "''", '"', "${x}", "${", "{a:1}", "[1,[2]]", "\\", "\n", "é", "*", "\x00", "1,2", ":"]
)
FUNCTIONS = st.sampled_from(
    ["interval", "range", "choice", "tag", "glob", "shuffle", "sort", "int", "float", "bool", "str"]
)


def spelled() -> SearchStrategy[str]:
    """Texts that look like values, lists and functions of Hydra's grammar."""
    leaf = NUMBERS | WORDS

    def extend(inner: SearchStrategy[str]) -> SearchStrategy[str]:
        several = st.lists(inner, max_size=4).map(",".join)
        call = st.tuples(FUNCTIONS, several).map(lambda pair: f"{pair[0]}({pair[1]})")
        return several | call | inner.map(lambda text: f"log,{text}")

    return st.recursive(leaf, extend, max_leaves=6)


PARAMETERS = st.recursive(
    spelled() | st.none() | st.booleans() | st.integers() | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["space", "when", "spaces"]), inner, max_size=3)
    ),
    max_leaves=5,
)
KEYS = st.sampled_from(["lr", "kind", "x.y", "+new", "~lr", "", "a b", "hydra.job.name", "é"])


@pytest.fixture
def loader(tmp_path: Path) -> Iterator[ConfigLoader]:
    (tmp_path / "kind").mkdir()
    (tmp_path / "config.yaml").write_text("defaults: [{kind: sgd}, _self_]\nlr: 0.1\nseed: 0\n")
    for name in ("adam", "sgd"):
        (tmp_path / "kind" / f"{name}.yaml").write_text("momentum: 0.9\n")
    with initialize_config_dir(config_dir=str(tmp_path)):
        yield GlobalHydra.instance().config_loader()


def examples(number: int) -> Any:
    return settings(
        max_examples=number,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def check_arguments(loader: ConfigLoader, arguments: list[str]) -> None:
    found: list[Fault] = []
    try:
        space = Space.parse(None, arguments, loader)
        if space.is_finite and (space.size() or 0) <= 1000:
            for point in space.grid():
                assert space.overrides(point) is not None
    except ConfigError as error:
        found.extend(error.faults)
    except OverrideParseException:
        pass  # Hydra has refused it before, and it is told with the others.
    assert all(fault.rule for fault in found)


def check_params(loader: ConfigLoader, params: dict[str, Any]) -> None:
    def nowhere(key: str) -> Any:
        raise KeyError(key)

    found: list[Fault] = []
    try:
        Space.parse(params, [], loader, nowhere)
    except ConfigError as error:
        found.extend(error.faults)
    assert all(fault.rule and "\n" not in str(fault) for fault in found)


@examples(15)
@given(key=KEYS, value=spelled())
def test_any_text_is_a_space_or_told(loader: ConfigLoader, key: str, value: str) -> None:
    check_arguments(loader, [f"{key}={value}"])


@examples(15)
@given(params=st.dictionaries(KEYS, PARAMETERS, max_size=3))
def test_any_parameters_are_a_space_or_told(loader: ConfigLoader, params: dict[str, Any]) -> None:
    check_params(loader, params)


@pytest.mark.slow
@examples(300)
@given(key=KEYS, value=spelled())
def test_many_texts_are_spaces_or_told(loader: ConfigLoader, key: str, value: str) -> None:
    check_arguments(loader, [f"{key}={value}"])


@pytest.mark.slow
@examples(200)
@given(params=st.dictionaries(KEYS, PARAMETERS, max_size=4))
def test_many_parameters_are_spaces_or_told(loader: ConfigLoader, params: dict[str, Any]) -> None:
    check_params(loader, params)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"lr": "interval(2,1)"}, r"lr=interval\(2,1\): must not end below its start"),
        ({"lr": "tag(log,interval(0,1))"}, "must start above 0 on a logarithmic scale"),
        ({"lr": "interval(0,inf)"}, "must have finite ends"),
        ({"lr": "range(1,9,0)"}, "must have a step other than 0"),
        ({"lr": "range(1,9,-1)"}, "must contain a value"),
        ({"lr": "choice("}, r"hydra.sweeper.params.lr=choice\(: cannot be read"),
        ({"lr": {"space": []}}, "has no value to choose from"),
        ({"lr": {"spaces": "1,2"}}, "must be a value, a text such as interval"),
        ({"lr": {"space": "1,2", "when": 5}}, "must be a text such as optimizer=sgd"),
        ({"lr": {"space": "1,2", "when": "a b"}}, "params.lr.when=a b: cannot be read"),
        ({"lr": {"space": "1,2", "when": "lr=1"}}, "goes in a circle: lr needs lr"),
        ({"lr": {"space": "1,2", "when": "kind=sdg"}}, "kind=sdg: can never hold; .*adam, sgd"),
        (
            {"kind": "sgd,adam", "lr": {"space": "1,2", "when": "kind=[sgd,sdg]"}},
            "kind=sdg: can never hold; choose one of: sgd, adam",
        ),
        ({5: "1,2"}, "params.5=1,2: cannot be read"),
    ],
)
def test_what_is_wrong_with_parameters_is_said(
    params: dict[Any, Any], said: str, loader: ConfigLoader
) -> None:
    def lookup(key: str) -> Any:
        return {"kind": "sgd"}[key]

    with pytest.raises(ConfigError, match=said):
        Space.parse(params, [], loader, lookup)


def test_a_grid_without_end_is_refused_by_its_number(loader: ConfigLoader) -> None:
    space = Space.parse(None, ["lr=range(0,1000000)", "seed=range(0,1000)"], loader)
    with pytest.raises(ConfigError, match=r"up to 1000000000 points.*at most 100000"):
        space.grid()


def options(**values: Any) -> Options:
    nothing = dict.fromkeys(("storage", "study_name", "n_trials", "n_jobs", "custom_search_space"))
    defaults = {"sampler": {}, "direction": "minimize", "max_failure_rate": 1.0, "params": {}}
    return Options(**{**nothing, **defaults, **values})  # type: ignore[arg-type]


def test_numbers_of_the_sweeper_have_bounds_and_all_are_told_at_once() -> None:
    faults = check_options(
        options(
            n_trials=10**20,
            n_jobs=0,
            repeats=10**9,
            max_failure_rate=float("nan"),
            timeout_s=float("inf"),
            timeout_grace_s=-1.0,
            retry={"lost": -1, "exception": "often"},
        )
    )
    assert [fault.key.removeprefix("hydra.sweeper.") for fault in faults] == [
        "n_trials", "n_jobs", "repeats", "max_failure_rate", "timeout_s", "timeout_grace_s",
        "retry.lost", "retry.exception",
    ]  # fmt: skip
    assert all(fault.rule.startswith("must be") for fault in faults)
