"""docs/studies: every page is what its committed tables say, and each study is one command."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import ROOT
from PIL import Image

from benchmarks.studies import causes, depth, lr_search, lr_trials, variants
from benchmarks.studies.__main__ import DOCS, build_parser, main
from benchmarks.studies.epochs import largest_losses
from benchmarks.studies.numbers import accuracy, difference, each, learned, text
from benchmarks.studies.page import page, write_page
from benchmarks.studies.running import command, tables
from benchmarks.studies.studies import STUDIES
from benchmarks.studies.study import SCALES
from resnet_sweep import load_history

COMMITTED = sorted(path.parent for path in DOCS.glob("**/study.json"))


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_a_committed_page_is_what_its_tables_say(folder: Path):
    assert (folder / "README.md").read_text() == page(STUDIES[folder.name], folder, tables(folder))


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_a_committed_study_is_whole(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / folder.name)
    for picture in (tmp_path / folder.name).glob("*.png"):
        picture.unlink()
    assert main([folder.name, "--page", "--docs", str(tmp_path)]) == 0
    for path in (tmp_path / folder.name).iterdir():
        committed = folder / path.name
        assert committed.exists(), path.name
        if path.suffix == ".png":
            with Image.open(path) as made, Image.open(committed) as kept:
                assert made.size == kept.size
    told = json.loads((folder / "study.json").read_text())
    runs = tables(folder).runs
    assert [sweep["num_runs"] for sweep in told["sweeps"]] == [
        int((runs["study"] == sweep["name"]).sum()) for sweep in told["sweeps"]
    ]
    assert set(runs["state"]) <= {"COMPLETE", "PRUNED", "FAIL"}
    typed = [command(sweep, "FOLDER", ()) for sweep in STUDIES[folder.name].sweeps[told["scale"]]]
    for words, sweep in zip(typed, told["sweeps"], strict=True):
        assert shlex.split(sweep["command"])[: len(words)] == words


@pytest.mark.parametrize(
    "name", ["results.csv", "history.csv", "report.html", "README.md", "best.yaml", "study.json"]
)
def test_nothing_committed_names_the_machine_it_was_made_on(name: str):
    for folder in COMMITTED:
        # A path from the root of a file system, two folders deep, as a word or a value.
        text = (folder / name).read_text()
        assert (
            re.findall(r"""["'=\s>,(]/(?:tmp|home|root|[a-z]\w*/[\w.-]+)/\S{0,40}""", text) == []
        ), folder


def test_the_readme_shows_the_table_of_the_first_study():
    readme = (ROOT / "README.md").read_text()
    shown = readme.split("<!-- studies:lr_trials -->")[1].split("<!-- /studies -->")[0]
    own = (DOCS / "lr_trials" / "README.md").read_text()
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert len(rows) > 2
    assert [row for row in rows if row not in own] == []


def runs_of(rows: list[tuple[float, str, int, float]]) -> pd.DataFrame:
    """Learning rate, network, seed, last accuracy of 600 images."""
    table = pd.DataFrame(rows, columns=["optimizer.lr", "model", "seed", "last_val_accuracy"])
    return table.assign(state="COMPLETE", num_val_images=600, chance_accuracy=0.5)


def published(third: list[tuple[float, str, int, float]]) -> pd.DataFrame:
    return runs_of(
        [
            (0.0025, "resnet50", 0, 0.49),
            (0.0025, "plain50", 0, 0.51),
            (0.01, "resnet50", 0, 0.50),
            (0.01, "plain50", 0, 0.50),
            *third,
        ]
    )


def third(residual: list[float], plain: list[float]) -> list[tuple[float, str, int, float]]:
    return [
        (0.0001, network, seed, value)
        for network, values in (("resnet50", residual), ("plain50", plain))
        for seed, value in enumerate(values)
    ]


def test_what_was_published_reproduces_every_claim():
    found = lr_trials.claims(published(third([0.73, 0.72, 0.74], [0.53, 0.55, 0.54])))
    assert [claim.trial for claim in found] == [1, 1, 1, 2, 2, 2, 3, 3]
    assert {claim.holds for claim in found} == {"reproduced"}


