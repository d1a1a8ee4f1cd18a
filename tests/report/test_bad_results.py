"""Results that somebody has edited, cut or filled with what does harm: a report all the same."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from studies import StudyOnDisk

from resnet_sweep.faults import UserError
from resnet_sweep.report.__main__ import main as report
from resnet_sweep.report.results import load_history, load_results
from resnet_sweep.status import main as status

EPOCHS = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds")
# What JSON can hold in the place of anything.
VALUES: tuple[Any, ...] = (
    None, True, -1, 10**400, float("nan"), float("-inf"), "x", "<script>", "\ud800", "a\0b", [],
    [1], {}, {"a": {"b": [1]}},
)  # fmt: skip
CELLS = ("", "x", "nan", "inf", "1e999", "9" * 500, "-1", "true", "2024-01-01", "[", '"', "=1+1")
LINES = ("[", "{a: 1}", "", "${nope}", "${", "1e400", "!!python/name:os.system", "&a *a", '"')


def made_run(folder: Path, lr: float, value: float) -> None:
    """What a run of ours leaves behind."""
    (folder / ".hydra").mkdir(parents=True)
    config = {
        "optimizer": {"lr": lr},
        "trainer": {"seed": 0, "epochs": 2},
        "objective": {"metric": "val_accuracy", "epoch": "best"},
    }
    OmegaConf.save(OmegaConf.create(config), folder / ".hydra" / "config.yaml")
    hydra = {"hydra": {"mode": "MULTIRUN", "job": {"num": 0}, "runtime": {"choices": {}}}}
    OmegaConf.save(OmegaConf.create(hydra), folder / ".hydra" / "hydra.yaml")
    (folder / ".hydra" / "overrides.yaml").write_text(f"- optimizer.lr={lr}\n")
    rows = [[epoch, 1.0, 0.5, 1.0, value, lr, 0.1] for epoch in (1, 2)]
    text = "\n".join(",".join(map(str, row)) for row in [EPOCHS, *rows])
    (folder / "metrics.csv").write_text(f"{text}\n")
    last = dict(zip(EPOCHS, rows[-1], strict=True))
    result = {
        "state": "COMPLETE", "objective": value, "best": last, "last": last,
        "test": {"test_loss": 1.0, "test_accuracy": value}, "metric": "best_val_accuracy",
        "direction": "maximize", "seed": 0, "num_val_images": 40, "num_test_images": 40,
        "chance_accuracy": 0.1, "seconds": 1.0, "images_per_s": 100.0, "device": "cpu",
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "rerun.yaml").write_text(f"# again\noptimizer:\n  lr: {lr}\n")
    labels = np.arange(40) % 10
    hits = {f"{part}_{name}": labels for part in ("val", "test") for name in ("labels", "answers")}
    np.savez(folder / "predictions.npz", **hits)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two trials, with all of its files."""
    path = tmp_path_factory.mktemp("whole") / "study"
    study = StudyOnDisk(path, [{"optimizer.lr": 0.5}, {"optimizer.lr": 0.25}])
    for number, (lr, value) in enumerate(((0.5, 0.8), (0.25, 0.6))):
        study.add(number, {"optimizer.lr": lr}, values=value)
        made_run(path / "trials" / str(number), lr, value)
    study.close()
    assert report([str(path)]) == 0
    return path


def edited_json(random_: random.Random, content: bytes) -> bytes:
    found = json.loads(content)
    place = random_.choice([found, *(one for one in found.values() if isinstance(one, dict))])
    name = random_.choice(list(place))
    if random_.random() < 0.3:
        del place[name]
    else:
        place[name] = random_.choice(VALUES)
    return json.dumps(found).encode("utf-8", "surrogatepass")


def edited_lines(random_: random.Random, content: bytes, path: Path) -> bytes:
    lines = content.decode().splitlines() or [""]
    at = random_.randrange(len(lines))
    if path.suffix == ".csv":
        cells = lines[at].split(",")
        cells[random_.randrange(len(cells))] = random_.choice(CELLS)
        lines[at] = ",".join([*cells, *(["x"] if random_.random() < 0.3 else [])])
    else:
        lines[at] = f"{lines[at].partition(':')[0]}: {random_.choice(LINES)}"
    return "\n".join(lines).encode()


