"""From the model group to a network that fits the data."""

from __future__ import annotations

import logging
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.models import ResNet, build_model
from resnet_sweep.models.allow import take_allow
from resnet_sweep.models.config import ALLOW_VARIABLE, ModelConfig, allow
from resnet_sweep.models.probe import meta_copy

MODULE = "a_strangers_networks"
SOURCE = """
from torch import nn

class Linear(nn.Module):
    def __init__(self, num_classes, in_channels=3, size=32, needs_values=False, extra=0):
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm2d(in_channels)
        self.fc = nn.Linear(in_channels * size * size, num_classes + extra)
        self.needs_values = needs_values

    def forward(self, x):
        if self.needs_values:
            x.sum().item()
        return self.fc(self.drop(self.norm(x)).flatten(1))

def with_auxiliary(num_classes):
    class Auxiliary(Linear):
        def forward(self, x):
            out = super().forward(x)
            return (out, out) if self.training else out
    return Auxiliary(num_classes)

def text(num_classes):
    return "no network"

def fails(num_classes):
    raise KeyError("two\\nlines")
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of an allowed module that is not ours."""
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    allow([MODULE])
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    return MODULE


def refusal(config: ModelConfig, num_classes: int = 2, channels: int = 3, size: int = 32) -> Fault:
    with pytest.raises(ConfigError) as caught:
        build_model(config, num_classes, channels, size)
    (fault,) = caught.value.faults
    return fault


def small(**settings: object) -> ModelConfig:
    return ModelConfig(**{"depth": 18, **settings})


def saved(tmp_path: Path, state: object) -> str:
    torch.save(state, tmp_path / "weights.pt")
    return str(tmp_path / "weights.pt")


def test_ours_takes_the_datas_classes_and_channels(capsys: pytest.CaptureFixture[str]) -> None:
    model = build_model(small(plain=True), 7, 1, 40)
    assert isinstance(model, ResNet)
    assert model.name == "Plain-18"
    assert (model.fc.out_features, model.conv1.in_channels) == (7, 1)
    assert model.training
    assert capsys.readouterr().out == ""


def test_config_may_ask_for_more_classes_but_not_for_fewer() -> None:
    model = build_model(small(num_classes=5), 2, 3, 32)
    assert isinstance(model, ResNet)
    assert model.fc.out_features == 5
    fault = refusal(small(num_classes=2), num_classes=3)
    assert (fault.key, fault.value) == ("model.num_classes", 2)
    assert "3 classes" in fault.rule


def test_channels_of_the_config_that_the_data_lack_are_refused() -> None:
    fault = refusal(small(in_channels=1))
    assert (fault.key, fault.value) == ("model.in_channels", 1)
    assert "data.channels=3" in fault.rule


def test_torchvisions_network_by_target() -> None:
    config = ModelConfig(
        _target_="torchvision.models.resnet18", kwargs={"zero_init_residual": True}
    )
    model = build_model(config, 4, 3, 32)
    assert isinstance(model, torchvision.models.ResNet)
    assert model.fc.out_features == 4
    assert not model.layer1[0].bn2.weight.any()


@pytest.mark.parametrize("needs_values", [False, True])
def test_strangers_network_gets_channels_and_is_left_alone(
    stranger: str, needs_values: bool
) -> None:
    kwargs = {"size": 8, "needs_values": needs_values}
    torch.manual_seed(0)
    model = build_model(ModelConfig(_target_=f"{stranger}.Linear", kwargs=kwargs), 2, 1, 8)
    after = torch.rand(1)
    assert model.norm.num_features == 1
    assert model.norm.num_batches_tracked == 0
    assert all(module.training for module in model.modules())
    torch.manual_seed(0)
    sys.modules[stranger].Linear(2, 1, 8)
    assert torch.equal(after, torch.rand(1))


@pytest.mark.parametrize(
    ("name", "kwargs", "said"),
    [
        ("Linear", {"size": 16}, "does not take a batch of images of shape (2, 3, 32, 32)"),
        ("Linear", {"extra": 3}, "to (2, 5), needed is (2, 2)"),
        ("Linear", {"in_channels": 1}, "does not take"),
        ("Linear", {"nothing": 1}, "nothing"),
        ("with_auxiliary", {}, "to tuple in training"),
        ("text", {}, "gives str"),
        ("fails", {}, "KeyError: 'two\\nlines'"),
        ("absent", {}, f"is not there: {MODULE} has no absent"),
        ("fails.absent", {}, "cannot be imported: AttributeError: "),
    ],
)
def test_strangers_network_that_does_not_fit_is_one_fault(
    stranger: str, name: str, kwargs: dict[str, object], said: str
) -> None:
    fault = refusal(ModelConfig(_target_=f"{stranger}.{name}", kwargs=kwargs))
    assert (fault.key, fault.value) == ("model._target_", f"{stranger}.{name}")
    assert said in fault.rule
    assert "\n" not in fault.rule


