from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from lisa_core.svg import Bar, bar_chart, histogram, reliability, scatter

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ElementTree.Element:
    """The picture as XML, in which every tag is closed and every text escaped."""
    return ElementTree.fromstring(text.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def test_bars_begin_at_zero_and_end_at_their_values():
    picture = parsed(bar_chart("gIoU by <source>", [Bar("a & b", 0.5, 0.25, 0.75, "n 3"), Bar("<script>", 1.0)]))
    assert picture.get("aria-label") == "gIoU by <source>" and picture.get("role") == "img"
    half, whole = picture.iter(f"{SVG}rect")
    assert float(half.get("width")) * 2 == float(whole.get("width")) and half.get("x") == whole.get("x")
    titles = [title.text for title in picture.iter(f"{SVG}title")]
    assert titles == ["a & b: 0.5000 [0.2500, 0.7500]", "<script>: 1.0000"]
    whisker = next(line for line in picture.iter(f"{SVG}line") if line.get("stroke-width") == "1.5")
    begin, width = float(half.get("x")), float(whole.get("width"))
    assert [float(whisker.get(end)) for end in ("x1", "x2")] == pytest.approx(
        [begin + width / 4, begin + width * 3 / 4], abs=0.1
    )


def test_bars_around_zero_go_to_both_sides():
    picture = parsed(bar_chart("differences", [Bar("less", -0.1), Bar("more", 0.2)], -0.2, 0.2))
    less, more = picture.iter(f"{SVG}rect")
    assert float(less.get("x")) + float(less.get("width")) == pytest.approx(float(more.get("x")), abs=0.11)
    assert float(less.get("width")) * 2 == pytest.approx(float(more.get("width")), abs=0.11)


def test_columns_are_as_tall_as_their_counts():
    picture = parsed(histogram("IoU", [1, 0, 4], "IoU"))
    heights = [float(box.get("height")) for box in picture.iter(f"{SVG}rect")]
    assert heights[1] == 0 and heights[2] == pytest.approx(4 * heights[0], rel=0.01)
    assert parsed(histogram("nothing", [0, 0], "IoU")) is not None


def test_points_lie_where_they_belong():
    picture = parsed(scatter("A against B", [(0, 0, "low"), (1, 1, "<high>"), (1, 0, "right")], "A", "B", True))
    low, high, right = ((float(dot.get("cx")), float(dot.get("cy"))) for dot in picture.iter(f"{SVG}circle"))
    assert low[0] < high[0] == right[0] and high[1] < low[1] == right[1], "y grows upwards"
    assert [title.text for title in picture.iter(f"{SVG}title")][1] == "<high>"
    drawn = parsed(reliability("calibration", [(10, 0.1, 0.2), (0, 0, 0), (40, 0.9, 0.7)], "score", "IoU"))
    radii = [float(dot.get("r")) for dot in drawn.iter(f"{SVG}circle")]
    assert len(radii) == 2 and radii[1] - 3 == pytest.approx(2 * (radii[0] - 3), abs=0.1), (
        "areas, not radii, are counts"
    )
    assert len(re.findall("polyline", reliability("one", [(1, 0.5, 0.5)], "score", "IoU"))) == 0
