"""How a machine is shared: no GPU is needed to know."""

import os

import pytest

from resnet_sweep.faults import ConfigError
from resnet_sweep.sweep.launcher_config import LocalLauncherConf, launcher_faults
from resnet_sweep.sweep.local.gpus import Gpu, installed_uuids, visible_gpus
from resnet_sweep.sweep.local.slots import count_cores, make_slots

UUIDS = [f"GPU-{i}{i}{i}{i}-abcd" for i in range(8)]


def gpus(num: int) -> list[Gpu]:
    return visible_gpus(UUIDS[:num], {})


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        (None, [f"gpu{i}" for i in range(8)]),
        ("4,5", ["gpu4", "gpu5"]),
        ("5, 4", ["gpu5", "gpu4"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        # As CUDA does it: what follows an entry that names nothing is not seen.
        ("1,-1,2", ["gpu1"]),
        ("1,8,2", ["gpu1"]),
        ("3,3", ["gpu3"]),
        ("3,GPU-3333", ["gpu3"]),
        ("GPU-3333-abcd,GPU-0", ["gpu3", "gpu0"]),
        # The beginning of eight UUIDs names none of them.
        ("GPU-", []),
        ("MIG-aa,MIG-bb", ["mig0", "mig1"]),
    ],
)
def test_gpus_are_those_that_cuda_would_show(listed, names):
    environment = {} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}
    assert [gpu.name for gpu in visible_gpus(UUIDS, environment)] == names


def test_a_machine_without_a_driver_has_no_gpus():
    assert visible_gpus([], {"CUDA_VISIBLE_DEVICES": "0,MIG-aa"}) == []
    # Whatever this machine has, counting does not fail.
    assert all(isinstance(uuid, str) for uuid in installed_uuids())


def test_auto_is_a_worker_a_gpu_and_each_sees_its_own():
    visible = visible_gpus(UUIDS, {"CUDA_VISIBLE_DEVICES": "4,GPU-5"})
    slots = make_slots(visible, "auto", 1, 16, {})
    assert [slot.name for slot in slots] == ["gpu4", "gpu5"]
    assert [slot.env["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["4", "GPU-5"]
    assert [slot.env["RESNET_SWEEP_SLOT"] for slot in slots] == ["gpu4", "gpu5"]
    assert {slot.env["OMP_NUM_THREADS"] for slot in slots} == {"8"}


def test_each_gpu_gets_its_first_worker_before_one_gets_its_second():
    slots = make_slots(gpus(2), "auto", 2, 16, {})
    assert [slot.name for slot in slots] == ["gpu0.0", "gpu1.0", "gpu0.1", "gpu1.1"]
    # MPS numbers devices anew, so that only UUIDs mean the same to it and to its clients.
    assert [slot.env["CUDA_VISIBLE_DEVICES"] for slot in slots] == [*UUIDS[:2], *UUIDS[:2]]
    assert [slot.name for slot in make_slots(gpus(2), 3, 2, 16, {})] == [
        "gpu0.0",
        "gpu1.0",
        "gpu0.1",
    ]


def test_without_gpus_slots_share_the_cores():
    assert [slot.name for slot in make_slots([], "auto", 4, 8, {})] == ["cpu0"]
    slots = make_slots([], 3, 1, 8, {})
    assert [slot.name for slot in slots] == ["cpu0", "cpu1", "cpu2"]
    for slot in slots:
        assert slot.env == {
            "RESNET_SWEEP_SLOT": slot.name,
            "OMP_NUM_THREADS": "2",
            "MKL_NUM_THREADS": "2",
            "OPENBLAS_NUM_THREADS": "2",
        }


def test_more_workers_than_cores_get_a_thread_each():
    assert {slot.env["OMP_NUM_THREADS"] for slot in make_slots([], 5, 1, 2, {})} == {"1"}


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({"OMP_NUM_THREADS": "3"}, set()),
        (
            {"OMP_NUM_THREADS": "", "MKL_NUM_THREADS": "3"},
            {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"},
        ),
        ({"MKL_NUM_THREADS": "3"}, {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}),
    ],
)
def test_a_number_of_threads_that_the_user_has_set_stays(environment, names):
    (slot,) = make_slots([], 1, 1, 4, environment)
    assert {name for name in slot.env if name.endswith("THREADS")} == names


def test_more_workers_than_the_gpus_have_room_for_are_refused():
    with pytest.raises(ConfigError, match=r"workers=5: is more than 4, .* 2 on each of 2 visible"):
        make_slots(gpus(2), 5, 2, 8, {})
    with pytest.raises(ConfigError, match="workers_per_gpu, or hide"):
        make_slots(gpus(1), 2, 1, 8, {})


def test_cores_are_limited_by_a_container_s_quota(tmp_path):
    mine = len(os.sched_getaffinity(0))
    assert count_cores(tmp_path) == mine
    for text, expected in [
        ("max 100000\n", mine),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        (f"{(mine + 1) * 100000} 100000\n", mine),
    ]:
        (tmp_path / "cpu.max").write_text(text)
        assert count_cores(tmp_path) == expected


def test_all_options_that_are_wrong_are_told_at_once():
    faults = launcher_faults(
        LocalLauncherConf(
            workers=0, workers_per_gpu=0, mps="yes", max_restarts=-1, restart_window_s=float("nan")
        )
    )
    assert [fault.key.removeprefix("hydra.launcher.") for fault in faults] == [
        "workers",
        "workers_per_gpu",
        "max_restarts",
        "mps",
        "restart_window_s",
    ]
    for workers in ("two", True, 1.5, None, -1):
        assert len(launcher_faults(LocalLauncherConf(workers=workers))) == 1
    assert launcher_faults(LocalLauncherConf(workers=3)) == launcher_faults(LocalLauncherConf())
