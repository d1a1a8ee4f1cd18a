"""The page in a real browser: pictures, table, picking, and that nothing hostile runs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import needs
import pytest
import tables
from playwright.sync_api import Browser, Page, sync_playwright

from resnet_sweep.report.page.page import write_page

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.slow
_UNDRAWN = "() => document.querySelectorAll('.slot:not([hidden]) .plot:not([data-drawn])').length"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        needs.skip_or_fail("chromium", "no Chromium on the PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """A report opened in the browser, with all that it complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, content: Any, path: Path) -> Page:
        write_page(content, path)
        self.page.goto(path.as_uri())
        end = time.monotonic() + 60
        while self.page.evaluate(_UNDRAWN):
            assert time.monotonic() < end, "pictures were not drawn"
            time.sleep(0.05)
        return self.page


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    opened = Opened(page)
    yield opened
    page.close()
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in opened.requests if url.startswith("file:")]) == 1


def cells(page: Page, title: str) -> list[str]:
    """The cells of a column, from top to bottom."""
    headers = page.locator("#runs-table thead th button").all_inner_texts()
    place = headers.index(title) + 1
    return page.locator(f"#runs-table tbody td:nth-child({place})").all_inner_texts()


def sort_by(page: Page, title: str) -> list[str]:
    page.locator("#runs-table thead th button", has_text=title).first.click()
    return cells(page, title)


@pytest.mark.parametrize("make", [tables.lr_trials, lambda: tables.search(80)])
@pytest.mark.parametrize("width", [1280, 400])
def test_pictures_are_drawn_and_the_page_does_not_scroll_sideways(opened, tmp_path, make, width):
    opened.page.set_viewport_size({"width": width, "height": 900})
    page = opened.open(make(), tmp_path / "report.html")
    plots = page.locator(".slot:not([hidden]) .plot").all()
    assert len(plots) >= 10
    for plot in plots:
        box = plot.locator("svg.main-svg").first.bounding_box()
        assert box["width"] > 200
        assert box["height"] > 60
        shapes = plot.locator(".scatterlayer path, .barlayer path")
        assert shapes.count() > 0
    assert page.evaluate("() => document.documentElement.scrollWidth") == width


def test_the_table_is_the_one_without_scripts(opened, browser, tmp_path):
    page = opened.open(tables.search(150), tmp_path / "report.html")
    scripted = page.locator("#runs-table").inner_text()
    context = browser.new_context(
        java_script_enabled=False, viewport={"width": 1280, "height": 900}
    )
    still = context.new_page()
    still.goto((tmp_path / "report.html").as_uri())
    assert still.locator("#runs-table").inner_text() == scripted
    assert "The first 100 of 150 runs" in still.locator("noscript").inner_text()
    context.close()


def test_the_table_sorts_numbers_as_numbers_and_what_is_missing_last(opened, tmp_path):
    content = tables.search(80)
    page = opened.open(content, tmp_path / "report.html")
    for is_descending in (False, True):
        shown = sort_by(page, "momentum")
        known = [float(text) for text in shown if text]
        assert known == sorted(known, reverse=is_descending)
        assert shown == [text for text in shown if text] + [""] * (len(shown) - len(known))
    numbers = [int(text) for text in sort_by(page, "trial")]
    assert numbers == list(range(80))
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("trial")


def test_the_table_filters_and_shows_more(opened, tmp_path):
    content = tables.search(700)
    page = opened.open(content, tmp_path / "report.html")
    rows = page.locator("#runs-table tbody tr")
    assert rows.count() == 100
    page.click("#more")
    assert rows.count() == 600
    page.click("#more")
    assert rows.count() == 700
    assert page.locator("#more").is_hidden()
    page.fill("#filter", "model=resnet50 PRUNED")
    wanted = (content.runs["model"] == "resnet50") & (content.runs["state"] == "PRUNED")
    assert page.locator("#count").inner_text() == f"{wanted.sum()} of 700 runs"
    assert set(cells(page, "model")) == {"resnet50"}
    page.fill("#filter", "no such text")
    assert rows.count() == 0
    page.check("#all-columns")
    assert page.locator("#runs-table thead th button", has_text="worker").count() == 1