def test_a_module_that_python_does_not_find_says_what_to_type() -> None:
    allow(["nowhere_at_all"])
    fault = refusal(ModelConfig(_target_="nowhere_at_all.networks.Small"))
    assert fault.rule == "is not there: Python finds no module nowhere_at_all"
    assert "PYTHONPATH=FOLDER" in fault.fix
    assert "nowhere_at_all" in fault.fix


def test_a_near_name_in_the_module_is_told(stranger: str) -> None:
    fault = refusal(ModelConfig(_target_=f"{stranger}.Linaer"))
    assert fault.fix == f"did you mean {stranger}.Linear?"


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("def (:", f"SyntaxError: invalid syntax ({MODULE}.py, line 1)"),
    ],
)
def test_a_module_that_fails_to_import_says_why(
    stranger: str, tmp_path: Path, source: str, cause: str
) -> None:
    (tmp_path / f"{MODULE}.py").write_text(f"{source}\n")
    fault = refusal(ModelConfig(_target_=f"{stranger}.Linear"))
    assert (fault.rule, fault.fix) == (f"cannot be imported: {cause}", "")


def test_target_is_not_imported_unless_allowed(
    stranger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_sweep.models.config._Allowed.names", ())
    fault = refusal(ModelConfig(_target_=f"{stranger}.Linear"))
    assert fault.key == "model._target_"
    assert "--allow" in fault.fix
    assert stranger not in sys.modules


@pytest.mark.parametrize(
    "target",
    [
        "torchvision.models.resnet.torch.nn.Linear",
        "resnet_sweep.models.config.os.system",
        "resnet_sweep.models.weights.torch.load",
    ],
)
def test_an_allowed_name_that_leads_elsewhere_is_refused(target: str) -> None:
    fault = refusal(ModelConfig(_target_=target))
    assert fault.key == "model._target_"
    assert "InstantiationException" in fault.rule


@pytest.mark.parametrize(
    ("name", "value"),
    [("_target_", "os.system"), ("_args_", [1]), ("_execution_whitelist_", ["os.*"])],
)
def test_arguments_cannot_give_hydra_orders(name: str, value: object) -> None:
    config = ModelConfig(_target_="torchvision.models.resnet18", kwargs={name: value})
    assert refusal(config).key == f"model.kwargs.{name}"


def test_nested_targets_are_held_to_the_same_list(stranger: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    kwargs = {"extra": {"_target_": "os.mkdir", "path": str(trace)}}
    fault = refusal(ModelConfig(_target_=f"{stranger}.Linear", kwargs=kwargs))
    assert (fault.key, fault.value) == ("model.kwargs.extra._target_", "os.mkdir")
    assert not trace.exists()


def test_number_of_classes_has_one_place() -> None:
    config = ModelConfig(_target_="torchvision.models.resnet18", kwargs={"num_classes": 2})
    assert refusal(config).key == "model.kwargs.num_classes"


@pytest.mark.parametrize("wrapped", [False, True])
def test_weights_of_a_state_dict_and_of_a_checkpoint(tmp_path: Path, wrapped: bool) -> None:
    source = build_model(small(), 2, 3, 32)
    state = source.state_dict()
    file = saved(tmp_path, {"model": state, "epoch": 3} if wrapped else state)
    model = build_model(small(weights=file), 2, 3, 32)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def test_torchvisions_weights_keep_a_fresh_head(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reference = torchvision.models.resnet18(weights=None)
    state = reference.state_dict()
    # Old files lack the counters of batch norm.
    state = {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}
    config = small(conv_bias=False, shortcut_norm=True, weights=saved(tmp_path, state))
    with caplog.at_level(logging.INFO, logger="resnet_sweep.models.weights"):
        model = build_model(config, 2, 3, 32)
    assert torch.equal(model.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])
    assert model.fc.weight.shape == (2, 512)
    (record,) = caplog.records
    assert "fc.bias (1000,) instead of (2,)" in record.getMessage()
    assert "fc.weight" in record.getMessage()


def test_weights_go_into_a_strangers_network(tmp_path: Path) -> None:
    state = torchvision.models.resnet18(weights=None, num_classes=2).state_dict()
    target = "torchvision.models.resnet18"
    model = build_model(ModelConfig(_target_=target, weights=saved(tmp_path, state)), 2, 3, 32)
    assert torch.equal(model.fc.weight, state["fc.weight"])
    other = ModelConfig(_target_="torchvision.models.resnet34", weights=saved(tmp_path, state))
    assert "lacks layer1.2" in refusal(other).rule


@pytest.mark.parametrize(
    ("source", "wanted", "advice"),
    [
        (
            {"depth": 50, "conv_bias": False, "shortcut_norm": True, "stride_on": "3x3"},
            {"depth": 50},
            "model.conv_bias=false model.shortcut_norm=true model.stride_on=3x3",
        ),
        (
            {"depth": 50},
            {"depth": 50, "conv_bias": False, "shortcut_norm": True, "stride_on": "3x3"},
            "model.conv_bias=true model.shortcut_norm=false model.stride_on=1x1",
        ),
        ({"shortcut_norm": True}, {}, "model.shortcut_norm=true"),
        ({"plain": True}, {}, "model.plain=true"),
        ({"depth": 34}, {}, "model.depth=34"),
        ({"depth": 34}, {"depth": 50}, "model.depth=34"),
    ],
)
def test_another_variants_weights_say_what_to_type(
    tmp_path: Path, source: dict[str, object], wanted: dict[str, object], advice: str
) -> None:
    state = build_model(small(**source), 2, 3, 32).state_dict()
    fault = refusal(small(**wanted, weights=saved(tmp_path, state)))
    assert fault.key == "model.weights"
    assert fault.fix == f"this file seems to need {advice}"
    assert len(fault.rule) < 1000
    retry = small(weights=saved(tmp_path, state), **source)
    build_model(retry, 2, 3, 32)


def test_shapes_that_do_not_match_are_told(tmp_path: Path) -> None:
    state = build_model(small(), 2, 1, 32).state_dict()
    fault = refusal(small(weights=saved(tmp_path, state)))
    assert "conv1.weight (64, 1, 7, 7) instead of (64, 3, 7, 7)" in fault.rule
    assert "lacks" not in fault.rule


def test_weights_that_hide_the_wrong_stride_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = torchvision.models.resnet50(weights=None, num_classes=2).state_dict()
    settings = {"depth": 50, "conv_bias": False, "shortcut_norm": True}
    file = saved(tmp_path, state)
    build_model(small(**settings, stride_on="3x3", weights=file), 2, 3, 32)
    assert not caplog.records
    build_model(small(**settings, weights=file), 2, 3, 32)
    assert "model.stride_on=3x3" in caplog.text


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('ran', 'w')",)


@pytest.mark.parametrize("kind", ["text", "empty", "pickle", "torch", "cut", "number", "nothing"])
def test_a_file_without_weights_is_one_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "weights.pt"
    if kind in ("text", "empty"):
        file.write_text("no weights\n" if kind == "text" else "")
    elif kind == "pickle":
        file.write_bytes(pickle.dumps(Malicious()))
    else:
        content: dict[str, object] = {
            "torch": {"model": Malicious()},
            "cut": {"x": torch.zeros(9)},
            "number": {"model": 3},
            "nothing": {},
        }
        torch.save(content[kind], file)
        if kind == "cut":
            file.write_bytes(file.read_bytes()[:200])
    fault = refusal(small(weights=str(file)))
    assert (fault.key, fault.value) == ("model.weights", str(file))
    assert "\n" not in fault.rule
    assert not (tmp_path / "ran").exists()


def test_missing_file_of_weights_is_a_fault(tmp_path: Path) -> None:
    assert refusal(small(weights=str(tmp_path / "none.pt"))).key == "model.weights"


def test_all_faults_of_the_group_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        build_model(small(depth=51, num_classes=2, stride_on="2x2"), 3, 3, 32)
    keys = {fault.key for fault in caught.value.faults}
    assert keys == {"model.depth", "model.stride_on", "model.num_classes"}


@pytest.mark.parametrize(
    ("argv", "rest", "allowed"),
    [
        (["a=1"], ["a=1"], "first"),
        (["--allow", "timm", "a=1"], ["a=1"], "first,timm"),
        (["a=1", "--allow=my.nets", "-m", "--allow", "timm"], ["a=1", "-m"], "first,my.nets,timm"),
        (["--allow", "first"], [], "first"),
    ],
)
def test_allow_goes_into_the_environment(argv: list[str], rest: list[str], allowed: str) -> None:
    allow(["first"])
    assert take_allow(argv) == rest
    assert os.environ[ALLOW_VARIABLE] == allowed


@pytest.mark.parametrize("argv", [["--allow"], ["--allow="], ["--allow", "-m"], ["--allow=a..b"]])
def test_allow_without_a_module_is_refused(argv: list[str]) -> None:
    with pytest.raises(ConfigError, match="dotted name"):
        take_allow(argv)


def test_the_copy_to_probe_shares_what_the_network_shares() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3)
            self.again = self.fc

        def forward(self, x: Tensor) -> Tensor:
            return self.again(self.fc(x.mean((2, 3))))

    copied = meta_copy(Tied())
    assert copied.again is copied.fc
    assert copied.fc.weight.is_meta
