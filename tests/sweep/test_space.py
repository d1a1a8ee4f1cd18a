"""The search space means what Hydra's grammar and the stock sweeper mean, less their errors."""

from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from hydra.types import RunMode
from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from resnet_sweep.faults import ConfigError
from resnet_sweep.sweep.compose import Composer
from resnet_sweep.sweep.space import Dimension, Space, canonical, encode, lookup_in, scalar

CONFIG = """
defaults: [{optimizer: sgd}, _self_]
lr: 0.1
depth: 18
name: null
items: [1, 2]
"""


@pytest.fixture
def loader(tmp_path: Path) -> Iterator[ConfigLoader]:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "config.yaml").write_text(CONFIG)
    for name in ("adam", "adamw", "sgd"):
        (tmp_path / "optimizer" / f"{name}.yaml").write_text("momentum: 0.9\n")
    with initialize_config_dir(config_dir=str(tmp_path)):
        yield GlobalHydra.instance().config_loader()


@pytest.fixture
def master(loader):
    hydra = GlobalHydra.instance().hydra
    return hydra.compose_config("config", [], run_mode=RunMode.MULTIRUN)


@pytest.fixture
def parse(loader):
    return lambda *arguments, **params: Space.parse(params, arguments, loader)


def read(text: str) -> Any:
    return OverridesParser.create().parse_override(text).value()


def exactly(value: Any) -> Any:
    """A value with its types, comparable even where Python sees no difference."""
    if isinstance(value, dict):
        return {exactly(k): exactly(v) for k, v in value.items()}
    if isinstance(value, list):
        return [exactly(item) for item in value]
    return type(value), repr(value)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.text("\\'\"${}[](),:=? a1\t\n", max_size=8),
    st.sampled_from(
        ["1", "1.0", "1e5", "true", "Null", "nan", "-inf", "", " ", "a.5", "a-b/c", "~"]
    ),
)
names = st.one_of(st.from_regex(r"[a-z_]{1,5}", fullmatch=True), st.integers(0, 99))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=6,
)


@given(values)
def test_hydra_reads_a_written_value_as_exactly_that_value(value):
    if isinstance(value, dict) and {"true", "false", "null", "nan", "inf"} & value.keys():
        return
    assert exactly(read(f"key={encode(value)}")) == exactly(value)


@pytest.mark.parametrize("value", [{"a b": 1}, {"1": 2}, {"null": 1}, {(1,): 1}, object(), {1, 2}])
def test_what_the_grammar_cannot_write_is_a_fault(value):
    with pytest.raises(ConfigError, match="cannot be written as an override"):
        encode(value, "key")


@pytest.mark.parametrize(
    "text",
    [
        "choice(a,b)",
        "1,2,3",
        "true,false",
        "choice(0.1,1e-3)",
        "range(1,10)",
        "range(10,1,-3)",
        "range(1,2,0.25)",
        "range(0,1,0.1)",
        "range(0,1e-320,1e-321)",
        "float(range(1,4))",
        "sort(3,1,2)",
        "sort(range(1,5),reverse=true)",
        "interval(0,1)",
        "interval(1,10)",
        "int(interval(1,10))",
        "tag(log,interval(1e-4,1e-1))",
        "tag(log,int(interval(1,100)))",
        "interval(2,2)",
        "[a,b],[c]",
    ],
)
def test_distributions_are_those_of_the_stock_sweeper(parse, text):
    stock = create_params_from_overrides([f"key={text}"])[0]["key"]
    (dimension,) = parse(f"key={text}").dimensions
    assert dimension.distribution() == stock


@pytest.mark.parametrize(
    "arguments",
    [
        ["a=1,2", "b=x,y,z"],
        ["a=range(10,1,-3)", "b=range(0,1,0.25)", "c=true,null"],
        ["optimizer=glob(adam*)", "a=choice(1,2)", "lr=0.5"],
        ["a=1,2", "b=1,2", "a=3,4"],
        ["a=sort(3,1,2)", "a2=int('3'),4"],
        ["a=x"],
    ],
)
def test_a_grid_has_the_order_of_hydras_basic_sweeper(loader, arguments):
    parsed = OverridesParser.create(loader).parse_overrides(arguments)
    (expected,) = BasicSweeper.split_arguments(parsed, None)
    space = Space.parse(None, arguments, loader)
    ours = [space.overrides(point) for point in space.grid()]
    assert space.size() == len(ours)
    assert [{t.split("=")[0]: read(t) for t in job} for job in ours] == [
        {t.split("=")[0]: read(t) for t in job} for job in expected
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("choice('c,d','e')", ["c,d", "e"]),
        ("'c,d',\"e'f\"", ["c,d", "e'f"]),
        ("choice('1','2')", ["1", "2"]),
        ("'1',1", ["1", 1]),
        ("choice(null,1)", [None, 1]),
        ("null,1,'null'", [None, 1, "null"]),
        ("choice(true,'true')", [True, "true"]),
        ("choice(a b,'')", ["a b", ""]),
        ("choice([0.9,'1'],[1,2])", [[0.9, "1"], [1, 2]]),
        ("choice({a:1},{a:'1'})", [{"a": 1}, {"a": "1"}]),
        ("choice(a,a,b)", ["a", "b"]),
        ("1,1.0,2", [1, 2]),
        ("glob(*,exclude=adam*)", ["sgd"]),
        ("inf,1.0", [math.inf, 1.0]),
    ],
)
def test_choices_keep_their_values_through_composition(parse, loader, text, expected):
    key = "optimizer" if "glob" in text else "name"
    (dimension,) = parse(**{key: text}).dimensions
    written = [read(dimension.override(value)) for value in dimension.values()]
    assert exactly(written) == exactly(expected)
    assert dimension.ends() == dimension.values()
    for value in dimension.values():
        assert value is None or isinstance(value, (bool, int, float, str))
    dimension.distribution()


