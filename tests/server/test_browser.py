"""The page of `lisa demo` in a real browser, served by a real server on this machine."""

from __future__ import annotations

import base64
import importlib.util
import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from lisa_core.segmenter import Segmenter
from lisa_core.server.app import create_app
from lisa_core.server.scenes import made_up_scene
from lisa_core.server.serve import listen

location = importlib.util.spec_from_file_location("html_browser", Path(__file__).parents[1] / "test_html_browser.py")
assert location is not None and location.loader is not None
html_browser = importlib.util.module_from_spec(location)
location.loader.exec_module(html_browser)

browser = html_browser.browser
pytestmark = html_browser.pytestmark


@pytest.fixture(scope="module")
def address():
    import uvicorn

    with listen("127.0.0.1", 0) as listener:
        app = create_app(Segmenter.load("tiny", "cpu"), "tiny")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def wait(browser, script: str):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 60).until(lambda driver: driver.execute_script(f"return {script}"))


def shown(browser) -> np.ndarray:
    """What the canvas shows, uint8 [H,W,3]."""
    url = browser.execute_script("return document.getElementById('canvas').toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))


def said(browser) -> str:
    return browser.find_element("id", "message").text


def ask(browser, text: str) -> None:
    field = browser.find_element("id", "sentence")
    field.clear()
    field.send_keys(text + "\n")
    wait(browser, "document.getElementById('message').textContent.startsWith('Answered')")


def test_a_sentence_becomes_an_overlay(browser, address, tmp_path):
    browser.get_log("browser")
    browser.get(address)
    wait(browser, "document.querySelectorAll('#scenes img').length === 3 && picture !== null")
    scene = made_up_scene(0)
    plain = np.asarray(Image.open(io.BytesIO(scene.png)))
    assert np.array_equal(shown(browser), plain)
    assert "tiny" in browser.find_element("id", "about").text and "tiny" in browser.title
    assert [chip.text for chip in browser.find_elements("css selector", "#chips button")] == list(scene.sentences)

    ask(browser, scene.sentences[0])
    mask = Segmenter.load("tiny", "cpu").set_image(plain).segment(scene.sentences[0]).mask
    assert mask.any(), "the packaged model finds nothing in its own kind of scene"
    tinted = shown(browser)
    red = np.array([255, 64, 64])
    expected = 0.45 * plain[mask] + 0.55 * red
    assert np.abs(tinted[mask].astype(float) - expected).max() <= 3
    changed = (tinted != plain).any(2)
    assert changed[~mask].mean() < 0.1, "beyond the mask there is but its outline"
    html_browser.screenshot(browser, "demo")

    html_browser.set_value(browser, "opacity", 0)
    assert np.array_equal(shown(browser), plain)
    html_browser.set_value(browser, "opacity", 100)
    assert np.abs(shown(browser)[mask].astype(int) - red).max() <= 1

    ask(browser, "<b>the ring</b>")
    assert "encoded before" in said(browser)
    rows = browser.find_elements("css selector", "#answers li label")
    assert [row.text for row in rows] == [scene.sentences[0], "<b>the ring</b>"]
    link = browser.find_elements("css selector", "#answers a")[0].get_attribute("href")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(link.partition(",")[2])))), mask)
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert loaded and all(name.startswith((address, "data:", "blob:")) for name in loaded)
    assert browser.get_log("browser") == []


def test_a_file_of_one_s_own_and_one_that_is_no_picture(browser, address, tmp_path):
    browser.get(address)
    wait(browser, "document.querySelectorAll('#scenes img').length === 3 && picture !== null")
    Image.fromarray(np.full((70, 130, 3), 200, np.uint8)).save(tmp_path / "own.png")
    (tmp_path / "none.png").write_text("no picture")
    field = browser.find_element("id", "file")
    field.send_keys(str(tmp_path / "own.png"))
    wait(browser, "document.getElementById('canvas').width === 130")
    ask(browser, "the red ring")
    assert shown(browser).shape == (70, 130, 3)
    field.send_keys(str(tmp_path / "none.png"))
    wait(browser, "document.getElementById('message').className === 'bad'")
    assert "no picture" in said(browser)
    assert shown(browser).shape == (70, 130, 3)
    browser.set_window_size(420, 900)
    wide = browser.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, "the page has to be scrolled sideways"
    html_browser.screenshot(browser, "demo_narrow")
    browser.set_window_size(1300, 1000)
