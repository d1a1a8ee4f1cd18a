import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from resnet_sweep.faults import ConfigError
from resnet_sweep.training import device as devices
from resnet_sweep.training.config import TrainerConfig

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _restored():
    yield
    devices.set_process_state(TrainerConfig(threads=1), CPU)


def test_auto_finds_something_and_cpu_is_cpu():
    assert devices.resolve_device("auto").type in ("cpu", "cuda", "mps")
    assert devices.resolve_device("cpu") == CPU


def test_a_gpu_that_is_not_there_is_refused_with_what_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"cuda:7: is not on this machine.*cuda:0, cuda:1"):
        devices.resolve_device("cuda:7")
    assert devices.resolve_device("cuda:1") == torch.device("cuda:1")


def test_a_gpu_without_a_number_is_the_first_one(monkeypatch):
    """Not whichever GPU an earlier run of the process has used."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.resolve_device("cuda") == torch.device("cuda:0")
    assert devices.resolve_device("auto") == torch.device("cuda:0")


def test_auto_precision_is_bf16_exactly_where_the_processor_has_it(monkeypatch):
    for has, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(
            torch.cpu, "get_capabilities", lambda has=has: {"avx512_bf16": has}, raising=False
        )
        assert devices.resolve_precision("auto", CPU) == expected
        assert devices.resolve_precision("bf16", CPU) == "bf16"
        assert devices.resolve_precision("fp32", CPU) == "fp32"


def test_bf16_on_a_device_without_it_is_refused():
    with pytest.raises(ConfigError, match="precision=bf16: is not possible on mps"):
        devices.resolve_precision("bf16", torch.device("mps"))


def test_nothing_leaks_from_one_run_into_the_next():
    devices.set_process_state(TrainerConfig(deterministic=True, threads=2), CPU)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == 2
    devices.set_process_state(TrainerConfig(threads=1), CPU)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == 1


def test_memory_is_that_of_this_process(monkeypatch):
    peak = devices.peak_memory_mib(CPU)
    assert 50 < peak < 100_000
    # Where the system does not tell it there is still the other number.
    for place in ("/dev/null", "/nowhere"):
        monkeypatch.setattr(devices, "_STATUS", Path(place))
        assert devices.peak_memory_mib(CPU) > 0.9 * peak


PEAK = """
import torch
from resnet_sweep.training.device import peak_memory_mib
torch.ones(200 * 2**18)
print(peak_memory_mib(torch.device("cpu")))
"""


@pytest.mark.skipif(
    not devices._STATUS.exists() or b"VmHWM" not in devices._STATUS.read_bytes(),
    reason="only Linux tells it",
)
def test_memory_is_not_that_of_whoever_started_the_process():
    """On Linux a process begins with its parent's ru_maxrss, and this one has grown before."""
    torch.ones(800 * 2**18)
    before = devices.peak_memory_mib(CPU)
    assert before > 800
    command = [sys.executable, "-c", PEAK]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 200 < float(done.stdout) < before - 300
    assert devices.peak_memory_mib(CPU) >= before


FAULTS = """
import resource, sys, torch
from resnet_sweep.training.config import TrainerConfig
from resnet_sweep.training.device import set_process_state
if sys.argv[1] == "ours":
    set_process_state(TrainerConfig(threads=1), torch.device("cpu"))
def large_blocks():
    for _ in range(20):
        torch.ones(16 * 2**20)  # 64 MiB
large_blocks()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
large_blocks()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_freed_memory_is_used_again_without_the_kernel():
    faults = {
        who: int(
            subprocess.run(
                [sys.executable, "-c", FAULTS, who], capture_output=True, text=True, check=True
            ).stdout
        )
        for who in ("plain", "ours")
    }
    # A page a fault: 20 x 64 MiB are 327,680 pages of 4 KiB, 640 of 2 MiB.
    assert faults["plain"] > 10 * faults["ours"]