def test_a_choice_arrives_in_the_configuration(parse, loader, master):
    space = parse(name="choice('c,d',null,'1')", optimizer="adam,adamw")
    composer = Composer(loader, master)
    configs = [composer.compose(space.overrides(point)) for point in space.grid()]
    names = [(cfg.name, cfg.hydra.runtime.choices.optimizer) for cfg in configs]
    assert names == list(itertools.product(["c,d", None, "1"], ["adam", "adamw"]))


@given(st.lists(scalars, min_size=1, max_size=5))
def test_dimensions_of_plain_values_give_them_back(elements):
    mixed = {v for v in elements if isinstance(v, bool)} & {
        v for v in elements if isinstance(v, (int, float)) and not isinstance(v, bool)
    }
    if mixed:
        with pytest.raises(ConfigError, match="cannot tell apart"):
            Dimension.of_values("key", elements)
        return
    dimension = Dimension.of_values("key", elements)
    for element in elements:
        assert dimension.contains(element)
        assert canonical({"key": read(dimension.override(element))}) == canonical({"key": element})


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("interval(0,1)", [0, 0.5, 1.0], [-0.1, 2, "0.5", None, True, math.nan]),
        ("range(0,1,0.1)", [0.3, 0.1 + 0.2, 0], [0.35, 1.0]),
        ("int(interval(1,3))", [1, 2.0], [1.5, 4]),
        ("[1,2],[3]", [[1, 2], "[3]"], [[3, 1], 3]),
        ("a,b", ["a"], ["c"]),
    ],
)
def test_a_dimension_knows_its_values(parse, text, inside, outside):
    (dimension,) = parse(f"key={text}").dimensions
    assert [dimension.contains(value) for value in inside] == [True] * len(inside)
    assert [dimension.contains(value) for value in outside] == [False] * len(outside)


def test_the_ends_stand_for_numbers(parse):
    ends = [
        d.ends() for d in parse("a=interval(0,1)", "b=range(1,9,2)", "c=interval(3,3)").dimensions
    ]
    assert ends == [[0.0, 1.0], [1, 7], [3.0]]


def test_an_interval_of_one_value_is_finite(parse):
    space = parse("a=interval(3,3)", "b=int(interval(1,3))")
    assert space.is_finite
    assert space.grid() == [{"a": 3.0, "b": b} for b in (1, 2, 3)]
    assert not parse("a=interval(3,4)").is_finite
    assert parse("a=interval(3,4)").size() is None


def test_a_shuffled_range_has_the_same_order_each_time(parse):
    orders = [parse("a=shuffle(range(20))").grid() for _ in range(2)]
    assert orders[0] == orders[1]
    assert sorted(point["a"] for point in orders[0]) == list(range(20))
    assert [point["a"] for point in orders[0]] != list(range(20))


def test_the_command_line_wins_over_params(loader):
    params = {"lr": "interval(0,1)", "+new": "1,2", "depth": 18, "name": "a"}
    space = Space.parse(params, ["lr=0.5", "++new=3", "depth=18,34", "name=b"], loader)
    assert space.fixed == ("lr=0.5", "name=b", "++new=3")
    assert [d.key for d in space.dimensions] == ["depth"]


def test_a_deleted_key_does_not_vary_but_may_be_added_again(loader):
    assert Space.parse({"lr": "1,2"}, ["~lr"], loader) == Space(fixed=("~lr",))
    space = Space.parse({"~lr": None}, ["+lr=1,2"], loader)
    assert space.fixed == ("~lr",)
    assert [d.key for d in space.dimensions] == ["+lr"]


