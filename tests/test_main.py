"""The real command, as a person types it: what it writes, says and returns."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import ROOT, SMALL, Command
from PIL import Image

MEASURED = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr"]


def only_run(path: Path) -> Path:
    (folder,) = (path / "outputs" / "runs").iterdir()
    return folder


def test_a_run_leaves_what_the_design_names(command: Command, tmp_path):
    done = command(*SMALL)
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == [
        ".hydra",
        "best.pt",
        "metrics.csv",
        "predictions.npz",
        "rerun.yaml",
        "result.json",
        "train.log",
    ]
    result = json.loads((folder / "result.json").read_text())
    table = pd.read_csv(folder / "metrics.csv")
    assert result["state"] == "COMPLETE"
    assert result["objective"] == result["best"]["val_accuracy"] == table["val_accuracy"].max()
    assert result["last"] == table.iloc[-1].to_dict()
    for key in ("seconds", "images_per_s", "peak_memory_mib", "num_parameters"):
        assert result[key] > 0
    assert result["seed"] == 0
    assert result["versions"]["torch"]
    assert result["precision"] in ("bf16", "fp32")
    with np.load(folder / "predictions.npz") as predictions:
        assert len(predictions["label"]) == 40


def test_a_pipe_gets_plain_lines_one_an_epoch(command: Command, tmp_path):
    done = command(*SMALL)
    lines = done.stdout.splitlines()
    assert [line[:9] for line in lines if line.startswith("epoch")] == ["epoch 1/2", "epoch 2/2"]
    assert "\x1b" not in done.stdout + done.stderr
    assert "in bf16" in done.stdout or "in fp32" in done.stdout
    log = (only_run(tmp_path) / "train.log").read_text()
    assert all(line in log for line in lines if line.startswith("epoch"))


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["optimizer.lrr=0.1"], ["optimizer.lrr=0.1: is no setting; did you mean optimizer.lr?"]),
        (["model=resnet51"], ["model=resnet51: is not known; choose one of: ", "resnet50"]),
        (["data.num_train=abc"], ["data.num_train=abc: must be a whole number"]),
        (
            ["optimizer.lr=-1", "trainer.epochs=0", "optimizer.weight_decay=inf"],
            ["(3 faults)", "optimizer.lr=-1.0", "trainer.epochs=0", "weight_decay=inf"],
        ),
        (["data=cats_dogs"], ["data.root=null: must be set", "data.root=FOLDER"]),
        (["data=cats_dogs", "data.root=nowhere"], ["data.root=nowhere: does not exist"]),
        (["model._target_=os.system"], ["outside the allowed modules", "--allow os"]),
        (["trainer.device=cuda:99"], ["trainer.device=cuda:99: is not on this machine"]),
        (
            ["model._target_=torchvision.models.resnet19"],
            ["torchvision.models has no resnet19; did you mean torchvision.models.resnet1"],
        ),
        (["-m", "optimizer.lr=0.1,-1,nan"], ["(2 faults)", "lr=-1.0", "lr=nan"]),
        (["-m", "optimizer.lr=interval(1e-4,1e-1)"], ["n_trials=20", "is no list of values"]),
        (
            ["-m", "hydra/sweeper=basic", "optimizer.lr=interval(1e-4,1e-1)"],
            ["hydra/sweeper=basic runs lists only"],
        ),
        (["-m", "model=resnet50,resnet51"], ["model=resnet51: is not known"]),
        (["study=lr_trials"], ["is a whole study", "python -m resnet_sweep -m study=lr_trials"]),
        (
            ["-m", "hydra.sweeper.n_trials=0", "hydra.sweeper.direction=up"],
            ["(2 faults)", "n_trials=0: must be at least 1", "minimize, maximize"],
        ),
        (["--allow"], ["--allow", "must be the dotted name of a module"]),
        (["--nonsense"], ["--nonsense"]),
        (["data.root=~/cats"], ["data.root='my cats (1)'"]),
        (["data=null"], ["data=null: must be the name of a choice"]),
        (["hydra.run.dir=/dev/null"], ["/dev/null"]),
        (["trainer.threads=100000000"], ["trainer.threads=100000000: must be at most"]),
        (["data.augment.random_crop=32"], ["random_crop=32: must be less than 32"]),
        (
            ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=0"],
            ["n_trials=0: must be a whole"],
        ),
        (
            ["-m", "hydra/sweeper=optuna", "optimizer.lr=interval(1e-1,1e-4)"],
            ["must go from the smaller number to the larger"],
        ),
        (
            ["model.num_classes=2", "optimizer.lr=-1"],
            ["(2 faults)", "model.num_classes=2: is less than the 10 classes", "lr=-1.0"],
        ),
        (
            ["-m", "trainer.epochs=0", "model=resnet18,plain18", "hydra.sweeper.n_trials=3"],
            ["(1 fault)", "epochs=0"],
        ),
        (
            ["-m", "hydra/sweeper=optuna", "optimizer.lr=interval(-1,1)"],
            ["optimizer.lr=-1.0: must be greater than 0"],
        ),
    ],
    ids=lambda value: " ".join(value)[:60],
)
def test_what_a_user_gets_wrong_ends_in_2_without_a_traceback(
    command: Command, arguments, messages
):
    done = command(*arguments)
    assert done.returncode == 2, done.stderr
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    for message in messages:
        assert message in said


def test_a_refused_configuration_leaves_no_folder(command: Command, tmp_path):
    assert command("optimizer.lr=-1").returncode == 2
    assert command("-m", "optimizer.lr=-1,1").returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_diverges_has_a_named_outcome(command: Command, tmp_path):
    done = command(*SMALL, "optimizer.lr=1e38", "trainer.epochs=3")
    assert done.returncode == 4
    said = done.stdout + done.stderr
    assert "loss is not finite" in said
    assert "Traceback" not in said
    folder = only_run(tmp_path)
    result = json.loads((folder / "result.json").read_text())
    assert (result["state"], result["error"]["kind"]) == ("FAIL", "non_finite")
    assert not (folder / "last.pt").exists()
    assert not (folder / "best.pt").exists()


def test_another_network_by_its_dotted_path(command: Command, tmp_path):
    done = command(
        "model._target_=torchvision.models.squeezenet1_1", *SMALL[1:], "trainer.epochs=1"
    )
    assert done.returncode == 0, done.stderr
    assert "torchvision.models.squeezenet1_1" in done.stdout


def test_a_network_of_ones_own_needs_the_command_lines_word(command: Command, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, num_classes: int, in_channels: int, width: int = 4) -> None:\n"
        "        super().__init__(nn.Conv2d(in_channels, width, 8, 8), nn.ReLU(), nn.Flatten(),\n"
        "                         nn.Linear(width * 16, num_classes))\n"
    )
    arguments = ["model._target_=mine.Net", "+model.kwargs.width=8", *SMALL[1:]]
    assert command(*arguments).returncode == 2
    done = command(*arguments, "--allow", "mine")
    assert done.returncode == 0, done.stderr
    result = json.loads((only_run(tmp_path) / "result.json").read_text())
    assert result["num_parameters"] == 3 * 8 * 64 + 8 + 8 * 16 * 10 + 10


def test_ones_own_groups_come_from_config_dir(command: Command, tmp_path):
    group = tmp_path / "mine" / "trainer"
    group.mkdir(parents=True)
    (group / "tiny.yaml").write_text("epochs: 1\nbatch_size: 16\n")
    done = command(*SMALL[:3], "trainer=tiny", "--config-dir", "mine")
    assert done.returncode == 0, done.stderr
    assert "epoch 1/1" in done.stdout


# A real network that waits at its tenth training batch, the first of epoch 4, or in the
# validation of epoch 5, the last one, as long as a file asks it to.
PATIENT = """
import time
from pathlib import Path
from resnet_sweep import build_resnet

