"""``python -m resnet_sweep.summary`` from the outside and the inside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from resnet_sweep.paths import config_dir
from resnet_sweep.summary import USAGE, main

Captured = pytest.CaptureFixture[str]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "resnet_sweep.summary", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_command_prints_the_table() -> None:
    found = run("model=plain50", "data.image_size=224", "model.num_classes=1000")
    assert (found.returncode, found.stderr) == (0, "")
    line = "Plain-50, 22,803,176 parameters, input 3x224x224, 1000 classes"
    assert found.stdout.splitlines()[0] == line
    assert "Total params: 22,803,176" in found.stdout


def test_command_refuses_without_a_traceback() -> None:
    found = run("model.depth=51", "model.stride_on=2x2")
    assert found.returncode == 2
    assert found.stdout == ""
    assert "2 faults" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h", "model=nothing"], ["model=nothing"], ["model.depth=51"]]
)
def test_help_and_refusals_do_not_wait_for_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from resnet_sweep.summary import main; main(sys.argv[1:]);"
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, *arguments]
    subprocess.run(command, check=True, capture_output=True)


def test_help_is_the_usage(capsys: Captured) -> None:
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == USAGE


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model=resnet51"], "resnet152"),
        (["model.dpeth=3"], "Did you mean: 'depth'"),
        (["model.depth=many"], "could not be converted to Integer"),
        (["nothing"], "nothing"),
        (["model.depth=???"], "depth"),
        (["model.depth=${nothing}"], "nothing"),
        (["--nothing"], "option=--nothing: is not known"),
        (["--config-dir", "/nothing/here"], "is not a folder"),
        (["--config-dir"], "is not a folder"),
        (["--allow"], "dotted name"),
        (["model._target_=os.system"], "--allow os"),
        (["model.weights=/nothing.pt"], "is not a file"),
        (["data=image_folder"], "type model.num_classes=N"),
        (["data=image_folder", "data.root=/nothing/here"], "type model.num_classes=N"),
        (["data.channels=1", "model.in_channels=3"], "model.in_channels=3"),
    ],
)
def test_refusals_say_what_is_wrong(capsys: Captured, arguments: list[str], said: str) -> None:
    assert main(arguments) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith("the configuration is refused (1 fault):")
    assert said in found.err


@pytest.mark.parametrize(
    ("data", "num_classes"), [("digits", 10), ("cats_dogs", 2), ("oxford_pets", 2), ("cifar10", 10)]
)
def test_classes_come_from_the_data(capsys: Captured, data: str, num_classes: int) -> None:
    assert main(["model=resnet18", f"data={data}", "data.image_size=32"]) == 0
    assert f"input 3x32x32, {num_classes} classes" in capsys.readouterr().out


@pytest.mark.parametrize("train", ["", "train"])
def test_classes_of_a_folder_are_counted(capsys: Captured, tmp_path: Path, train: str) -> None:
    for name in ("ants", "bees", "cows", ".hidden"):
        (tmp_path / train / name).mkdir(parents=True)
    (tmp_path / "readme.txt").touch()
    arguments = ["model=plain18", "data=image_folder", f"data.root={tmp_path}"]
    assert main([*arguments, "data.image_size=64"]) == 0
    assert ", 3 classes" in capsys.readouterr().out


def test_another_network_and_another_folder_of_choices(capsys: Captured, tmp_path: Path) -> None:
    folder = tmp_path / "a folder, it's mine"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "mine.yaml").write_text(
        "_target_: torch.nn.modules.container.Sequential\nkwargs: {}\n"
    )
    arguments = ["model=mine", "--config-dir", str(folder), "--allow=torch.nn"]
    assert main(arguments) == 2
    # A folder was found, a module allowed: what is refused is what Sequential makes of it.
    assert "Sequential" in capsys.readouterr().err
    (folder / "model" / "mine.yaml").write_text("depth: 34\n")
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("ResNet-34")


def test_config_dir_is_the_packages_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (config_dir() / "model" / "plain50.yaml").is_file()
    package = tmp_path / "resnet_sweep"
    (package / "conf").mkdir(parents=True)
    monkeypatch.setattr("resnet_sweep.paths.__file__", str(package / "paths.py"))
    assert config_dir() == package / "conf"