def damage(random_: random.Random, path: Path) -> str:
    """Does something to a file; returns what."""
    content = path.read_bytes()
    at = random_.randrange(len(content) + 1)
    sign = random_.choice([b"\0", b"\xff", b",", b"\n", b'"', b"[", b"nan", b"-"])
    ways: dict[str, Callable[[], bytes | None]] = {
        "cut": lambda: content[:at],
        "empty": lambda: b"",
        "noise": lambda: random_.randbytes(200),
        "mark": lambda: b"\xef\xbb\xbf" + content,
        "sign": lambda: content[:at] + sign + content[at:],
        "utf16": lambda: content.decode("utf-8", "replace").encode("utf-16"),
        "deep": lambda: b"[" * 300_000,
        "gone": lambda: None,
        "folder": lambda: None,
    }
    if path.suffix == ".json":
        ways |= dict.fromkeys(("edit", "edit again"), lambda: edited_json(random_, content))
    elif path.suffix in (".csv", ".yaml"):
        ways |= dict.fromkeys(("line", "next"), lambda: edited_lines(random_, content, path))
    way = random_.choice(sorted(ways))
    new = ways[way]()
    if new is not None:
        path.write_bytes(new)
    else:
        path.unlink()
        if way == "folder":
            path.mkdir()
    return way


def read_everything(folder: Path, other: Path) -> None:
    """All that reads results; a user's error is an answer, all else is not."""
    for read in (
        lambda: load_results(folder),
        lambda: load_history(folder),
        lambda: load_results(folder / "results.csv"),
    ):
        with suppress(UserError):
            read()
    for command in (
        lambda: report([str(folder), "--config", "all", "--top", "2"]),
        lambda: report(["--compare", str(other), str(folder)]),
        lambda: status([str(folder)]),
    ):
        assert command() in (0, 2)


def damaged_and_read(whole: Path, folder: Path, seed: int) -> None:
    random_ = random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    suffixes = (".json", ".csv", ".yaml", ".npz", ".journal", ".log")
    files = sorted(path for path in folder.rglob("*") if path.suffix in suffixes)
    for path in random_.sample(files, random_.choice([1, 1, 2])):
        way = damage(random_, path)
        print(f"seed {seed}: {path.relative_to(folder)}: {way}")
    read_everything(folder, whole)


def test_damaged_files_do_not_break_a_report(whole: Path, tmp_path: Path) -> None:
    damaged_and_read(whole, tmp_path / "study", 1000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_no_damage_breaks_a_report(whole: Path, tmp_path: Path, seed: int) -> None:
    for number in range(5):
        damaged_and_read(whole, tmp_path / "study", 5 * seed + number)


@pytest.mark.slow
def test_a_damaged_result_costs_its_row_and_is_told(
    whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(whole, folder)
    (folder / "trials" / "1" / "result.json").write_text('{"state": "COMP')
    (folder / "trials" / "1" / ".hydra" / "config.yaml").write_text("a: [" * 100_000)
    table = load_results(folder, config=["trainer.epochs"])
    assert table["objective"].tolist() == [0.8, 0.6]
    assert table["test_accuracy"].isna().tolist() == [False, True]
    assert f"{folder / 'trials' / '1' / 'result.json'} cannot be read: " in caplog.text
    assert "config.yaml cannot be read: is nested in more than 200 levels" in caplog.text


@pytest.mark.slow
def test_pickles_in_predictions_are_not_loaded(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "pwned"),)

    folder = tmp_path / "study"
    shutil.copytree(whole, folder)
    bomb = np.array([Bomb()], dtype=object)
    for run in (folder / "trials").iterdir():
        np.savez(run / "predictions.npz", val_labels=bomb, val_answers=bomb, test_labels=bomb)
    assert report(["--compare", str(whole), str(folder)]) == 0
    assert not (tmp_path / "pwned").exists()


@pytest.mark.slow
def test_what_does_not_belong_into_a_folder_of_sweeps_is_passed_by(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole, tmp_path / "study")
    (tmp_path / "study" / "loop").symlink_to(tmp_path)
    (tmp_path / "study" / "trials" / "loop").symlink_to(tmp_path / "study" / "trials")
    (tmp_path / "study" / "trials" / "text").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "study" / "trials" / "pipe")
    shutil.rmtree(tmp_path / "study" / "trials" / "1")
    for number in range(1000):
        (tmp_path / f"empty{number}").mkdir()
    table = load_results(tmp_path)
    assert table["objective"].tolist() == [0.8, 0.6]
    assert status([str(tmp_path / "study")]) == 0
    assert "0.8000" in capsys.readouterr().out