def test_fixed_overrides_stay_as_typed(parse):
    typed = ("name=", "lr='0.1'", "~items", "+a={b:[1,'2']}", "items=[1,2]", "hydra.job.num=3")
    assert parse(*typed).fixed == typed


def test_plain_params_are_values(loader):
    params = OmegaConf.create(
        {"lr": 1e-5, "name": None, "items": [1, "2", "a b"], "depth": "${lr}", "flag": True}
    )
    space = Space.parse(params, [], loader)
    expected = ("lr=1e-05", "name=null", "items=[1,'2','a b']", "depth=1e-05", "flag=true")
    assert space.fixed == expected
    assert space.dimensions == ()


def test_values_win_over_fixed_overrides_and_any_key_is_written(parse):
    space = parse("lr=0.1", "+new=1,2")
    values = {"lr": 0.2, "new": 2, "name": "a,b", "items": [None, "1"]}
    assert space.overrides(values) == ["+new=2", "lr=0.2", "name='a,b'", "items=[null,'1']"]


def test_conditions_leave_dimensions_out_of_the_grid(loader, master):
    params = {
        "optimizer.momentum": {"space": [0.5, 0.9], "when": "optimizer=sgd"},
        "extra": {"space": "1,2", "when": ["optimizer=[adam,sgd]", "lr=0.1", "depth=18"]},
        "below": {"space": 7, "when": "optimizer.momentum=0.9"},
        "optimizer": "adam,adamw,sgd",
    }
    space = Space.parse(params, ["lr=0.1"], loader, lookup_in(master))
    keys = [dimension.key for dimension in space.dimensions]
    assert keys == ["optimizer", "optimizer.momentum", "extra", "below"]
    grid = space.grid(lookup_in(master))
    assert grid == [
        {"optimizer": "adam", "extra": 1},
        {"optimizer": "adam", "extra": 2},
        {"optimizer": "adamw"},
        {"optimizer": "sgd", "optimizer.momentum": 0.5, "extra": 1},
        {"optimizer": "sgd", "optimizer.momentum": 0.5, "extra": 2},
        {"optimizer": "sgd", "optimizer.momentum": 0.9, "extra": 1, "below": 7},
        {"optimizer": "sgd", "optimizer.momentum": 0.9, "extra": 2, "below": 7},
    ]
    assert len({canonical(point) for point in grid}) == len(grid)
    assert space.size(lookup_in(master)) == len(grid)


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ("lr=0.1", True),
        ("lr=1", False),
        ("optimizer=sgd", True),
        ("name=null", True),
        ("optimizer.momentum=0.9", True),
        ("depth=[1,18.0]", True),
        ("depth='18'", False),
    ],
)
def test_conditions_may_be_on_the_configuration(loader, master, when, holds):
    params = {"a": {"space": "1,2", "when": when}}
    space = Space.parse(params, [], loader, lookup_in(master))
    assert space.grid() == ([{"a": 1}, {"a": 2}] if holds else [{}])
    space = Space.parse(params, [], loader)
    assert space.active(space.dimensions[0], {}, lookup_in(master)) is holds
    with pytest.raises(ConfigError, match="which is neither searched nor in the configuration"):
        space.grid()


def test_a_grid_may_start_from_what_is_given(parse):
    space = parse(
        "a=1,2",
        "+b=3,4",
        "c=interval(0,1)",
        optimizer="adam,sgd",
        momentum={"space": "0.5,0.9", "when": "optimizer=sgd"},
    )
    assert space.grid(given={"optimizer": "sgd", "c": 0.5, "b": 7, "a": 9}) == [
        {"optimizer": "sgd", "c": 0.5, "b": 7, "a": 9, "momentum": momentum}
        for momentum in (0.5, 0.9)
    ]
    given = {"optimizer": "adam", "c": 0.5, "b": 7}
    assert space.grid(given=given) == [{**given, "a": 1}, {**given, "a": 2}]


def test_optuna_draws_only_what_is_active(loader, master):
    params = {
        "optimizer": "adam,sgd",
        "momentum": {"space": "interval(0.5,0.99)", "when": "optimizer=sgd"},
        "lr": "tag(log, interval(1e-4, 1e-1))",
        "depth": "range(1,10,2)",
        "width": "int(interval(1,8))",
        "items": "[1,2],[3]",
    }
    space = pickle.loads(pickle.dumps(Space.parse(params, [], loader)))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        chosen = space.suggest(trial, lookup_in(master))
        assert trial.params == chosen
        assert ("momentum" in chosen) is (chosen["optimizer"] == "sgd")
        distributions = {d.key: d.distribution() for d in space.dimensions}
        assert all(trial.distributions[key] == distributions[key] for key in chosen)
        assert all(d.contains(chosen[d.key]) for d in space.dimensions if d.key in chosen)
        study.tell(trial, 0.0)


