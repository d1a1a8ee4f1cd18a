from functools import partial

import pytest
import torch
from recording import record_operations
from torch import Tensor, nn

from resnet_sweep.data.batches import TrainBatches
from resnet_sweep.data.config import AugmentConfig
from resnet_sweep.data.dataset import Split
from resnet_sweep.training import prepared as preparing
from resnet_sweep.training.compiled import compiled_network
from resnet_sweep.training.config import SgdConfig, TrainerConfig
from resnet_sweep.training.microbatch import fitting_microbatch
from resnet_sweep.training.prepared import Place, Prepared, tensors_of

CPU = torch.device("cpu")


def prepared(*, compiles=False, **settings) -> Prepared:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (16, 8, 8, 3), generator=generator, dtype=torch.uint8)
    batches = TrainBatches(
        Split(images.numpy(), torch.arange(16).remainder(4).numpy(), ("",) * 16),
        batch_size=8,
        device=CPU,
        mean=[0.5] * 3,
        std=[0.5] * 3,
        augment=AugmentConfig(),
        channels_last=False,
        seed=0,
    )
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))
    trainer = TrainerConfig(batch_size=8, **settings)
    return Prepared(network, batches, SgdConfig(), trainer, Place(CPU, "fp32", compiles))


def test_only_what_was_found_to_fit_is_compiled(monkeypatch):
    tried: list[int] = []
    compiled: list[int] = []

    def search(batch_size, try_step, free):
        def step(num):
            tried.append(num)
            if num > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            try_step(num)

        return fitting_microbatch(batch_size, step, free)

    def compiling(model):
        def network(images: Tensor) -> Tensor:
            compiled.append(len(images))
            return model(images)

        return network

    monkeypatch.setattr(preparing, "fitting_microbatch", search)
    monkeypatch.setattr(preparing, "compiled_network", compiling)
    step = prepared(compiles=True, microbatch="auto").step
    assert tried == [8, 2, 5, 3, 4]
    assert step.microbatch == 3
    assert compiled == [3, 3, 2]


def test_a_run_that_takes_a_captured_step_over_knows_what_it_needs(monkeypatch):
    """Its replays allocate nothing; and it did not spend the time that preparing took."""
    monkeypatch.setattr(preparing, "recorder_for", lambda device: record_operations)
    found = prepared()
    assert found.seconds > 0
    peak_mib = found.peak_memory_mib
    assert peak_mib > 0
    found.start({name: tensor.clone() for name, tensor in tensors_of(found.model).items()})
    assert found.seconds == 0
    assert found.peak_memory_mib == peak_mib


@pytest.mark.slow
def test_many_networks_are_compiled_in_one_process(monkeypatch, tmp_path):
    """torch.compile gives up at the ninth kind of one forward function, and only warns."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("torch._dynamo.config.fail_on_recompile_limit_hit", True)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))

    class Network(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.linear = nn.Linear(size, 2)

        def forward(self, x):
            return self.linear(x)

    for size in range(1, 12):
        assert compiled_network(Network(size))(torch.randn(3, size)).shape == (3, 2)
