import pytest

from resnet_sweep.wording import counted


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((1, "run"), "1 run"),
        ((0, "run"), "0 runs"),
        ((12345, "run"), "12,345 runs"),
        ((1, "process", "processes"), "1 process"),
        ((2, "process", "processes"), "2 processes"),
    ],
)
def test_one_is_not_counted_as_many(arguments, said):
    assert counted(*arguments) == said