def test_a_planned_point_is_what_optuna_suggests(parse):
    space = parse("a=null,'1',1", "b=[1,2],[3]", "c=range(0,1,0.1)")
    study = optuna.create_study()
    for point in space.grid():
        study.enqueue_trial(point)
    assert [space.suggest(study.ask()) for _ in space.grid()] == space.grid()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"a": "interval(1,0)"}, r"a=interval\(1,0\): must not end below its start"),
        ({"a": "tag(log,interval(0,1))"}, "must start above 0 on a logarithmic scale"),
        ({"a": "tag(lin,interval(0,1))"}, "has the unknown tag lin; choose one of: log"),
        ({"a": "tag(log,choice(1,2))"}, "has the tag log, which only an interval can have"),
        ({"a": "interval(0,inf)"}, "must have finite ends"),
        ({"a": "range(0,inf,0.5)"}, "must have a finite start, stop and step"),
        ({"a": "range(1,1)"}, "must contain a value"),
        ({"a": "range(1,5,0)"}, "must have a step other than 0"),
        ({"a": "true,1"}, "has both true and 1, which Optuna cannot tell apart"),
        ({"a": "'[1]',[1]"}, r"has a list or mapping beside the text \[1\]"),
        ({"optimizer": "glob(x*)"}, "matches nothing in this group; choose one of: adam, adamw"),
        ({"hydra.job.num": "1,2"}, "hydra.job.num=1,2: cannot vary from trial to trial"),
        ({"hydra/launcher": "a,b"}, "hydra/launcher=a,b: cannot vary from trial to trial"),
        ({"a": {"b": 1}}, "hydra.sweeper.params.a={'b': 1}: must be a value, a text such as"),
        ({"a": {"when": "x=1"}}, "must be a value, a text such as"),
        ({"a": {"space": [], "when": "lr=1"}}, "has no value to choose from"),
        (
            {"a": {"space": "1,2", "when": "x=1"}},
            r"params.a.when=x=1: is about x, which is neither",
        ),
        ({"a": {"space": "1,2", "when": "x=1,2"}}, "must be key=value, or"),
        ({"a": {"space": "1,2", "when": "~x"}}, "must be key=value, or"),
        ({"a": {"space": "1,2", "when": 3}}, "must be a text such as optimizer=sgd"),
        ({"a": {"space": "1,2", "when": "a=1"}}, "params.a.when=a=1: goes in a circle: a needs a"),
    ],
)
def test_faults(loader, master, params, message):
    with pytest.raises(ConfigError, match=message):
        Space.parse(params, [], loader, lookup_in(master))


def test_all_faults_come_at_once_and_circles_are_shown(loader):
    params = {
        "a": {"space": "1,2", "when": "b=1"},
        "b": {"space": "1,2", "when": "c=1"},
        "c": {"space": "1,2", "when": "a=1"},
        "d": "interval(1,0)",
    }
    with pytest.raises(ConfigError, match=r"2 faults(.|\n)*a needs b needs c needs a") as info:
        Space.parse(params, [], loader)
    assert [fault.key for fault in info.value.faults] == ["hydra.sweeper.params.a.when", "d"]


def test_bad_syntax_is_told_by_hydra(parse):
    with pytest.raises(OverrideParseException, match="a=choice"):
        parse("a=choice(1")


def test_an_absurd_grid_is_refused(parse):
    space = parse("a=range(1000)", "b=range(1000)")
    assert space.size() == 1_000_000
    with pytest.raises(ConfigError, match=r"the grid of a x b has up to 1000000 points"):
        space.grid()
    with pytest.raises(ConfigError, match="has up to 999999999999 points"):
        parse("a=range(1,1000000000000)").grid()


def test_a_space_is_identified_by_what_varies(parse):
    first = parse("a=1,2", "b=interval(0,1)", "lr=0.1").to_json()
    assert first == parse("b=interval(0,1)", "a=1,2", "lr=0.2").to_json()
    different = ["a=1,3", "a=1,'2'", "a=range(1,3)", "+a=1,2"]
    assert all(parse(text, "b=interval(0,1)").to_json() != first for text in different)
    assert parse("a=1,2", "b=tag(log,interval(1,2))").to_json() != first


def test_configurations_are_the_same_under_the_same_text():
    nan = float("nan")
    assert canonical({"x": 1, "+y": nan}) == canonical({"y": nan, "x": 1.0})
    assert canonical({"x": [1, {"a": 2.0}]}) == canonical({"x": [1.0, {"a": 2}]})
    texts = [canonical({"x": x}) for x in (1, True, "1", 1.5, None, "null", nan, "nan", [1], "[1]")]
    assert len(set(texts)) == len(texts)
    assert (scalar([1, "a"]), scalar(None), scalar("x")) == ("[1,a]", None, "x")
