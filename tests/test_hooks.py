"""What is refused before a run begins, by Hydra's callbacks."""

from pathlib import Path

import pytest

from resnet_sweep.command import Command
from resnet_sweep.config import register_schema
from resnet_sweep.hooks import CheckFirst
from resnet_sweep.outcome import Verdict


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Verdict, "exit_code", None)
    register_schema()

    def run(*overrides: str) -> None:
        command = Command.typed(overrides)
        CheckFirst().on_run_start(command.compose(command.overrides))

    return run


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("x" * 300, "File name too long"),
        ("file/run", "{}/file is no folder"),
        # Nothing can be made there, whoever asks.
        ("/proc/x", "No such file or directory"),
    ],
)
def test_a_folder_that_cannot_be_made_is_refused(begin, tmp_path: Path, capsys, name, reason):
    if not Path("/proc").is_dir() and name.startswith("/proc"):
        pytest.skip("has no /proc")
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as end:
        begin(f"hydra.run.dir='{tmp_path / name}'")
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert f": cannot be made: {reason.format(tmp_path)}; choose another folder" in said


def test_a_folder_is_made_when_nothing_is_wrong(begin, tmp_path: Path):
    with pytest.raises(SystemExit):
        begin("optimizer.lr=-1", f"hydra.run.dir={tmp_path}/runs/a")
    assert list(tmp_path.iterdir()) == []
    begin(f"hydra.run.dir={tmp_path}/runs/a")
    assert (tmp_path / "runs" / "a").is_dir()
