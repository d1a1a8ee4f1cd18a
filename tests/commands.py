"""The command as tests type it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# A run of seconds: a real network on real digits, few of them.
SMALL = (
    "model=resnet18",
    "data.num_train=96",
    "data.num_val=40",
    "trainer.epochs=2",
    "trainer.threads=1",
)

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def only_sweep(path: Path) -> Path:
    """The folder of the one sweep that was run in ``path``."""
    (folder,) = (path / "outputs").iterdir()
    return folder