@pytest.mark.parametrize(
    ("typed", "holds"),
    [
        ("optimizer.lr<0.005", lambda run: run["optimizer.lr"] < 0.005),
        ("lr>=0.005", lambda run: run["optimizer.lr"] >= 0.005),
        ("batch_size=64", lambda run: run["trainer.batch_size"] == 64),
        ("batch_size=6.4e1", lambda run: run["trainer.batch_size"] == 64),
        ("batch_size!=64", lambda run: run["trainer.batch_size"] != 64),
        ("batch_size>16 batch_size<=64", lambda run: 16 < run["trainer.batch_size"] <= 64),
        ("model!=ResNet50", lambda run: run["model"] != "resnet50"),
        ("seconds>150", lambda run: run["seconds"] > 150),
        ("last_val_accuracy>0.7", lambda run: run["last_val_accuracy"] > 0.70005),
        ("momentum<2", lambda run: run["optimizer.momentum"] < 2),
        ("momentum!=2", lambda run: True),
        # Names are neither more nor less than numbers.
        ("model>0", lambda run: False),
        ("state<d", lambda run: run["state"] == "COMPLETE"),
    ],
)
def test_the_filter_compares_numbers(opened, tmp_path, typed, holds):
    content = tables.search(90)
    page = opened.open(content, tmp_path / "report.html")
    page.fill("#filter", typed)
    num = sum(bool(holds(run)) for run in content.runs.fillna(float("nan")).to_dict("records"))
    assert page.locator("#count").inner_text() == (f"{num} of 90 runs" if num < 90 else "90 runs")


def test_a_filter_of_an_unknown_column_says_so_and_looks_for_the_words(opened, tmp_path):
    page = opened.open(tables.search(90), tmp_path / "report.html")
    page.fill("#filter", "learning_rate<0.1 model=plain50")
    assert page.locator("#count").inner_text() == "0 of 90 runs; no column is called learning_rate"
    page.fill("#filter", "model=plain50")
    assert "no column" not in page.locator("#count").inner_text()


def _marks(page: Page, name: str) -> int:
    return page.evaluate(
        "name => document.querySelector(`#picture-${name} .slot:not([hidden]) .plot`)"
        ".data.filter((trace) => (trace.meta || {}).mark).length",
        name,
    )


def test_a_picked_row_is_marked_in_the_pictures(opened, tmp_path):
    page = opened.open(tables.lr_trials(), tmp_path / "report.html")
    page.locator("#runs-table tbody tr").nth(2).click()
    assert page.locator("#runs-table tr.picked").get_attribute("data-row") == "2"
    assert _marks(page, "curves") == 1
    assert _marks(page, "history") == 1
    assert "trial 0" in page.locator("#picked").inner_text()
    page.select_option("select", "train_loss")
    assert _marks(page, "curves") == 1
    page.keyboard.press("Escape")
    assert page.locator("#runs-table tr.picked").count() == 0
    assert page.locator("#picked").is_hidden()
    page.select_option("select", "val_accuracy")
    assert _marks(page, "curves") == 0


def test_a_click_on_a_curve_picks_its_row_wherever_it_is(opened, tmp_path):
    page = opened.open(tables.lr_trials(), tmp_path / "report.html")
    page.fill("#filter", "plain50")
    plot = page.locator("#picture-curves .slot:not([hidden]) .plot")
    plot.scroll_into_view_if_needed()
    # The best run's last epoch, in pixels of the page.
    x, y = page.evaluate(
        """() => {
          const box = document.querySelector('#picture-curves .plot');
          const trace = box.data.find((trace) => trace.meta.key === 0);
          const { xaxis, yaxis } = box._fullLayout;
          const at = box.getBoundingClientRect();
          return [at.left + xaxis._offset + xaxis.d2p(trace.x[19]),
                  at.top + yaxis._offset + yaxis.d2p(trace.y[19])];
        }"""
    )
    page.mouse.move(x - 3, y)
    page.mouse.move(x, y)
    page.wait_for_selector("#picture-curves .hoverlayer .hovertext")
    hover = page.locator("#picture-curves .slot:not([hidden]) .hoverlayer")
    assert "trial 4" in hover.text_content()
    page.mouse.click(x, y)
    picked = page.locator("#runs-table tr.picked")
    assert picked.get_attribute("data-row") == "0"
    assert picked.bounding_box() is not None


