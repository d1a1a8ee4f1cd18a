"""The fast way to a trial's configuration gives what Hydra's own way gives, whatever is asked."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import Container, DictConfig, Node, OmegaConf, open_dict, read_write

from resnet_sweep.config import register_schema
from resnet_sweep.paths import config_dir
from resnet_sweep.sweep.compose import Composer


@dataclass
class Point:
    x: int = 1
    y: float | None = None
    tags: dict[str, int] = field(default_factory=dict)


FOREIGN = {
    "config.yaml": """
defaults:
  - kind: ???
  - db: mysql
  - server: apache
  - tuned: ${db}_${server}
  - db@backup: sqlite
  - optional extra: null
  - /foreign_schema/point@point
  - _self_
mode: fast
name: ???
title: run-${name}-${mode}
alias: ${hydra.job}
other: ${server}
items: [1, two, {three: 3}]
empty: null
nested: {a: {b: 1, c: "${mode}"}, l: [1, 2]}
hydra:
  job: {env_copy: [FOREIGN_ENV], name: foreign}
  sweep: {dir: "out/${now:%H}", subdir: "${hydra.job.override_dirname}"}
""",
    "db/mysql.yaml": "driver: mysql\nport: 3306\nuser: ???\n",
    "db/sqlite.yaml": "driver: sqlite\nfile: ${name}.db\nport: 1\n",
    "server/apache.yaml": "port: 80\nhost: ${db.driver}.local\n",
    "server/nginx.yaml": "# @package _global_\nserver: {port: 81}\nhydra: {job: {num: 7}}\n",
    "tuned/mysql_apache.yaml": "level: 1\n",
    "tuned/mysql_nginx.yaml": "level: 2\n",
    "tuned/sqlite_apache.yaml": "level: 3\n",
    "kind/a.yaml": "size: 1\n",
    "kind/b.yaml": "size: 2\nonly_b: ${nested.a}\n",
    "extra/one.yaml": "# @package extra.inner\nvalue: 1\n",
    "mode/strict.yaml": "never: chosen\n",
}


@contextmanager
def loader_of(folder: Path) -> Iterator[tuple[ConfigLoader, Any]]:
    with initialize_config_dir(config_dir=str(folder)):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        yield (
            hydra.config_loader,
            lambda *overrides: hydra.compose_config(
                "config", list(overrides), run_mode=RunMode.MULTIRUN
            ),
        )


@pytest.fixture
def ours() -> Iterator[tuple[ConfigLoader, DictConfig]]:
    register_schema()
    with loader_of(config_dir()) as (loader, compose):
        yield loader, compose("hydra.verbose=false", "hydra.job.chdir=false")


@pytest.fixture
def foreign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[ConfigLoader, DictConfig]]:
    monkeypatch.setenv("FOREIGN_ENV", "one")
    ConfigStore.instance().store(
        group="foreign_schema", name="point", node=Point, package="point", replace=True
    )
    for name, text in FOREIGN.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    with loader_of(tmp_path) as (loader, compose):
        yield loader, compose("hydra.job.name=given")


def anatomy(node: Any) -> Any:
    """Everything that tells one node from another: content, types and flags, all the way down."""
    if not isinstance(node, Node):
        return type(node), node
    metadata = {k: v for k, v in vars(node._metadata).items() if k != "resolver_cache"}
    content = node.__dict__.get("_content", node.__dict__.get("_val"))
    if isinstance(node, Container):
        if isinstance(content, dict):
            content = [(key, anatomy(child)) for key, child in content.items()]
            assert all(child._get_parent() is node for child in node._content.values())  # type: ignore[attr-defined]
        elif isinstance(content, (list, tuple)):
            content = [anatomy(child) for child in content]
    elif isinstance(content, Node):
        content = anatomy(content)
    elif content != content:
        content = "nan"
    return type(node), metadata, type(content), content


def outcome(make: Any, overrides: list[str]) -> Any:
    try:
        cfg = make(overrides)
    except Exception as error:
        return type(error), str(error), repr(error.__cause__)
    return anatomy(cfg), OmegaConf.get_cache(cfg)


def assert_same(composer: Composer, setting: tuple[ConfigLoader, DictConfig], overrides: list[str]):
    loader, master = setting
    expected = outcome(lambda o: loader.load_sweep_config(master, o), overrides)
    # The second time it comes from the cache.
    for _ in range(2):
        assert outcome(composer.compose, overrides) == expected


texts = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=6)
scalars = st.one_of(
    st.integers(-5, 1000).map(str),
    st.floats().map(str),
    st.sampled_from(
        [
            "true",
            "null",
            "abc",
            "''",
            "",
            "???",
            "'1'",
            '"a, b=c"',
            "${mode}",
            "'${name}'",
            "${hydra.job.num}",
            "a/b",
            "x y",
            r"a\,b",
            "'it\\'s'",
            "1,2",
            "choice(1,2)",
            "int('3')",
            "float(3)",
            "[1,2",
            "${",
        ]
    ),
    texts,
)
values = st.one_of(
    scalars,
    st.lists(scalars, max_size=3).map(lambda items: f"[{','.join(items)}]"),
    st.lists(scalars, max_size=2).map(
        lambda items: "{" + ",".join(f"k{i}:{v}" for i, v in enumerate(items)) + "}"
    ),
)


def overrides_of(keys: list[str], whole: list[str]) -> st.SearchStrategy[list[str]]:
    assignment = st.builds(
        lambda prefix, key, value: f"{prefix}{key}={value}",
        st.sampled_from(["", "", "", "", "+", "++"]),
        st.sampled_from(keys),
        values,
    )
    return st.lists(st.one_of(assignment, st.sampled_from(whole)), max_size=5)


OUR_KEYS = [
    "optimizer.lr",
    "optimizer.momentum",
    "optimizer.nesterov",
    "trainer.epochs",
    "trainer.precision",
    "model.kwargs.new",
    "data.augment",
    "data",
    "optimizer",
    "objective.metric",
    "optimizer.nothing",
    "new",
    "hydra.job.num",
]
OUR_WHOLE = [
    "model=plain18",
    "optimizer=adam",
    "optimizer=nothing",
    "optimizer.betas=[0.8,0.9]",
    "optimizer.lr=0.1",
    "optimizer.lr=1e-4",
    "optimizer.lr=wrong",
    "trainer.epochs=2.5",
    "~scheduler",
    "~optimizer.momentum",
    "+model.kwargs.x=1",
    "model@other=resnet18",
    "+model@other=resnet18",
    "hydra.sweep.subdir=x",
    "hydra.launcher.n_jobs=2",
    "hydra/launcher=joblib",
    "objective={metric:val_loss}",
]
FOREIGN_KEYS = [
    "kind.size",
    "kind.only_b.b",
    "db",
    "db.user",
    "db.port",
    "server.port",
    "mode",
    "name",
    "alias.name",
    "alias.num",
    "other.port",
    "items",
    "items.0",
    "items[1]",
    "empty",
    "empty.below",
    "nested.a",
    "nested.a.b",
    "nested.l",
    "nested.l.1",
    "point",
    "point.x",
    "point.y",
    "point.tags.new",
    "point.wrong",
    "backup.port",
    "extra",
    "title.below",
    "hydra",
]
FOREIGN_WHOLE = [
    "kind=b",
    "kind=[a,b]",
    "~kind",
    "db=sqlite",
    "server=nginx",
    "server=[apache,nginx]",
    "db@backup=mysql",
    "db@backup=nothing",
    "+extra=one",
    "extra=one",
    "mode=strict",
    "~mode",
    "~db",
    "~server=apache",
    "~nested.a",
    "++nested.a.d=3",
    "+nested.l=[3]",
    "alias=3",
    "name=n",
]


def examples(num: int) -> settings:
    unrelated = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=num, deadline=None, suppress_health_check=unrelated)


OUR_OVERRIDES = overrides_of(OUR_KEYS, OUR_WHOLE)
# Without a kind nothing is composed; mostly there is one.
FOREIGN_OVERRIDES = st.builds(
    lambda kind, others: [*kind, *others],
    st.sampled_from([["kind=a"], ["kind=a"], ["kind=a"], []]),
    overrides_of(FOREIGN_KEYS, FOREIGN_WHOLE),
)


@examples(12)
@given(overrides=OUR_OVERRIDES)
def test_our_configuration_is_the_one_that_hydra_composes(ours, overrides):
    assert_same(Composer(*ours), ours, overrides)


@examples(12)
@given(overrides=FOREIGN_OVERRIDES)
def test_a_foreign_configuration_is_the_one_that_hydra_composes(foreign, overrides):
    assert_same(Composer(*foreign), foreign, overrides)


@pytest.mark.slow
@examples(40)
@given(overrides=OUR_OVERRIDES)
def test_our_configuration_is_the_one_that_hydra_composes_many(ours, overrides):
    assert_same(Composer(*ours), ours, overrides)


@pytest.mark.slow
@examples(40)
@given(overrides=FOREIGN_OVERRIDES)
def test_a_foreign_configuration_is_the_one_that_hydra_composes_many(foreign, overrides):
    assert_same(Composer(*foreign), foreign, overrides)


@pytest.fixture
def composed(ours, monkeypatch) -> list[list[str]]:
    """What Hydra itself has composed since."""
    calls: list[list[str]] = []
    original = ours[0].load_sweep_config

    def counting(master: DictConfig, overrides: list[str]) -> DictConfig:
        calls.append(overrides)
        return original(master, overrides)

    monkeypatch.setattr(ours[0], "load_sweep_config", counting)
    return calls


@pytest.mark.parametrize(
    ("jobs", "num_composed"),
    [
        ([["optimizer.lr=0.1"], ["optimizer.lr=0.2", "trainer.epochs=3"], []], 1),
        ([["optimizer.lr=0.1", "model=plain18"], ["model=plain18", "optimizer.lr=0.2"]], 1),
        ([["model=plain18"], ["model=plain34"], ["model=plain18"]], 2),
        ([["++model.kwargs={a:1}", f"optimizer.lr={lr}"] for lr in (0.1, 0.2, 0.3)], 1),
        ([[f"+model.kwargs.x={x}"] for x in range(3)], 1),
        ([["optimizer=adam", f"optimizer.betas=[0.{b},0.9]"] for b in range(3)], 1),
    ],
)
def test_hydra_composes_once_for_each_set_of_choices(ours, composed, jobs, num_composed):
    composer = Composer(*ours)
    for overrides in jobs:
        composer.compose(overrides)
    assert len(composed) == num_composed


def test_a_loader_that_knows_no_groups_composes_each_time(ours, composed):
    loader, master = ours
    foreign = SimpleNamespace(load_sweep_config=loader.load_sweep_config)
    composer = Composer(foreign, master)
    jobs = [[f"optimizer.lr={lr}"] for lr in (0.1, 0.2)]
    assert [composer.compose(job).optimizer.lr for job in jobs] == [0.1, 0.2]
    assert composed == jobs


def test_results_share_nothing(ours):
    composer = Composer(*ours)
    first = composer.compose(["optimizer.lr=0.1"])
    untouched = anatomy(composer.compose(["optimizer.lr=0.1"]))
    with read_write(first), open_dict(first):
        first.hydra.runtime.output_dir = "/elsewhere"
        first.hydra.job.num = 3
        first.hydra.overrides.task.append("x=1")
        first.optimizer.lr = 7.0
        del first["model"]
    OmegaConf.get_cache(first)["run_id"] = "changed"
    assert anatomy(composer.compose(["optimizer.lr=0.1"])) == untouched
    assert "run_id" not in OmegaConf.get_cache(ours[1])


def test_what_the_sweep_has_resolved_is_the_same_in_each_trial(ours):
    loader, master = ours
    composer = Composer(loader, master)
    composer.compose([])
    sweep_dir = str(master.hydra.sweep.dir)
    assert {composer.compose([f"optimizer.lr={lr}"]).hydra.sweep.dir for lr in (1, 2)} == {
        sweep_dir
    }


def test_folder_and_environment_are_those_of_the_moment(foreign, tmp_path, monkeypatch):
    composer = Composer(*foreign)
    assert composer.compose(["kind=a"]).hydra.job.env_set.FOREIGN_ENV == "one"
    monkeypatch.setenv("FOREIGN_ENV", "two")
    monkeypatch.chdir(tmp_path)
    assert_same(composer, foreign, ["kind=a"])
    cfg = composer.compose(["kind=a"])
    assert (cfg.hydra.job.env_set.FOREIGN_ENV, cfg.hydra.runtime.cwd) == ("two", str(tmp_path))
    monkeypatch.delenv("FOREIGN_ENV")
    assert_same(composer, foreign, ["kind=a"])


def test_a_worker_composes_from_what_was_sent_to_it(foreign):
    loader, master = pickle.loads(pickle.dumps(foreign))
    overrides = ["kind=b", "server=nginx", "name='a,b'", "point.x=3"]
    there = Composer(loader, master).compose(overrides)
    assert anatomy(there) == anatomy(foreign[0].load_sweep_config(foreign[1], overrides))


def test_a_class_that_cannot_be_imported_is_no_obstacle(foreign):
    @dataclass
    class Local:
        value: int = 1

    ConfigStore.instance().store(group="kind", name="local", node=Local, replace=True)
    assert_same(Composer(*foreign), foreign, ["kind=local", "kind.value=3"])
    assert_same(Composer(*foreign), foreign, ["kind=local", "kind.value=wrong"])


def test_groups_of_the_searchpath_are_groups(tmp_path):
    (tmp_path / "main").mkdir()
    (tmp_path / "more" / "db").mkdir(parents=True)
    (tmp_path / "more" / "db" / "one.yaml").write_text("# @package _global_\nchosen: one\n")
    (tmp_path / "more" / "db" / "two.yaml").write_text("# @package _global_\nchosen: two\n")
    (tmp_path / "main" / "config.yaml").write_text(
        f"defaults: [{{db: one}}, _self_]\ndb: text\nhydra: {{searchpath: ['{tmp_path}/more']}}\n"
    )
    with loader_of(tmp_path / "main") as (loader, compose):
        setting = loader, compose()
        composer = Composer(*setting)
        assert composer.compose(["db=two"]).chosen == "two"
        assert_same(composer, setting, ["db=two", "chosen=three"])


def test_only_so_many_sets_of_choices_are_kept(ours, composed, monkeypatch):
    monkeypatch.setattr("resnet_sweep.sweep.compose._MAX_BASES", 2)
    composer = Composer(*ours)
    # 34 pushes out 50, which was used longest ago; 18 was used again.
    for depth in (18, 50, 18, 34, 18, 50):
        composer.compose([f"model=plain{depth}", "optimizer.lr=0.1"])
    assert [texts[0][-2:] for texts in composed] == ["18", "50", "34", "50"]
