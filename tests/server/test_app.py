"""`create_app` asked over HTTP, the packaged model answering."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from lisa_core import segmenter as segmenter_module
from lisa_core.segmenter import Segmenter
from lisa_core.server.app import create_app
from lisa_core.server.limits import LIMITS, Limits
from lisa_core.server.scenes import SCENES, made_up_scene

TEXTS = ["the red ring", "Which one is the largest?"]
SMALL = Limits(upload=200_000, pixels=5000, sentences=3, letters=40)


@pytest.fixture(scope="module")
def model():
    return Segmenter.load("tiny", "cpu")


@pytest.fixture(scope="module")
def client(model):
    with TestClient(create_app(model, "<tiny>", SMALL), raise_server_exceptions=False) as client:
        yield client


def picture(seed: int = 0, size: tuple[int, int] = (80, 45)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise)


def file_of(image: Image.Image, form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def ask(client, data: bytes, texts) -> dict:
    response = client.post("/api/segment", files={"image": ("x", data)}, data={"sentences": texts})
    assert response.status_code == 200, response.text
    return response.json()


def mask_of(entry: dict) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(entry["mask_png"]))))


def test_the_answers_are_the_segmenter_s(client, model):
    image = picture()
    reply = ask(client, file_of(image), TEXTS)
    assert (reply["width"], reply["height"]) == (80, 45)
    assert [entry["text"] for entry in reply["segmentations"]] == TEXTS
    for entry, drawn in zip(reply["segmentations"], model.set_image(image).segment_many(TEXTS)):
        assert mask_of(entry).dtype == bool and np.array_equal(mask_of(entry), drawn.mask)
        assert np.array_equal(coco_mask.decode(entry["rle"]).astype(bool), drawn.mask)
        assert entry["area"] == drawn.mask.sum() and entry["score"] == pytest.approx(drawn.score)
        assert (entry["box"] is None) == (entry["area"] == 0)


def test_a_picture_is_encoded_once_and_the_oldest_is_forgotten(model, monkeypatch):
    encoded = []
    encode = segmenter_module.encode
    monkeypatch.setattr(segmenter_module, "encode", lambda *args: [encoded.append(args[2][0].size), encode(*args)][1])
    with TestClient(create_app(model)) as client:
        first, *others = [file_of(picture(seed, (40 + seed, 40))) for seed in range(9)]
        assert [ask(client, first, [text])["known"] for text in TEXTS] == [False, True]
        alone = ask(client, first, TEXTS)["segmentations"]
        assert encoded == [(40, 40)]
        for data in others[:7]:
            assert not ask(client, data, TEXTS[:1])["known"]
        again = ask(client, first, TEXTS)  # and so it is the newest
        assert again["known"] and again["segmentations"] == alone
        assert not ask(client, others[7], TEXTS[:1])["known"]
        assert ask(client, first, TEXTS[:1])["known"] and not ask(client, others[0], TEXTS[:1])["known"]
        assert len(encoded) == 10


def test_questions_that_come_together_get_their_own_answers(client):
    files = [file_of(picture(seed)) for seed in (1, 2, 3)]
    expected = [ask(client, data, TEXTS)["segmentations"] for data in files]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda k: ask(client, files[k % 3], TEXTS)["segmentations"], range(12)))
    assert all(reply == expected[k % 3] for k, reply in enumerate(found))


def test_many_sentences_about_a_large_picture_are_drawn_in_parts(model, monkeypatch):
    from lisa_core.server import answers

    asked = []
    several = Segmenter.segment_many
    monkeypatch.setattr(Segmenter, "segment_many", lambda self, texts: asked.append(texts) or several(self, texts))
    monkeypatch.setattr(answers, "_AT_ONCE", 2 * 80 * 45 + 1)
    texts = ["the ring", "the star", "the heart"]
    with TestClient(create_app(model)) as client:
        reply = ask(client, file_of(picture()), texts)
    assert asked == [texts[:2], texts[2:]] and [entry["text"] for entry in reply["segmentations"]] == texts


def test_a_photograph_is_turned_upright(client):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn
    reply = ask(client, file_of(picture(), "JPEG", exif=exif), TEXTS[:1])
    assert (reply["width"], reply["height"]) == (45, 80) and mask_of(reply["segmentations"][0]).shape == (80, 45)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_what_browsers_show_is_read(client, form, mode):
    if form == "JPEG" and mode in ("P", "RGBA"):
        pytest.skip("JPEG has no such mode")
    reply = ask(client, file_of(picture().convert(mode), form), TEXTS[:1])
    assert (reply["width"], reply["height"]) == (80, 45)


GOOD = file_of(picture())
PART = ("x", GOOD)


@pytest.mark.parametrize(
    ("files", "sentences", "code", "said"),
    [
        (None, ["it"], 422, "image: Field required"),
        ({"image": PART}, None, 422, "sentences: Field required"),
        ({"image": PART}, [""], 400, "the sentence is empty"),
        ({"image": PART}, ["it", " \t"], 400, "the sentence is empty"),
        ({"image": PART}, ["it"] * 4, 400, "4 sentences are more than the 3"),
        ({"image": PART}, ["x" * 41], 400, "41 characters, at most 40"),
        ({"image": ("x", b"")}, ["it"], 400, "the picture is empty"),
        ({"image": ("x", b"<svg/>")}, ["it"], 400, "the upload is not an image that can be read"),
        ({"image": ("x", GOOD[:200])}, ["it"], 400, "the upload is not an image that can be read"),
        ({"image": ("x", file_of(picture(), "TIFF"))}, ["it"], 400, "is a TIFF file"),
        ({"image": ("x", file_of(picture(size=(101, 50))))}, ["it"], 400, "101 x 50 pixels, at most 0.005 million"),
        ({"image": ("x", file_of(picture().convert("L").convert("I;16")))}, ["it"], 400, "more than 8 bits a channel"),
        ({"image": ("x", bytes(300_000))}, ["it"], 413, "larger than 0.2 MB"),
    ],
)
def test_bad_input_is_one_line_and_harms_nobody(client, files, sentences, code, said):
    data = {} if sentences is None else {"sentences": sentences}
    refused(client.post("/api/segment", files=files, data=data), code, said)
    assert ask(client, GOOD, TEXTS[:1])["segmentations"]


def refused(response, code: int, said: str) -> None:
    assert response.status_code == code, response.text
    error = response.json()["error"]
    assert list(response.json()) == ["error"] and said in error and "\n" not in error


def test_other_requests_are_refused_too(client):
    refused(client.post("/api/segment", json={"sentences": ["it"]}), 422, "send multipart/form-data")
    refused(client.post("/api/segment", data={"image": "x", "sentences": "it"}), 422, "image: ")
    broken = client.post(
        "/api/segment", content=b"no part", headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert 400 <= broken.status_code < 500 and broken.json()["error"]
    refused(client.get("/api/segment"), 405, "Method Not Allowed")
    refused(client.get("/api/nothing"), 404, "Not Found")
    refused(client.get("/docs"), 404, "Not Found")  # FastAPI's own page would load scripts from elsewhere
    refused(client.get(f"/api/scenes/{SCENES}.png"), 404, f"no scene {SCENES}")
    refused(client.get("/api/scenes/-1.png"), 404, "no scene -1")
    refused(client.get("/api/scenes/x.png"), 422, "number: ")


def test_a_body_that_does_not_tell_its_length_is_cut_off(client):
    def endless():
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        for _ in range(10_000):
            yield bytes(1000)

    response = client.post(
        "/api/segment", content=endless(), headers={"content-type": "multipart/form-data; boundary=x"}
    )
    refused(response, 413, "larger than 0.2 MB")


def test_the_page_loads_nothing_from_elsewhere(client):
    response = client.get("/")
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/html")
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)|https?://|@import""", response.text)
    assert "default-src 'none'" in response.headers["content-security-policy"]


def test_what_the_page_begins_with(client):
    about = client.get("/api/about").json()
    assert about["model"] == "<tiny>" and about["family"] == "clip-llm"
    assert about["limits"] == dataclasses.asdict(SMALL) != dataclasses.asdict(LIMITS)
    assert len(about["scenes"]) == SCENES == 3
    pictures = [client.get(scene["picture"]).content for scene in about["scenes"]]
    assert len(set(pictures)) == 3
    for scene, data in zip(about["scenes"], pictures):
        assert Image.open(io.BytesIO(data)).width >= 200
        assert len(scene["sentences"]) >= 2 and all(text.startswith("the ") for text in scene["sentences"])


def test_scenes_are_the_same_every_time():
    first = made_up_scene(0)
    made_up_scene.cache_clear()
    assert made_up_scene(0) == first
    assert json.dumps(first.sentences)
