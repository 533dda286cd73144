"""The HTML pages in a real browser, without a network: Debian's chromium and chromium-driver, driven by selenium."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from lisa_core.evaluation_comparison import compare_evaluations
from lisa_core.html_comparison import write_comparison
from lisa_core.html_dataset import write_viewer
from lisa_core.html_report import write_report
from lisa_core.summary import Settings, summarize

location = importlib.util.spec_from_file_location("report_pages", Path(__file__).parent / "report_pages.py")
assert location is not None and location.loader is not None
report_pages = importlib.util.module_from_spec(location)
location.loader.exec_module(report_pages)

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SELENIUM = importlib.util.find_spec("selenium") is not None

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER and SELENIUM),
        reason="needs Debian's chromium and chromium-driver, and selenium: apt-get install chromium chromium-driver",
    ),
]

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1300,1000"),
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def made(scenes, tmp_path_factory):
    return report_pages.scored(scenes, tmp_path_factory.mktemp("report") / "scenes")


@pytest.fixture(scope="module", params=["report.html", "report"])
def report(request, made, tmp_path_factory) -> Path:
    """One file, and a folder."""
    summary = summarize(made.result.records, Settings(epsilon=1e-5, resamples=200))
    about = {"checkpoint": "runs/<mine>", "data": "scenes", "split": "val", "protocol": "teacher-forced"}
    path = tmp_path_factory.mktemp("page") / request.param
    return write_report(path, made.result, summary, made.dataset, about, 4)


def open_page(browser, path: Path) -> None:
    browser.get_log("browser")
    browser.get(path.as_uri())


def screenshot(browser, name: str) -> None:
    """Keep a picture of the page where `LISA_SCREENSHOTS` says, for people to look at."""
    folder = os.environ.get("LISA_SCREENSHOTS")
    if folder:
        height = browser.execute_script("return document.documentElement.scrollHeight")
        browser.set_window_size(1300, height + 100)
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))
        browser.set_window_size(1300, 1000)


def visible(browser) -> list[str]:
    script = (
        "return [...document.querySelectorAll('.card')].filter(c => c.offsetParent !== null).map(c => c.dataset.text)"
    )
    return browser.execute_script(script)


def set_value(browser, name: str, value: object) -> None:
    """As a user does: a new value, then the event that tells of it."""
    browser.execute_script(
        "const field = document.getElementById(arguments[0]); field.value = arguments[1];"
        "field.dispatchEvent(new Event('input', {bubbles: true}))",
        name,
        value,
    )


def test_the_page_opens_with_all_pictures_and_no_complaint(browser, report):
    open_page(browser, report)
    assert browser.title == "Evaluation of runs/<mine> on scenes", "no sentence was run as code"
    sizes = browser.execute_script(
        "return [...document.images].map(i => [i.complete, i.naturalWidth, i.src.slice(0, 5)])"
    )
    assert len(sizes) == 12 * 7
    assert all(complete and width > 0 for complete, width, _ in sizes)
    assert {scheme for _, _, scheme in sizes} == {"data:" if report.name == "report.html" else "file:"}
    assert browser.get_log("browser") == []
    assert report_pages.EVIL in browser.find_element("tag name", "main").text
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert not [name for name in loaded if not name.startswith(("data:", "file:"))]
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().width)"
    )
    assert len(drawn) >= 7 and min(drawn) > 200
    wide = browser.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, "the page has to be scrolled sideways"
    screenshot(browser, report.parent.parent.name + "_" + report.name)


@pytest.mark.parametrize(("width", "rows"), [(1300, 1), (1200, 1), (1000, 1), (500, 2)])
def test_the_four_pictures_of_a_sample_are_side_by_side(browser, report, width, rows):
    open_page(browser, report)
    browser.set_window_size(width, 1000)
    script = "return [...document.querySelectorAll('.tiles')].map(t => [...t.children].map(f => %s))"
    tops = browser.execute_script(script % "Math.round(f.getBoundingClientRect().top)")
    assert {len(tiles) for tiles in tops} == {4} and {len(set(tiles)) for tiles in tops} == {rows}
    places = browser.execute_script(
        "return [...document.querySelectorAll('.mask')].map(m => [m, m.previousElementSibling].map(e => {"
        "const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height, r.width / r.height -"
        "e.naturalWidth / e.naturalHeight]}))"
    )
    assert all(mask == picture and abs(mask[4]) < 0.02 for mask, picture in places)
    wide = browser.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, "the page has to be scrolled sideways"
    browser.set_window_size(1300, 1000)


def test_the_filter_leaves_what_has_all_words(browser, report):
    open_page(browser, report)
    everything = visible(browser)
    assert len(everything) == 12
    word = everything[0].split()[1]
    field = browser.find_element("id", "filter")
    field.send_keys(word.upper())
    expected = [text for text in everything if word in text]
    assert visible(browser) == expected and len(expected) > 0
    assert browser.find_element("id", "shown").text == f"{len(expected)} of 12 samples"
    field.send_keys(" no-such-word")
    assert visible(browser) == []
    set_value(browser, "filter", "<SCRIPT>")
    assert visible(browser) == [text for text in everything if "<script>" in text] != []
    set_value(browser, "filter", "")
    assert visible(browser) == everything
    assert browser.get_log("browser") == []


def test_the_slider_changes_how_opaque_masks_are(browser, report):
    from selenium.webdriver.common.keys import Keys

    open_page(browser, report)
    script = "return [...document.querySelectorAll('.mask')].map(m => getComputedStyle(m).opacity)"
    assert set(browser.execute_script(script)) == {"0.6"}
    browser.find_element("id", "opacity").send_keys(Keys.ARROW_RIGHT)
    assert set(browser.execute_script(script)) == {"0.61"}
    for value, opacity in ((0, "0"), (100, "1")):
        set_value(browser, "opacity", value)
        assert set(browser.execute_script(script)) == {opacity}
    # A mask lies exactly on its picture.
    places = browser.execute_script(
        "return [...document.querySelectorAll('.mask')].map(m => [m, m.previousElementSibling].map(e => {"
        "const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]}))"
    )
    assert all(mask == picture for mask, picture in places)
    assert browser.get_log("browser") == []


def test_a_comparison_opens_too(browser, made, scenes, tmp_path):
    other = report_pages.scored(scenes, Path(made.dataset.samples[0].image_path).parents[1], shift=1)
    comparison = compare_evaluations(made.result.records, other.result.records, Settings(resamples=200))
    for name, pictures in (("with", (made.dataset, (made.masks, other.masks))), ("without", ())):
        path = write_comparison(tmp_path / f"{name}.html", comparison, ("a", "b"), 5, *pictures)
        open_page(browser, path)
        sizes = browser.execute_script("return [...document.images].map(i => i.naturalWidth)")
        assert len(sizes) == (5 * 7 if pictures else 0) and all(sizes)
        assert browser.get_log("browser") == []
        screenshot(browser, f"comparison_{name}")


@pytest.fixture(scope="module", params=["view.html", "view"])
def viewer(request, made, tmp_path_factory) -> Path:
    """The scenes, one sentence of which is code, with a picture that is broken; one file, and a folder."""
    folder = tmp_path_factory.mktemp("viewer")
    shutil.copytree(Path(made.dataset.samples[0].image_path).parents[1], folder / "a <b>" / "set")
    next((folder / "a <b>" / "set" / "train").glob("*.jpg")).write_bytes(b"no picture")
    return write_viewer(folder / request.param, folder / "a <b>" / "set", samples=10)


def test_the_viewer_opens_filters_and_fades(browser, viewer):
    open_page(browser, viewer)
    assert browser.title.endswith("a <b>/set (reasonseg)")
    cards = visible(browser)
    assert len(cards) == 20 and {text.split()[0] for text in cards} == {"train", "val"}
    sizes = browser.execute_script("return [...document.images].map(i => [i.complete, i.naturalWidth])")
    assert len(sizes) == 20 * 3 and all(complete and width > 0 for complete, width in sizes)
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert not [name for name in loaded if not name.startswith(("data:", "file:"))]
    main = browser.find_element("tag name", "main").text
    assert report_pages.EVIL in main and "is not an image that can be read" in main
    places = browser.execute_script(
        "return [...document.querySelectorAll('.mask')].map(m => [m, m.previousElementSibling].map(e => {"
        "const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]}))"
    )
    assert len(places) == 20 and all(mask == picture and min(mask[2:]) > 20 for mask, picture in places)
    wide = browser.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, "the page has to be scrolled sideways"
    screenshot(browser, "viewer_" + viewer.name)
    set_value(browser, "filter", "VAL <script>")
    assert len(visible(browser)) == 1
    assert browser.find_element("id", "shown").text == "1 of 20 samples"
    set_value(browser, "filter", "")
    script = "return [...document.querySelectorAll('.mask')].map(m => getComputedStyle(m).opacity)"
    for value, opacity in ((0, "0"), (35, "0.35"), (100, "1")):
        set_value(browser, "opacity", value)
        assert set(browser.execute_script(script)) == {opacity}
    assert browser.get_log("browser") == []
