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


def test_memory_is_that_of_this_process():
    assert 50 < devices.peak_memory_mib(CPU) < 100_000