def wait(name):
    while Path(name).exists():
        Path("held").touch()
        time.sleep(0.01)

def Net(num_classes):
    model = build_resnet(18, num_classes=num_classes, input_shape=(3, 32, 32), verbose=False)
    num_batches = {True: 0, False: 0}

    def count(module, arguments):
        if arguments[0].device.type == "meta":
            return  # It is only tried out.
        num_batches[module.training] += 1
        if num_batches[True] == 10 and module.training:
            wait("hold_training")
        if num_batches[True] == 15 and not module.training:
            wait("hold_last_validation")

    model.register_forward_pre_hook(count)
    return model
"""
PATIENT_NET = ("--allow=patient", "model._target_=patient.Net")
EXACT = (
    *PATIENT_NET,
    *SMALL[1:],
    "trainer=deterministic",
    "trainer.epochs=5",
    "trainer.checkpoint_every_s=0",
)


class Patient:
    """A started command that waits where it is asked to."""

    def __init__(self, path: Path, hold: str, arguments: tuple[str, ...]) -> None:
        self._hold, self._ended = path / hold, False
        (path / "patient.py").write_text(PATIENT)
        self._hold.touch()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "resnet_sweep", *arguments],
            cwd=path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while not (path / "held").exists():
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.01)

    def signal(self, signum: int) -> None:
        """Sends a signal while the command waits; time enough to note it."""
        self.process.send_signal(signum)
        time.sleep(0.5)

    def let_go(self) -> str:
        """Lets it go on to its end; returns what it said."""
        self._hold.unlink()
        said = self.process.communicate(timeout=120)[0]
        self._ended = True
        return said

    def kill(self) -> None:
        if not self._ended:
            self.process.kill()
            self.process.communicate()
            self._hold.unlink(missing_ok=True)
            self._ended = True


@pytest.fixture
def start(tmp_path: Path):
    """Starts a patient command; whatever is left of it ends with the test."""
    started: list[Patient] = []

    def run(*arguments: str, hold: str = "hold_training") -> Patient:
        started.append(Patient(tmp_path, hold, arguments))
        return started[-1]

    yield run
    for patient in started:
        patient.kill()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """The folder of a run that nobody disturbed."""
    path = tmp_path_factory.mktemp("unbroken")
    (path / "patient.py").write_text(PATIENT)
    environment = os.environ | {"RESNET_SWEEP_CACHE": str(cache_dir), "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-m", "resnet_sweep", *EXACT, "hydra.run.dir=run"],
        cwd=path,
        env=environment,
        check=True,
        timeout=240,
    )
    return path / "run"


def assert_same_run(one: Path, other: Path) -> None:
    tables = [pd.read_csv(path / "metrics.csv")[MEASURED] for path in (one, other)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    results = [json.loads((path / "result.json").read_text()) for path in (one, other)]
    assert results[0]["objective"] == results[1]["objective"]
    assert results[1]["state"] == "COMPLETE"
    with (
        np.load(one / "predictions.npz") as first,
        np.load(other / "predictions.npz") as second,
    ):
        assert all((first[key] == second[key]).all() for key in first)
    assert not (other / "last.pt").exists()


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_numbers_bit_for_bit(
    command: Command, unbroken: Path, tmp_path, start
):
    patient = start(*EXACT, "hydra.run.dir=run")
    patient.kill()
    assert patient.process.returncode == -signal.SIGKILL
    assert (tmp_path / "run" / "last.pt").exists()
    assert not (tmp_path / "run" / "result.json").exists()
    done = command(*EXACT, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    assert "going on after epoch 3" in done.stdout
    assert_same_run(unbroken, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_how_to_go_on_and_does(
    command: Command, unbroken: Path, tmp_path, start, signum, code
):
    group = tmp_path / "mine" / "trainer"
    group.mkdir(parents=True)
    # Checkpoints only on the signal; a group of one's own, which going on needs as well.
    (group / "rare.yaml").write_text(
        "defaults: [deterministic]\nepochs: 5\ncheckpoint_every_s: 3600\n"
    )
    rest = [word for word in EXACT if not word.startswith("trainer")]
    patient = start(*rest, "trainer=rare", "trainer.threads=1", "--config-dir=mine")
    patient.signal(signum)
    said = patient.let_go()
    assert patient.process.returncode == code, said
    assert "Traceback" not in said
    result = json.loads((only_run(tmp_path) / "result.json").read_text())
    assert (result["state"], result["error"]["kind"]) == ("FAIL", "interrupted")
    line = next(line for line in said.splitlines() if "to go on: " in line)
    done = command(*shlex.split(line.partition("to go on: python -m resnet_sweep ")[2]))
    assert done.returncode == 0, done.stderr
    assert "going on after epoch 3" in done.stdout
    assert_same_run(unbroken, only_run(tmp_path))


def test_a_signal_after_the_last_step_does_not_undo_the_run(unbroken: Path, tmp_path, start):
    patient = start(*EXACT, "hydra.run.dir=run", hold="hold_last_validation")
    patient.signal(signal.SIGTERM)
    said = patient.let_go()
    assert patient.process.returncode == 143, said
    assert_same_run(unbroken, tmp_path / "run")


def test_a_second_signal_kills_at_once(start):
    patient = start(*EXACT)
    patient.signal(signal.SIGTERM)
    assert patient.process.poll() is None
    # It still waits, and would go on waiting: the signal itself must end it.
    patient.signal(signal.SIGTERM)
    assert patient.process.wait(timeout=60) == -signal.SIGTERM


def test_a_finished_run_is_not_overwritten_unless_asked(command: Command, tmp_path):
    arguments = [*SMALL, "trainer.epochs=1", "hydra.run.dir=run"]
    assert command(*arguments).returncode == 0
    before = (tmp_path / "run" / "metrics.csv").read_text()
    done = command(*arguments)
    assert done.returncode == 2
    assert "holds a finished run" in done.stderr
    assert (tmp_path / "run" / "metrics.csv").read_text() == before
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "result.json").write_text('{"state": "COMP')
    torn = command(*SMALL, "hydra.run.dir=torn")
    assert torn.returncode == 2
    assert "holds a result.json that cannot be read" in torn.stderr
    assert command(*arguments, "trainer.resume=never").returncode == 0
    assert (tmp_path / "run" / "metrics.csv").read_text() != before


def test_an_unfinished_run_of_other_settings_is_refused_untouched(
    command: Command, tmp_path, start
):
    start(*EXACT, "hydra.run.dir=run").kill()
    before = (tmp_path / "run" / ".hydra" / "overrides.yaml").read_text()
    done = command(*EXACT, "hydra.run.dir=run", "optimizer.lr=0.5")
    assert done.returncode == 2
    assert "optimizer.lr=0.5: the unfinished run has optimizer.lr=0.003" in done.stderr
    assert (tmp_path / "run" / ".hydra" / "overrides.yaml").read_text() == before


@pytest.mark.slow
def test_a_folder_that_is_in_use_is_refused(command: Command, tmp_path, start):
    patient = start(*EXACT, "hydra.run.dir=run")
    done = command(*EXACT, "hydra.run.dir=run")
    assert done.returncode == 2
    assert "is in use by another process" in done.stdout
    assert not (tmp_path / "run" / "result.json").exists()
    patient.let_go()
    assert patient.process.returncode == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["state"] == "COMPLETE"


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "resnet_sweep", "--help"],
        ["-m", "resnet_sweep.summary", "model=resnet18"],
        pytest.param(["-m", "resnet_sweep", *SMALL], marks=pytest.mark.slow),
    ],
    ids=["help", "summary", "run"],
)
def test_a_closed_pipe_is_no_error(tmp_path, arguments):
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=120) == 0, said
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


def test_a_network_that_crashes_leaves_a_traceback_in_the_log(command: Command, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Flatten):\n"
        "    def __init__(self, num_classes):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Linear(3072, num_classes)\n"
        "    def forward(self, x):\n"
        "        if x.device.type == 'cpu' and len(x) == 32:\n"
        "            raise KeyError('no such thing')\n"
        "        return self.layer(super().forward(x))\n"
    )
    done = command("--allow=mine", "model._target_=mine.Net", *SMALL[1:])
    assert done.returncode == 4
    folder = only_run(tmp_path)
    assert "KeyError: 'no such thing'" in (folder / "train.log").read_text()
    error = json.loads((folder / "result.json").read_text())["error"]
    assert (error["kind"], error["type"]) == ("exception", "KeyError")
    assert "in forward" in error["traceback"]


@pytest.mark.slow
def test_paths_mean_the_same_wherever_hydra_changes_to(command: Command, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(30):
            colour = (8 * i, 250, 0) if name == "a" else (0, 8 * i, 250)
            Image.new("RGB", (40, 40), colour).save(tmp_path / "images" / name / f"{i}.png")
    done = command(
        "data=image_folder",
        "data.root=images",
        "data.image_size=32",
        "data.cache_dir=cache",
        "model=resnet18",
        "trainer.epochs=1",
        "trainer.threads=1",
        "hydra.job.chdir=true",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "cache").is_dir()
    # And so does the folder that is named at the end.
    shown = done.stdout.splitlines()[-1].removeprefix("files in ")
    assert (tmp_path / shown / "result.json").exists()
