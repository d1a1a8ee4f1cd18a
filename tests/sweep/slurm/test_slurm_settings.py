"""What hydra/launcher=slurm is told, refuses, and tells sbatch; without a Slurm."""

import os
import sys
import threading
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from resnet_sweep.faults import ConfigError
from resnet_sweep.sweep.local.gpus import Gpu
from resnet_sweep.sweep.local.payload import Work, write_payload
from resnet_sweep.sweep.slurm.config import SlurmLauncherConf, launcher_faults
from resnet_sweep.sweep.slurm.launcher import SlurmLauncher
from resnet_sweep.sweep.slurm.task import job_slots, slot_base


def keys_refused(**options: object) -> set[str]:
    faults = launcher_faults(SlurmLauncherConf(name="x", **options))  # type: ignore[arg-type]
    return {fault.key.removeprefix("hydra.launcher.") for fault in faults}


def test_everything_that_is_wrong_is_told_at_once():
    assert (
        keys_refused(workers=2, timeout_min=60, gpus_per_node="a100:1", mem_per_gpu="32G") == set()
    )
    wrong = {
        "workers": 0,
        "workers_per_job": True,
        "max_restarts": -1,
        "partition": "a\n#SBATCH --uid=0",
        "account": " ",
        "gpus_per_node": "two",
        "mem_per_cpu": "4 GB",
        "mem_gb": float("nan"),
        "restart_window_s": -1.0,
        "cpus_per_gpu": 2,
        "setup": ["module load a\nmodule load b"],
    }
    assert keys_refused(**wrong) == {*wrong}


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"timeout_min": 2}, "signal_delay_s"),
        ({"mem_gb": 4, "mem_per_cpu": "1G"}, "mem_gb"),
        ({"additional_parameters": {"time": 5}}, "additional_parameters.time"),
        ({"additional_parameters": {"job-name": "a"}}, "additional_parameters.job-name"),
        ({"additional_parameters": {"open-mode": "truncate"}}, "additional_parameters.open-mode"),
        ({"additional_parameters": {"a b": 1}}, "additional_parameters.a b"),
        ({"additional_parameters": {"reservation": "a\nb"}}, "additional_parameters.reservation"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(options, key):
    assert keys_refused(**options) == {key}


def test_a_machine_without_slurm_is_told_where_to_start_the_sweep(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    launcher = SlurmLauncher(name="x")
    with pytest.raises(ConfigError, match=r"needs Slurm's commands, and sbatch, .* login node"):
        launcher.setup(hydra_context=None, task_function=None, config=OmegaConf.create())


@pytest.mark.parametrize(
    ("hydra", "key"),
    [
        ({"sweep": {"dir": "a\n#SBATCH --uid=0"}}, "hydra.sweep.dir"),
        ({"sweep": {"dir": "a"}, "sweeper": {"study_name": "b\rc"}}, "hydra.sweeper.study_name"),
    ],
)
def test_a_folder_whose_name_would_be_another_line_of_the_script_is_refused(hydra, key):
    launcher = SlurmLauncher(name="x")
    config = OmegaConf.create({"hydra": hydra})
    with pytest.raises(ConfigError, match=f"{key}='.*: may not have line breaks"):
        launcher.setup(hydra_context=None, task_function=None, config=config)


def test_a_task_that_cannot_be_sent_to_a_job_names_this_launcher():
    work = Work(None, OmegaConf.create(), threading.Lock(), None)
    with pytest.raises(ConfigError, match="hydra/launcher=slurm: cannot send the task"):
        write_payload(work, "slurm")


def test_the_script_for_sbatch_says_all_that_was_set_and_starts_this_python(monkeypatch, tmp_path):
    submission = pytest.importorskip("resnet_sweep.sweep.slurm.submission")
    # submitit looks for it, and calls it only to submit.
    (tmp_path / "srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    options = SlurmLauncherConf(
        name="mine",
        partition="long",
        gpus_per_node=1,
        cpus_per_task=8,
        mem_gb=1.5,
        setup=["module load cuda"],
        additional_parameters={"exclusive": True, "reservation": "it's"},
    )
    executor = submission._executor(options, tmp_path / "a b", Path("/logs/slurm-%A_%a.log"), 4)
    lines = executor._make_submission_file_text(executor._submitit_command_str, "").splitlines()
    settings = {line for line in lines if line.startswith("#SBATCH")}
    assert settings >= {
        *("#SBATCH --job-name=mine", "#SBATCH --partition=long", "#SBATCH --gpus-per-node=1"),
        *("#SBATCH --cpus-per-task=8", "#SBATCH --mem=1536M", "#SBATCH --exclusive"),
        *("#SBATCH --requeue", "#SBATCH --signal=B:USR2@120", "#SBATCH --open-mode=append"),
        "#SBATCH --output=/logs/slurm-%A_%a.log",
        """#SBATCH --reservation='it'"'"'s'""",
    }
    # The partition's own limit counts.
    assert not any("--time" in line or "--error" in line for line in settings)
    assert lines.index("module load cuda") < lines.index("export SUBMITIT_EXECUTOR=slurm")
    (command,) = [line for line in lines if line.startswith("exec ")]
    assert command.startswith(f"exec {sys.executable} -P -u ")
    assert command.endswith(f"start.py '{tmp_path}/a b'")


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"SLURMD_NODENAME": "n7", "SLURM_ARRAY_TASK_ID": "3"}, "n7-task3"),
        ({"SLURMD_NODENAME": "n7"}, "n7-task0"),
        # A broken GPU has the same name in whichever job.
        (
            {"SLURMD_NODENAME": "n7", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_GPUS": "2,5"},
            "n7-gpu2+5",
        ),
    ],
)
def test_a_slot_is_named_for_its_node_and_what_the_job_has_of_it(environment, name):
    assert slot_base(environment) == name


def test_workers_of_a_job_share_its_gpus_evenly_and_their_logs_tell_the_node():
    gpus = [Gpu("gpu0", "0", "GPU-a"), Gpu("gpu1", "1", "GPU-b")]
    environment = {"SLURMD_NODENAME": "n7", "SLURM_JOB_GPUS": "4,5", "SLURM_CPUS_ON_NODE": "1"}
    two, three = (job_slots(gpus, num, environment) for num in (2, 3))
    assert [slot.name for slot in two] == ["n7-gpu4+5-gpu0", "n7-gpu4+5-gpu1"]
    assert [slot.env["CUDA_VISIBLE_DEVICES"] for slot in two] == ["0", "1"]
    assert [slot.name for slot in three][-1] == "n7-gpu4+5-gpu0.1"
    assert [slot.env["CUDA_VISIBLE_DEVICES"] for slot in three] == ["GPU-a", "GPU-b", "GPU-a"]
    (alone,) = job_slots(gpus[:1], 1, environment)
    assert alone.env["RESNET_SWEEP_SLOT"] == alone.name == "n7-gpu4+5"
    assert alone.env["OMP_NUM_THREADS"] == "1"


def test_a_job_does_not_take_itself_for_the_one_that_it_was_submitted_from(monkeypatch):
    submission = pytest.importorskip("resnet_sweep.sweep.slurm.submission")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "5")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/other.conf")
    with submission._outside_of_jobs():
        assert "SLURM_ARRAY_TASK_ID" not in os.environ
        assert os.environ["SLURM_CONF"] == "/etc/slurm/other.conf"
    assert os.environ["SLURM_ARRAY_TASK_ID"] == "5"
