"""The built wheel, installed where no checkout is."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from commands import ROOT, SMALL

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
        timeout=240,
    )
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_every_config_file_and_no_test(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    conf = {
        f"resnet_sweep/conf/{path.relative_to(ROOT / 'conf').as_posix()}"
        for path in (ROOT / "conf").rglob("*.yaml")
    }
    assert conf
    assert conf <= set(names)
    assert not [name for name in names if name.startswith(("tests", "conf", "benchmarks"))]


def test_an_installed_wheel_runs_anywhere(wheel: Path, tmp_path: Path):
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    # The dependencies of this environment, behind the wheel's own folder.
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", wheel]
    subprocess.run(install, check=True, timeout=240)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "mine" / "trainer").mkdir(parents=True)
    (elsewhere / "mine" / "trainer" / "tiny.yaml").write_text("epochs: 1\n")
    outside = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*arguments: str) -> str:
        return subprocess.run(
            [python, *arguments],
            cwd=elsewhere,
            env=outside,
            check=True,
            capture_output=True,
            text=True,
            timeout=240,
        ).stdout

    where = run("-c", "import resnet_sweep; print(resnet_sweep.__file__)")
    assert Path(where.strip()).is_relative_to(site)
    said = run("-m", "resnet_sweep", *SMALL[:3], "trainer=tiny", "--config-dir", "mine")
    assert "epoch 1/1" in said
    assert "plain50" in run("-m", "resnet_sweep", "--help")
    assert "Plain-50" in run("-m", "resnet_sweep.summary", "model=plain50")