def test_a_click_on_a_bar_of_the_timeline_picks_its_run(opened, tmp_path):
    page = opened.open(tables.lr_trials(), tmp_path / "report.html")
    plot = page.locator("#picture-timeline .plot")
    plot.scroll_into_view_if_needed()
    box = plot.locator(".barlayer path").nth(1).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 - 2, box["y"] + box["height"] / 2)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    hover = page.locator("#picture-timeline .hoverlayer .hovertext")
    hover.wait_for()
    name = hover.text_content().partition("complete after")[0]
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert name
    assert name in page.locator("#picked").inner_text()


def test_of_studies_that_cannot_be_compared_one_is_shown_at_a_time(opened, tmp_path):
    page = opened.open(tables.two_studies(), tmp_path / "report.html")
    for name in ("parameters", "importances", "parallel", "history"):
        shown = page.locator(f"#picture-{name} .slot:not([hidden])")
        assert set(shown.evaluate_all("all => all.map((one) => one.dataset.choice)")) == {
            "s_accuracy"
        }
        page.select_option(f"#{name} select", "s_loss")
        assert shown.locator("svg.main-svg").first.bounding_box()["width"] > 200
        assert set(shown.evaluate_all("all => all.map((one) => one.dataset.choice)")) == {"s_loss"}
    # A run of the other study is found in its own pictures only.
    page.locator("#runs-table tbody tr").first.click()
    assert _marks(page, "history") == 0
    page.select_option("#history select", "s_accuracy")
    assert _marks(page, "history") == 1


@pytest.mark.parametrize("width", [1280, 400])
def test_means_over_repeats_are_drawn_and_legible(opened, tmp_path, width):
    opened.page.set_viewport_size({"width": width, "height": 900})
    page = opened.open(tables.repeats(), tmp_path / "report.html")
    plot = page.locator("#picture-means .plot")
    assert plot.locator(".scatterlayer .point").count() == 4 + 11
    assert plot.locator(".scatterlayer .errorbar").count() >= 3
    assert page.locator("#means tbody tr").count() == 4
    # Labels beside the numbers break instead of running into them, which stay in one line.
    style = "getComputedStyle(td, '::before')"
    label = f"(td) => [{style}.whiteSpace, {style}.overflowWrap]"
    if width == 400:
        for cell in page.locator("#means td.num[data-label]").all():
            assert cell.evaluate(label) == ["normal", "anywhere"]


def test_hostile_texts_are_texts(opened, tmp_path):
    page = opened.open(tables.hostile(), tmp_path / "report.html")
    # A look at every hover text, metric and column; a click on a row.
    page.check("#all-columns")
    page.locator("#runs-table tbody tr").first.click()
    for option in page.locator("select option").all():
        page.select_option("select", option.get_attribute("value") or option.inner_text())
    page.evaluate(
        """() => {
          for (const box of document.querySelectorAll('.plot[data-drawn]')) {
            if (!box.closest('.slot').hidden) {
              box.data.forEach((_, i) => {
                Plotly.Fx.hover(box, [{ curveNumber: i, pointNumber: 0 }]);
              });
            }
          }
        }"""
    )
    assert page.evaluate("() => window.hacked") is None
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 3
    assert page.locator("main b, main a").count() == 0
    assert tables.HOSTILE.replace("\u2028", "") in page.locator("h1").inner_text().replace(
        "\u2028", ""
    )
    hover = page.locator("#picture-curves .slot:not([hidden]) .hoverlayer").text_content()
    assert "<script>window.hacked=1" in hover


@pytest.mark.parametrize("name", list(tables.odd()))
def test_odd_studies_open_without_a_complaint(opened, tmp_path, name):
    content = tables.odd()[name]
    page = opened.open(content, tmp_path / "report.html")
    assert page.locator("h1").inner_text() == content.title


def test_ten_thousand_runs_open(opened, tmp_path):
    page = opened.open(tables.search(10_000), tmp_path / "report.html")
    assert page.locator("#count").inner_text() == "10,000 runs"
    best = cells(page, "best_val_accuracy")
    assert best == sorted(best, reverse=True)


def test_on_paper_all_pictures_fit(opened, tmp_path):
    page = opened.open(tables.lr_trials(), tmp_path / "report.html")
    page.emulate_media(media="print")
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    page.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
    for plot in page.locator(".panels.wide .slot:not([hidden]) .plot").all():
        assert plot.locator("svg.main-svg").first.bounding_box()["width"] <= 700