def test_a_claim_is_not_reproduced_where_the_numbers_say_otherwise():
    table = published(third([0.73, 0.72, 0.74], [0.73, 0.72, 0.74]))
    table.loc[0, "last_val_accuracy"] = 0.65
    found = {claim.says + str(claim.trial): claim.holds for claim in lr_trials.claims(table)}
    assert [key for key, holds in found.items() if holds == "not reproduced"] == [
        "ResNet-50 does not learn1",
        "ResNet-50 is no better than Plain-501",
        # Three seeds that all come to the same are certain of it.
        "ResNet-50 beats Plain-503",
    ]


@pytest.mark.parametrize(
    ("residual", "holds"),
    [([0.6, 0.7, 0.8], "undecided"), ([0.5, 0.49, 0.5], "not reproduced")],
)
def test_what_should_be_better_is_undecided_where_nothing_is_shown(residual, holds):
    claim = lr_trials.claims(published(third(residual, [0.6, 0.6, 0.61])))[-1]
    assert (claim.says, claim.holds) == ("ResNet-50 beats Plain-50", holds)


def test_an_accuracy_has_the_interval_of_its_images_or_of_its_seeds():
    one = runs_of([(0.1, "resnet50", 0, 0.5)])
    assert text(accuracy(one)) == "0.500 (0.460 to 0.540)"
    three = runs_of([(0.1, "resnet50", seed, value) for seed, value in enumerate((0.6, 0.7, 0.8))])
    assert text(accuracy(three)) == "0.700 (0.452 to 0.948)"
    better = three.assign(last_val_accuracy=three["last_val_accuracy"] - [0.10, 0.11, 0.12])
    # Seed by seed the difference hardly varies.
    assert text(difference(three, better.iloc[::-1])) == "0.110 (0.085 to 0.135)"
    assert text(difference(one, one)) == "0.000 (-0.056 to 0.056)"
    collapsed = three.assign(last_val_accuracy=0.5)
    assert text(accuracy(collapsed)) == "0.500 (0.500 to 0.500)"
    assert each([0.6, float("nan"), 0.75], 2) == "0.60, -, 0.75"


def test_a_run_that_has_failed_has_no_last_epoch():
    table = runs_of([(0.1, "resnet50", 0, 0.6), (0.1, "resnet50", 1, 0.9)])
    table = table.assign(learned=True, study="a", number=[0, 1], repeat=pd.NA)
    table.loc[1, "state"] = "FAIL"
    assert text(accuracy(table)) == "0.600 (0.560 to 0.638)"
    assert learned(table) == "1 of 2, 1 failed"
    history = pd.DataFrame({"study": "a", "number": [0], "repeat": pd.NA, "epoch": [1]})
    losses = largest_losses(history.assign(val_loss=2.0), table)
    assert each(losses, 1) == "2.0, -"


def test_a_best_learning_rate_is_each_network_s_own():
    rows = [(0.1, "plain18", 0.9), (0.01, "plain18", 0.6), (0.1, "plain34", 0.5)]
    rows += [(0.01, "plain34", 0.8), (0.1, "resnet18", 0.7)]
    table = runs_of([(lr, model, 0, value) for lr, model, value in rows])
    table = table.assign(last_train_loss=1 - table["last_val_accuracy"])
    best = depth.best_runs(table)
    assert {name: float(part["optimizer.lr"].iloc[0]) for name, part in best.items()} == {
        "plain18": 0.1,
        "resnet18": 0.1,
        "plain34": 0.01,
    }
    told = depth.degradation(table)
    assert "plain networks the mean training loss rises with every step of depth (18: 0.1" in told
    assert "residual" not in told
    # A rate at which a seed has failed is none to have.
    table.loc[table["last_val_accuracy"] == 0.9, "state"] = "FAIL"
    assert float(depth.best_runs(table)["plain18"]["optimizer.lr"].iloc[0]) == 0.01


def test_the_effect_of_the_norm_is_of_pairs_that_are_otherwise_alike():
    table = runs_of([(0.1, "resnet18", seed, 0.6 + 0.01 * seed) for seed in range(3)] * 2)
    table[variants.NORM] = [True] * 3 + [False] * 3
    table.loc[3:, "last_val_accuracy"] -= [0.1, 0.11, 0.12]
    (row,) = variants.effect_table(table).to_dict("records")
    assert row["with norm less without (95%)"] == "0.110 (0.085 to 0.135)"
    assert row[""] == "norm is better"


