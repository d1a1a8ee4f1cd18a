"""The built sdist and wheel, and the wheel installed where no checkout is."""

import email
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from commands import ROOT, SMALL

import resnet_sweep

pytestmark = pytest.mark.slow
NETWORK = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))
"""


def build(folder: Path, *options: str) -> Path:
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
        timeout=240,
    )
    return folder


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and a wheel that is built from it alone."""
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def sdist(dist: Path) -> set[str]:
    """The names in the sdist, below its one folder."""
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = [name.partition("/") for name in archive.getnames()]
    assert {folder for folder, _, _ in names} == {f"resnet_sweep-{resnet_sweep.__version__}"}
    return {name for _, _, name in names}


def test_the_wheel_holds_every_config_file_and_no_test(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    conf = {
        f"resnet_sweep/conf/{path.relative_to(ROOT / 'conf').as_posix()}"
        for path in (ROOT / "conf").rglob("*.yaml")
    }
    assert conf
    assert conf <= set(names)
    assert {name.partition("/")[0] for name in names} == {
        "resnet_sweep",
        f"resnet_sweep-{resnet_sweep.__version__}.dist-info",
    }


def test_the_wheel_says_what_it_is(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        (path,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        told = email.message_from_bytes(archive.read(path))
        licence = archive.read(path.replace("METADATA", "licenses/LICENSE"))
    assert (told["Name"], told["Version"]) == ("resnet-sweep", resnet_sweep.__version__)
    assert told["License-Expression"] == "MIT"
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert told["Description-Content-Type"] == "text/markdown"
    # Its characters would be those of an encoding that email does not know of.
    assert told.get_payload(decode=True) == (ROOT / "README.md").read_bytes()


def test_a_wheel_from_the_sdist_is_that_of_the_checkout(wheel: Path, tmp_path: Path):
    (other,) = build(tmp_path / "other", "--wheel").glob("*.whl")
    contents = []
    for path in (wheel, other):
        with zipfile.ZipFile(path) as archive:
            contents.append({name: archive.read(name) for name in archive.namelist()})
    assert contents[0] == contents[1]


def test_the_sdist_holds_what_is_tested_and_what_the_readme_leads_to(sdist: set[str]):
    tracked = subprocess.run(
        ["git", "ls-files", "resnet_sweep", "conf", "tests", "benchmarks", "docs", "examples"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert "resnet_sweep/__main__.py" in tracked
    assert set(tracked) <= sdist
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / "README.md").read_text())
    linked = {target for target in links if "://" not in target}
    assert len(linked) > 5
    assert {"LICENSE", "CHANGELOG.md", "pyproject.toml"} | linked <= sdist


def test_an_installed_wheel_runs_anywhere(wheel: Path, tmp_path: Path):
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python, script = environment / "bin" / "python", environment / "bin" / "resnet-sweep"
    # The dependencies of this environment, behind the wheel's own folder.
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", wheel]
    subprocess.run(install, check=True, timeout=240)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "own" / "trainer").mkdir(parents=True)
    (elsewhere / "own" / "trainer" / "tiny.yaml").write_text("epochs: 1\n")
    (elsewhere / "mine.py").write_text(NETWORK)
    # What is installed stays what it is.
    (elsewhere / "optuna.py").write_text("raise SystemExit('not this one')\n")
    outside = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*words: str | Path) -> str:
        done = subprocess.run(
            words, cwd=elsewhere, env=outside, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = run(python, "-c", "import resnet_sweep; print(resnet_sweep.__file__)")
    assert Path(where.strip()).is_relative_to(site)
    own = ["--config-dir", "own", "trainer=tiny", "--allow=mine", "model._target_=mine.Net"]
    said = run(script, "-m", "optimizer.lr=1e-2,1e-3", *own, *SMALL[1:3], "trainer.threads=1")
    assert "2 trials: 2 complete" in said
    module = [python, "-m", "resnet_sweep"]
    assert "plain50" in run(*module, "--help")
    assert run(*module, "--version") == run(script, "--version")
    assert "Plain-50" in run(python, "-m", "resnet_sweep.summary", "model=plain50")
