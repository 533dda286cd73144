from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from lisa_core.data import load_image
from lisa_core.errors import DataError


def png_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16", "I", "F"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.new("I;16" if mode == "I;16" else mode, (6, 4))
    path = tmp_path / "x.tiff"
    image.save(path)
    loaded = load_image(path)
    assert (loaded.mode, loaded.size) == ("RGB", (6, 4))


def test_16_bit_grey_keeps_its_tones(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "x.png")
    assert np.array_equal(np.asarray(load_image(tmp_path / "x.png"))[:, :, 1], (values >> 8).astype(np.uint8))


def test_exif_orientation_is_applied_only_on_request(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees"
    Image.new("RGB", (20, 10)).save(tmp_path / "x.jpg", exif=exif)
    assert load_image(tmp_path / "x.jpg").size == (20, 10)
    assert load_image(tmp_path / "x.jpg", turned=True).size == (10, 20)


def test_a_picture_is_turned_by_its_exif_even_where_other_tags_are_damaged(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "x.jpg", exif=_with_ascii_resolution())
    assert load_image(tmp_path / "x.jpg", turned=True).size == (10, 20)


def _with_ascii_resolution() -> bytes:
    """EXIF of two tags: orientation 6, and a resolution that is text."""
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHI4s", 0x011A, 2, 4, b"abc\0")
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<I", 0)


@pytest.mark.parametrize("exif", [b"Exif\0\0no TIFF at all", b"Exif\0\0II*\0\xff\xff\xff\x7f"])
def test_exif_that_cannot_be_read_turns_nothing(tmp_path: Path, exif: bytes) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "x.jpg", exif=exif)
    assert load_image(tmp_path / "x.jpg", turned=True).size == (20, 10)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_is_turned_as_pil_turns_it(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    with Image.open(tmp_path / "x.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(np.asarray(load_image(tmp_path / "x.png", turned=True)), expected)


def test_half_a_picture_is_refused_turned_or_not(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "x.png")
    content = bytearray((tmp_path / "x.png").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(255 - value for value in content[middle : middle + 40])
    (tmp_path / "x.png").write_bytes(content)
    for turned in (False, True):
        with pytest.raises(DataError, match="is not an image that can be read"):
            load_image(tmp_path / "x.png", turned=turned)


def one_line_error(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_image(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    assert "does not exist" in one_line_error(tmp_path / "none.jpg")
    assert "not a file" in one_line_error(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_what_is_not_an_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    assert "is not an image that can be read" in one_line_error(path)


@pytest.mark.parametrize("name", ["a.eps", "a.png"])
def test_a_program_in_postscript_is_named_and_not_run(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: list[object] = []
    picture = Image.new("L", (6, 4))
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *args, **more: run.append(args) or picture)
    path = tmp_path / name
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(DataError, match=rf"{name} is not an image that can be read: it is a PostScript program"):
        load_image(path)
    assert not run


def test_a_decompression_bomb_is_a_data_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.png").write_bytes(png_bytes())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert "is not an image that can be read" in one_line_error(tmp_path / "x.png")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 399), st.binary(min_size=1, max_size=8), st.booleans())
def test_a_damaged_file_is_read_or_named_never_a_crash(tmp_path: Path, at: int, junk: bytes, cut: bool) -> None:
    content = png_bytes()
    content = content[:at] + junk + (b"" if cut else content[at + len(junk) :])
    path = tmp_path / "x.png"
    path.write_bytes(content)
    try:
        assert load_image(path).mode == "RGB"
    except DataError as error:
        assert str(path) in str(error) and "\n" not in str(error)
