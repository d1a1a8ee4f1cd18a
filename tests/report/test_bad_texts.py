"""A study full of texts that mean harm, read from disk and written in every form."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import needs
import pytest
from studies import StudyOnDisk

from resnet_sweep.report.__main__ import main as report
from resnet_sweep.report.results import load_results
from resnet_sweep.status import main as status

EVIL = (
    "<script>window.hacked=1</script>",
    "</script><img src=x onerror=window.hacked=1>",
    "'\"&{{7*7}}${oc.env:HOME}",
    "\x1b[2J\x1b]0;title\x07red",
    "two\nlines\r\ttabs",
    "a|b `c` *d* [e](javascript:window.hacked=1)",
    r"100%_\input{/etc/passwd}#$~^",
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    '"quoted"',
    "\u202eright to left",
)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study <b>=x"
    made = StudyOnDisk(path, [{"text": text} for text in EVIL], name="<script>=1+1")
    for ticket, text in enumerate(EVIL):
        if ticket % 3 == 2:
            made.add(
                ticket, {"text": text}, "FAIL", failure="exception", error=f"exception: {text}"
            )
        else:
            made.add(ticket, {"text": text}, values=ticket / 20, **{f"told{text}": text})
    made.close()
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert report(list(arguments)) == 0
    return capsys.readouterr().out


def test_texts_are_told_as_texts(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    everything = ("--columns", "number,text,error")
    terminal = printed(capsys, str(study), *everything)
    assert status([str(study)]) == 0
    terminal += capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in terminal)
    lines = printed(capsys, str(study), "--format", "md", *everything).splitlines()
    lines = [line for line in lines if line.startswith("|")]
    assert len(lines) == 2 + len(EVIL)
    assert not any("<" in line.replace("&lt;", "") for line in lines)
    # Each has a bar before, behind and between its cells, and no other.
    assert {line.replace("\\|", "").count("|") for line in lines} == {4}
    latex = printed(capsys, str(study), "--format", "latex", *everything)
    assert "\\input" not in latex
    assert "100\\%\\_\\textbackslash{}input" in latex


def test_no_cell_is_a_formula_and_all_come_back(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report([str(study)]) == 0
    printed_csv = printed(capsys, str(study), "--format", "csv")
    for text in ((study / "results.csv").read_text(), printed_csv):
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        formulas = [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
        assert formulas == []
    (study / "study.journal").unlink()
    table = load_results(study / "results.csv")
    assert sorted(table["text"]) == sorted(EVIL)
    assert set(table["study"]) == {"<script>=1+1"}
    assert {f"told{EVIL[0]}", f"told{EVIL[7]}"} <= set(table)


@pytest.mark.slow
def test_nothing_runs_in_the_page(study: Path) -> None:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if chromium is None:
        needs.skip_or_fail("chromium", "no Chromium on the PATH: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    assert report([str(study)]) == 0
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto((study / "report.html").as_uri())
        page.check("#all-columns")
        page.locator("#runs-table tbody tr").first.click()
        assert page.evaluate("() => window.hacked") is None
        assert page.locator("img").count() == 0
        text = page.locator("#runs-table").inner_text()
        browser.close()
    assert "<script>window.hacked=1</script>" in text
    assert len([url for url in asked if not url.startswith("data:")]) == 1
