"""Disks that are full or cannot be written on: which file, what to do, and no traceback."""

import pytest
from disks import FULL, read_only, turning_read_only, writable_again
from fault_sweeps import (
    LOCAL,
    ROOT,
    Stage,
    check_whole,
    come_to,
    sweep,
)
from small_disks import small_disk

NAMED = "hydra.sweeper.study_name=named"
REPORT = "resnet_sweep.report.report:Report"
# What is being written when the disk is full -> before which call it is filled.
WRITTEN = {
    "results.csv": f"{REPORT}.write_tables",
    "history.csv": "resnet_sweep.report.files:write_csv",
    "best.yaml": f"{REPORT}.write_best",
    "report.html": f"{REPORT}.write_page",
    "optimization_results.yaml": "resnet_sweep.sweep.ending:_write_best",
}
# results.csv is the first that write_csv writes.
NTH = {"history.csv": 2}


@pytest.mark.slow
def test_a_full_disk_behind_the_last_trial_costs_no_trial(tmp_path):
    command = ("x=1,2", NAMED)
    fill = FULL.format(tmp_path / ROOT)
    stages = [Stage("parent", at, "before", NTH.get(name, 1), fill) for name, at in WRITTEN.items()]
    with small_disk(tmp_path / ROOT, 16384):
        folder = tmp_path / ROOT / "named"
        for number, name in enumerate(WRITTEN, start=1):
            failed = sweep(tmp_path, *command, stages=stages[:number])
            assert failed.process.returncode == 2, failed.text
            assert come_to(tmp_path, stages) == stages[:number]
            assert f"file={folder / name}: No space left on device; make room" in failed.text
            assert "the same command then goes on, and writes what is missing" in failed.text
            assert "Traceback" not in failed.text
            (tmp_path / ROOT / "ballast").unlink()
        done = sweep(tmp_path, *command)
        assert done.process.returncode == 0, done.text
        assert all((folder / name).is_file() for name in WRITTEN)
        assert not list(folder.rglob(".*.tmp"))
        check_whole(tmp_path, folder, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "said"),
    [
        ((NAMED,), "hydra.sweeper.study_name={}/named: cannot be made: Read-only file system"),
        ((), "hydra.sweep.dir={}: may not be written into"),
    ],
    ids=["named", "unnamed"],
)
def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(tmp_path, where, said):
    with read_only(tmp_path / ROOT):
        refused = sweep(tmp_path, *where, "x=1,2")
        assert refused.process.returncode == 2, refused.text
        assert f"{said.format(tmp_path / ROOT)}; choose another folder" in refused.text
        assert "Traceback" not in refused.text
        assert not list((tmp_path / ROOT).iterdir())
    assert not (tmp_path / "starts").exists()


@pytest.mark.slow
def test_a_disk_that_turns_read_only_ends_the_sweep_and_the_same_command_goes_on(tmp_path):
    root = tmp_path / ROOT
    tell = "resnet_sweep.sweep.runner:Runner._tell"
    command = (*LOCAL, "x=1,2,3,4,5,6,7,8", NAMED)
    with small_disk(root, 8192), turning_read_only(root) as turn_read_only:
        stage = Stage("worker", tell, "after", do=turn_read_only)
        failed = sweep(tmp_path, *command, stages=[stage])
        assert come_to(tmp_path, [stage])
        assert failed.process.returncode == 2, failed.text
        assert "Read-only file system" in failed.text
        assert "Traceback" not in failed.text
        writable_again(root)
        done = sweep(tmp_path, *command)
        assert done.process.returncode == 0, done.text
        check_whole(tmp_path, root / "named", 8)
