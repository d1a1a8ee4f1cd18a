"""python -m resnet_sweep.report."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from commands import Command
from studies import StudyOnDisk, study_of_every_kind

from resnet_sweep import load_history, load_results
from resnet_sweep.report.__main__ import main


@pytest.fixture
def every_kind(tmp_path: Path) -> Iterator[StudyOnDisk]:
    made = study_of_every_kind(tmp_path / "outputs" / "mine")
    yield made
    made.close()


@pytest.fixture
def grid(tmp_path: Path) -> StudyOnDisk:
    """Two models at two learning rates, one of them failed, with a seed each."""
    planned = [{"lr": lr, "model": model} for lr in (0.1, 0.01) for model in ("res", "plain")]
    made = StudyOnDisk(tmp_path / "grid", planned, name="grid")
    for ticket, value in enumerate((0.75, 0.5, 0.625)):
        made.add(ticket, planned[ticket], values=value, seconds=10.0 * (ticket + 1))
    made.add(3, planned[3], "FAIL", failure="exception", error="ValueError: a | b <script>")
    return made


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(one) for one in arguments]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(one) for one in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_a_sweep_that_runs_is_printed_and_written(command: Command, every_kind):
    done = command("outputs/mine", module="resnet_sweep.report")
    assert done.returncode == 0, done.stderr
    table, counts, files = done.stdout.split("\n\n")[0], *done.stdout.split("\n\n")[-2:]
    assert table.splitlines()[0].split()[:3] == ["number", "state", "objective"]
    assert counts.startswith(
        "lr_trials, 10 trials: 2 complete, 1 pruned, 1 fail, 1 running, 5 waiting"
    )
    names = ["results.csv", "history.csv", "report.html"]
    assert files.splitlines() == [f"outputs/mine/{name}" for name in names]
    folder = every_kind.path
    pd.testing.assert_frame_equal(load_results(folder / "results.csv"), load_results(folder))
    pd.testing.assert_frame_equal(load_history(folder / "results.csv"), load_history(folder))
    assert "<title>lr_trials</title>" in (folder / "report.html").read_text()


def test_it_does_not_load_torch(grid):
    script = "import sys, resnet_sweep.report.__main__ as r; r.main(sys.argv[1:]); "
    script += "print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script, str(grid.path)], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "False", done.stderr


def test_means_over_all_else(grid, capsys):
    out = printed(capsys, grid.path, "--by", "model")
    header, first, second = out.splitlines()[:3]
    assert header.split()[:4] == ["model", "num_runs", "num_failed", "objective_mean"]
    assert first.split()[:4] == ["res", "2", "0", "0.6875"]
    assert second.split()[:4] == ["plain", "1", "1", "0.5000"]


def test_rows_and_columns_are_chosen_and_sorted(grid, capsys):
    out = printed(capsys, grid.path, "--filter", "state=COMPLETE", "--sort=-seconds")
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["2", "1", "0"]
    shown = ["--filter", "lr>0.05", "--filter", "model=res", "--columns", "number,lr"]
    out = printed(capsys, grid.path, *shown)
    assert [line.split() for line in out.splitlines()[:2]] == [["number", "lr"], ["0", "0.1"]]


def test_every_attempt(every_kind, capsys):
    last = printed(capsys, every_kind.path, "--format", "csv")
    every = printed(capsys, every_kind.path, "--format", "csv", "--attempts", "all")
    assert len(every.splitlines()) == len(last.splitlines()) + 1


def test_formats_for_other_programs(grid, capsys):
    csv = pd.read_csv(io.StringIO(printed(capsys, grid.path, "--format", "csv")))
    assert csv["objective"].tolist()[:3] == [0.75, 0.625, 0.5]
    rows = json.loads(printed(capsys, grid.path, "--format", "json"))
    assert [row["objective"] for row in rows] == [0.75, 0.625, 0.5, None]
    columns = ["--columns", "model,error"]
    md = printed(capsys, grid.path, "--format", "md", *columns)
    assert md.splitlines()[0] == "| model | error |"
    assert "<script>" not in md
    latex = printed(capsys, grid.path, "--format", "latex", *columns)
    assert latex.startswith("\\begin{tabular}")
    # The names of the files must not stand between them.
    assert "report.html" not in md + latex


def test_two_csv_files_are_compared_without_their_folders(grid, tmp_path, capsys):
    other = StudyOnDisk(tmp_path / "other", [{"lr": 0.1, "model": "res"}], name="other")
    other.add(0, {"lr": 0.1, "model": "res"}, values=0.875)
    alone = tmp_path / "mailed"
    for made in (grid, other):
        (alone / made.path.name).mkdir(parents=True)
        printed(capsys, made.path)
        text = (made.path / "results.csv").read_text()
        (alone / made.path.name / "results.csv").write_text(text)
        made.path.rename(tmp_path / f"{made.path.name} gone")
    paths = [alone / "grid" / "results.csv", alone / "other" / "results.csv"]
    out = printed(capsys, "--compare", *paths)
    row = dict(zip(*(line.split() for line in out.splitlines()[:2]), strict=False))
    assert (row["lr"], row["model"], row["metric"]) == ("0.1", "res", "objective")
    assert (row["a"], row["b"], row["difference"]) == ("0.7500", "0.8750", "0.1250")
    assert "2 settings of a without a counterpart" in out
    table = pd.read_csv(io.StringIO(printed(capsys, "--compare", *paths, "--format", "csv")))
    assert table["difference"].tolist() == [0.125]


def test_what_one_sweep_has_swept_and_the_other_fixed_is_matched(tmp_path, capsys):
    """Each with its configuration: a swept two models, b is of one of them."""
    a = StudyOnDisk(tmp_path / "a", [{"model": "res"}, {"model": "plain"}], name="a")
    b = StudyOnDisk(tmp_path / "b", [{"lr": 0.1}], name="b")
    for made, models in ((a, ["res", "plain"]), (b, ["plain"])):
        for ticket, model in enumerate(models):
            values = {"model": model} if made is a else {"lr": 0.1}
            number = made.add(ticket, values, values=0.25 * (ticket + 1))
            hydra = made.path / "trials" / str(number) / ".hydra"
            hydra.mkdir(parents=True)
            (hydra / "config.yaml").write_text("lr: 0.1\nmodel: {depth: 50}\n")
            (hydra / "hydra.yaml").write_text(
                f"hydra: {{mode: MULTIRUN, runtime: {{choices: {{model: {model}}}}}}}"
            )
    out = printed(capsys, "--compare", a.path, b.path, "--format", "csv")
    table = pd.read_csv(io.StringIO(out))
    assert table[["model", "lr", "a", "b"]].to_numpy().tolist() == [["plain", 0.1, 0.5, 0.25]]
    for made in (a, b):
        printed(capsys, made.path)
        (made.path / "trials").rename(made.path / "gone")
    paths = [made.path / "results.csv" for made in (a, b)]
    assert main(["--compare", *map(str, paths)]) == 2
    assert "model" in capsys.readouterr().err


def test_several_sweeps_are_put_together_in_a_folder_of_their_own(grid, tmp_path, capsys):
    other = StudyOnDisk(tmp_path / "other", [{"batch": 8}], name="other")
    other.add(0, {"batch": 8}, values=0.25)
    out = printed(capsys, grid.path, other.path, "--output", tmp_path / "both")
    assert out.splitlines()[0].split()[:2] == ["study", "number"]
    table = load_results(tmp_path / "both" / "results.csv")
    assert table["study"].tolist() == ["grid"] * 4 + ["other"]
    assert table["batch"].tolist()[-1] == 8
    # The folder that was written can be named itself.
    pd.testing.assert_frame_equal(load_results(tmp_path / "both"), table)


def test_a_report_elsewhere_is_named_after_what_was_typed(grid, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed(capsys, grid.path)
    out = printed(capsys, grid.path / "results.csv")
    assert "grid, 4 runs: 3 complete, 1 fail; best trial 0, objective 0.7500; lr=0.1" in out
    assert (tmp_path / "report-grid" / "report.html").is_file()
    other = StudyOnDisk(tmp_path / "other", [{"lr": 8}], name="other")
    other.add(0, {"lr": 8}, values=0.25)
    printed(capsys, grid.path, other.path)
    assert (tmp_path / "report-grid-other" / "report.html").is_file()


def test_a_sweep_that_stands_still_is_said_to(tmp_path, capsys):
    attrs = {"program": ["python", "app.py"]}
    made = StudyOnDisk(tmp_path / "mine", [{"lr": 0.1}, {"lr": 0.2}], attrs=attrs)
    made.add(0, {"lr": 0.1}, values=0.5)
    text = "no sweep works on it now; the same command goes on with it"
    assert f"lr_trials: {text}" in printed(capsys, made.path).splitlines()
    assert text in (made.path / "report.html").read_text()
    made.sweep_lives()
    assert text not in printed(capsys, made.path)
    made.close()


def test_pictures_for_papers(grid, capsys):
    printed(capsys, grid.path, "--png")
    written = sorted((grid.path / "plots").glob("*.png"))
    assert written
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_everything_that_is_wrong_with_the_arguments_is_told(grid, tmp_path, capsys):
    assert "PATH=: must be given" in refused(capsys)
    assert "--top=0: must be at least 1" in refused(capsys, grid.path, "--top", "0")
    err = refused(capsys, tmp_path / "a", tmp_path / "b")
    assert err.startswith("there are no results to read (2 faults):")
    err = refused(capsys, grid.path, "--filter", "lrr=1", "--sort", "nothing")
    assert "lrr" in err
    assert "nothing" in err
    err = refused(capsys, "c", "--compare", "a", "b", "--png", "--top", "3", "--attempts", "all")
    assert [line.split(":")[0].strip() for line in err.splitlines()[1:]] == [
        *("PATH=c", "--png=true", "--top=3", "--attempts=all")
    ]
    # Refused before anything was written.
    assert not (grid.path / "report.html").exists()


def test_a_folder_that_cannot_be_written_is_told(grid, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    err = refused(capsys, grid.path, "--output", tmp_path / "file")
    assert "cannot be written" in err
    assert "type --output FOLDER" in err


def test_a_closed_pipe_is_no_error(grid):
    command = f"{sys.executable} -m resnet_sweep.report {grid.path} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""


def test_formats_for_people_have_the_columns_of_the_text(grid, capsys):
    for format_, gap in (("md", " | "), ("latex", " & ")):
        lines = printed(capsys, grid.path, "--format", format_).splitlines()
        (header,) = (line for line in lines if "number" in line)
        assert header.strip("| \\").split(gap)[:3] == ["number", "state", "objective"]
        assert "folder" not in header
        assert "folder" in printed(capsys, grid.path, "--format", format_, "--columns", "folder")
    assert "duplicate_of" not in printed(capsys, grid.path, "--format", "md", "--by", "model")
    assert "folder" in printed(capsys, grid.path, "--format", "csv")


def test_a_filter_that_leaves_nothing(grid, capsys):
    out = printed(capsys, grid.path, "--filter", "lr>5")
    assert out.splitlines()[0] == "no run matches the filter"
