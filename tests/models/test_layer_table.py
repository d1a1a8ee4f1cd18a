from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from resnet_sweep.models import build_resnet
from resnet_sweep.models.summary import layer_table


class NeedsValues(nn.Module):
    """A network that the meta device cannot run."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3))
        return self.fc(pooled) if pooled.sum().item() > -1e9 else pooled


def test_table_has_sizes_parameters_and_multiply_adds() -> None:
    table = layer_table(build_resnet(50, verbose=False), (3, 224, 224))
    assert "Output Shape" in table
    assert "Total params: 25,575,912" in table
    assert "[1, 2048, 7, 7]" in table
    # He et al. 2015, table 1 says 3.8e9, with the stride on the 1x1 as here.
    assert "Total mult-adds (G): 3.87" in table
    row = next(line for line in table.splitlines() if "Conv2d (conv1)" in line)
    # 112 * 112 positions, 64 outputs, 7 * 7 * 3 inputs and a bias.
    assert row.split()[-2:] == [f"{64 * 148:,}", f"{112 * 112 * 64 * 148:,}"]


def test_table_reaches_the_innermost_layers() -> None:
    table = layer_table(build_resnet(18, verbose=False, shortcut_norm=True), (3, 32, 32))
    assert table.count("Conv2d (") == 20
    assert table.count("BatchNorm2d (") == 20


@pytest.mark.parametrize("needs_values", [False, True])
def test_table_leaves_the_network_and_the_generator_alone(needs_values: bool) -> None:
    model = NeedsValues() if needs_values else build_resnet(18, verbose=False)
    # A network that is frozen in part has modes of its own.
    next(model.children()).eval()
    modes = [module.training for module in model.modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(1)
    layer_table(model, (3, 32, 32))
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_images_that_do_not_fit_raise() -> None:
    with pytest.raises(RuntimeError):
        layer_table(build_resnet(18, verbose=False), (1, 32, 32))
