from pathlib import Path

import pytest

from benchmarks.report_size import main, make_study, measure
from resnet_sweep import load_history, load_results


@pytest.mark.parametrize("with_folders", [True, False])
def test_the_study_is_as_large_as_was_asked_and_all_parts_are_measured(
    tmp_path: Path, with_folders: bool
) -> None:
    folder = tmp_path / "large"
    make_study(folder, 5, 3, with_folders=with_folders)
    table = load_results(folder)
    assert len(table) == 5
    assert ("last_val_loss" in table) == with_folders
    assert len(load_history(folder)) == 15
    found = measure(folder)
    assert list(found) == ["table", "history", "render", "csv", "page", "table from csv"]
    assert all(seconds >= 0 for pair in found.values() for seconds in pair)
    assert (folder / "report.html").is_file()


def test_it_needs_a_trial(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--trials", "0"])
    assert "whole number from 1 on" in capsys.readouterr().err