def test_the_norm_explains_what_learns_with_it_alone():
    table = runs_of([(rate, "resnet18", 0, 0.6) for rate in (0.1, 0.01)] * 2)
    table[variants.NORM] = [True, True, False, False]
    table["learned"] = True
    assert variants.verdict(table).endswith("No rate is unstable without the norm.")
    table.loc[2, "learned"] = False
    assert variants.verdict(table) == (
        "Runs that have learned, without the norm: 1 of 1 at 0.01, 0 of 1 at 0.1; with it: "
        "1 of 1 at 0.01, 1 of 1 at 0.1. Where not all learn without it (0.1) more learn with it, "
        "so that it is missing explains a part of the instability."
    )
    table.loc[0, "learned"] = False
    assert "does not explain" in variants.verdict(table)


def test_causes_are_the_changes_that_turn_the_answer():
    table = pd.DataFrame({"ticket": range(8), "learned": [True] * 8, "seed": 0})
    table["state"] = "COMPLETE"
    assert "with every change" in causes.verdict(table)
    table.loc[2, "learned"] = False
    assert causes.verdict(table).endswith(
        "in 1 of 1 runs; with RMSprop in 0 of 1. That it does not learn, as was published, comes "
        "with RMSprop."
    )
    table.loc[[1, 3], "learned"] = False
    assert causes.verdict(table).endswith("comes with Adam, RMSprop or batch 8.")
    table.loc[0, "learned"] = False
    assert "as was published" not in causes.verdict(table)


def test_what_two_studies_have_run_has_come_out_the_same():
    first, again = (
        load_history(DOCS / name / "history.csv").query("ticket == 0 and epoch <= 10")
        for name in ("lr_trials", "causes")
    )
    measured = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]
    assert len(again) == 10
    assert np.array_equal(first[measured], again[measured])


def test_every_study_has_a_command_for_each_of_its_scales():
    for study in STUDIES.values():
        assert set(study.sweeps) <= set(SCALES)
        # Each can be run without a GPU.
        assert {"full"} < set(study.sweeps) <= {"full", "cpu", "small"}
        for sweeps in study.sweeps.values():
            assert len({sweep.name for sweep in sweeps}) == len(sweeps)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["lr_trials"], "--root None: must be a folder of cats and dogs"),
        (["lr_trials", "--root", "nowhere"], "--root nowhere: must be a folder"),
        (["depth", "--root", ".", "--scale", "cpu"], "--scale cpu: depth has full, small"),
        (["depth", "--page", "--docs", "nowhere"], "has no tables of a study yet"),
        (["depth", "--root", ".", "hydra.sweeper.repeats=1"], "repeats=1: is the study's own"),
        (["widths"], "invalid choice: 'widths'"),
    ],
)
def test_wrong_options_are_refused(typed, said, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as raised:
        main(typed)
    assert raised.value.code == 2
    assert said in capsys.readouterr().err


def test_the_options_are_told():
    assert "lr_trials --root FOLDER --scale cpu" in build_parser().format_help()


@pytest.mark.slow
def test_a_study_is_one_command(tmp_path: Path):
    """The smallest there is: two networks, two trials each, on drawn images."""
    images = tmp_path / "images" / "train"
    images.mkdir(parents=True)
    for i in range(24):
        for name, colour in (("cat", (200, 40, 40)), ("dog", (40, 40, 200))):
            Image.new("RGB", (32, 32), colour).save(images / f"{name}.{i}.jpg")
    few = ("data.num_train=32", "data.num_val=8", "trainer.epochs=1", "trainer.threads=1")
    docs = tmp_path / "docs"
    typed = [
        *(sys.executable, "-m", "benchmarks.studies", "variants", "--root", str(images.parent)),
        *("--scale", "small", "--docs", str(docs), *few),
        *("optimizer.lr=0.01,0.02", "model.conv_bias=true"),
    ]
    done = subprocess.run(typed, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    folder = docs / "variants"
    assert {path.name for path in folder.iterdir()} == {
        *("README.md", "history.csv", "report.html", "results.csv", "study.json", "variants.png"),
        "best.yaml",
    }
    told = json.loads((folder / "study.json").read_text())
    assert [sweep["num_runs"] for sweep in told["sweeps"]] == [12]
    assert str(tmp_path) not in (folder / "report.html").read_text()
    before = (folder / "README.md").read_text()
    write_page(STUDIES["variants"], folder)
    assert (folder / "README.md").read_text() == before
    assert "data.root=FOLDER" in before
    assert lr_search.networks_of(tables(folder).runs) == []
