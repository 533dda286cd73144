"""The figure's axes hold the run's own numbers, and the picture is one that can be looked at."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lisa_core.errors import ConfigError
from lisa_core.plots import draw_runs, figure, smoothed
from lisa_core.run_history import read_run

VAL = ("giou", "ciou", "listening")


def panels(picture) -> dict:
    """The axes by the first words of their titles."""
    return {axes.get_title().partition(" (")[0]: axes for axes in picture.axes}


def curves(axes) -> list[tuple[list[float], list[float]]]:
    """All lines of the axes in the order of drawing."""
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]


def rewrite(folder, change) -> None:
    """Change the records of a run's log; `change` gives a list for each."""
    path = folder / "metrics.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(new) + "\n" for record in records for new in change(record)))


def overlaps(picture) -> list[tuple[str, str]]:
    """Texts that are drawn over each other, and those that are not all within the picture."""
    picture.canvas.draw()
    renderer = picture.canvas.get_renderer()
    texts = []
    for axes in picture.axes:
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            ticks = axis.get_major_ticks()  # of some beyond the limits, too, which are not drawn
            texts += [tick.label1 for tick in ticks if limits[0] <= tick.get_loc() <= limits[1]]
        texts += [axes.title, axes.xaxis.label, axes.yaxis.get_offset_text(), *axes.texts]
    texts += [text for legend in picture.legends for text in legend.get_texts()]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text.get_text().strip()]
    width, height = picture.canvas.get_width_height()
    found = [(a, b) for k, (a, box) in enumerate(boxes) for b, other in boxes[k + 1 :] if box.overlaps(other)]
    return (
        found
        + [(a, "edge") for a, box in boxes if not (box.x0 >= 0 and box.y0 >= 0)]
        + [(a, "edge") for a, box in boxes if box.x1 > width or box.y1 > height]
    )


@pytest.fixture(scope="module")
def drawn(trained) -> bytes:
    """The trained run's picture as a file."""
    return draw_runs([read_run(trained.folder / "run")])


def test_the_axes_hold_the_run_s_numbers(trained):
    run = read_run(trained.folder / "run")
    records = [json.loads(line) for line in (trained.folder / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if record["kind"] == "step"]
    numbers = [record["step"] for record in steps]
    found = panels(figure([run], smooth=1))
    names = {"loss": "loss", "learning rate": "lr", "gradient norm, before clipping": "grad_norm"}
    names |= {f"loss term: {name}": name for name in ("ce", "bce", "dice", "similarity", "contrast", "pointing", "iou")}
    assert set(found) == {"gIoU", "cIoU", "listening accuracy", *names}
    for title, name in names.items():
        assert curves(found[title]) == [(numbers, [record[name] for record in steps])]
    val = run.best["val"]
    for title, name in zip(("gIoU", "cIoU", "listening accuracy"), VAL):
        star = ([len(steps)], [val[name]])
        assert curves(found[title])[-2:] == [star, star]  # the only validation is the best one
        assert found[title].lines[-1].get_marker() == "*" and found[title].lines[-2].get_marker() == "o"
    assert curves(found["gIoU"])[0] == (numbers, [record["giou"] for record in steps])


def test_raw_values_are_faint_behind_the_smoothed_ones(trained):
    run = read_run(trained.folder / "run")
    raw, smooth = panels(figure([run], smooth=3))["loss"].lines
    losses = list(run.log.steps["loss"])
    assert list(raw.get_ydata()) == losses and raw.get_alpha() < 0.5 and raw.zorder < smooth.zorder
    assert list(smooth.get_ydata()) == smoothed(losses, 3) != losses


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30), st.integers(1, 40))
def test_smoothing_is_the_mean_of_the_neighbours(values, span):
    half = span // 2
    expected = [np.mean(values[max(k - half, 0) : k + half + 1]) for k in range(len(values))]
    np.testing.assert_allclose(smoothed(values, span), expected, atol=1e-9)


def test_several_runs_share_the_axes_and_the_best_epoch_of_each_is_marked(workplace):
    shutil.copytree("run", "other", symlinks=True)

    def improved(record):
        later = {**record, "epoch": 2, "step": record["step"] + 5}
        if "val" in record:
            later["val"] = record["val"] | {"giou": 0.875}
        return [record, later] if record["kind"] == "epoch" else [record]

    rewrite(workplace / "other", improved)
    first, other = read_run(workplace / "run"), read_run(workplace / "other")
    picture = figure([first, other], smooth=1)
    loss, giou = panels(picture)["loss"], panels(picture)["gIoU"]
    assert len(loss.lines) == 2 and curves(loss)[0] == curves(loss)[1]
    assert len({line.get_color() for line in loss.lines}) == 2
    stars = [line for line in giou.lines if line.get_marker() == "*"]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in stars] == [
        (first.log.last_step, first.best["val"]["giou"]),
        (first.log.last_step + 5, 0.875),
    ]
    assert [line.get_color() for line in stars] == [line.get_color() for line in loss.lines]
    runs, signs = ([text.get_text() for text in legend.get_texts()] for legend in picture.legends)
    assert runs[0].startswith("run: best gIoU 0.") and runs[1] == "other: best gIoU 0.8750 at epoch 2"
    assert "best validation gIoU" in signs


def test_runs_of_one_name_are_told_apart_by_their_paths(workplace):
    shutil.copytree("run", "b/run", symlinks=True)
    picture = figure([read_run(workplace / "run"), read_run(workplace / "b" / "run")])
    labels = [text.get_text() for text in picture.legends[0].get_texts()]
    assert len(set(labels)) == 2 and labels[1].partition(": ")[0].endswith("b/run")


def test_steps_left_out_are_marked(workplace):
    def spoil(record):
        if record["kind"] == "step" and record["step"] == 2:
            return [{"kind": "skip", "step": 2, "epoch": 1, "loss": "nan"}]
        if record["kind"] == "step" and record["step"] == 3:
            record["grad_norm"] = float("inf")  # fp16 alone logs such a step
        return [record]

    rewrite(workplace / "run", spoil)
    run = read_run(workplace / "run")
    picture = figure([run], smooth=1)
    loss, norm = panels(picture)["loss"], panels(picture)["gradient norm, before clipping"]
    assert [list(line.get_xdata()) for line in loss.lines if line.get_marker() == "x"] == [[2]]
    assert [list(line.get_xdata()) for line in norm.lines if line.get_marker() == "x"] == [[2, 3]]
    assert 2 not in curves(loss)[0][0] and 3 in curves(loss)[0][0] and 3 not in curves(norm)[0][0]
    assert "step left out: not finite" in [text.get_text() for text in picture.legends[1].get_texts()]
    assert overlaps(picture) == []


def test_a_single_step_without_validation(workplace):
    rewrite(workplace / "run", lambda record: [record] if record.get("step") == 1 and record["kind"] == "step" else [])
    run = read_run(workplace / "run")
    picture = figure([run])
    found = panels(picture)
    (line,) = found["loss"].lines
    assert list(line.get_xdata()) == [1] and line.get_marker() not in ("None", "", None), "a point that can be seen"
    assert [text.get_text() for text in found["cIoU"].texts] == ["no validation yet"]
    assert overlaps(picture) == []
    Image.open(io.BytesIO(draw_runs([run]))).load()


def test_a_run_without_pairs_of_objects_says_so(workplace):
    def deaf(record):
        if "val" in record:
            record["val"]["listening"] = None
        return [record]

    rewrite(workplace / "run", deaf)
    listening = panels(figure([read_run(workplace / "run")]))["listening accuracy"]
    assert not listening.lines and [text.get_text() for text in listening.texts] == ["no picture has two objects"]


def test_a_term_that_is_always_zero_has_no_panel(workplace):
    rewrite(workplace / "run", lambda record: [record | ({"ce": 0.0} if "ce" in record else {})])
    found = panels(figure([read_run(workplace / "run")]))
    assert "loss term: ce" not in found and "loss term: bce" in found


def test_weights_of_the_terms_are_told_if_all_runs_have_the_same(trained):
    run = read_run(trained.folder / "run")
    titles = [axes.get_title() for axes in figure([run]).axes]
    assert "loss term: bce (weight 2)" in titles and "loss term: dice (weight 0.5)" in titles
    other = replace(run, config={**run.config, "loss": {**run.config["loss"], "bce_weight": 1.0}})
    titles = [axes.get_title() for axes in figure([run, other]).axes]
    assert "loss term: bce" in titles and "loss term: dice (weight 0.5)" in titles


def test_a_run_that_has_logged_nothing_is_one_line(workplace):
    (workplace / "run" / "metrics.jsonl").write_text("")
    with pytest.raises(ConfigError, match="has not logged a step yet"):
        figure([read_run(workplace / "run")])


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow), 12])
def test_texts_neither_overlap_nor_leave_the_picture(trained, count):
    run = read_run(trained.folder / "run")
    runs = [replace(run, path=run.path.with_name(f"run-{k}-{'long' * 30 if k % 2 else ''}")) for k in range(count)]
    assert overlaps(figure(runs)) == []


def test_the_picture_shows_something_in_every_panel(drawn):
    picture = Image.open(io.BytesIO(drawn))
    picture.load()
    assert picture.format == "PNG" and picture.width == 1560 and picture.height > 700
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    blue = (pixels[..., 2] - pixels[..., 0] > 100).reshape(picture.height, 4, -1)  # the first run's colour
    assert blue.any(axis=(0, 2)).all(), "a curve in each column of panels"
    assert (pixels == 255).all(axis=-1).mean() > 0.5


def test_smoothing_shows_in_the_picture(trained, drawn):
    run = read_run(trained.folder / "run")
    assert draw_runs([run], smooth=3) != draw_runs([run], smooth=1) == drawn  # of so few steps, none are smoothed


@pytest.mark.parametrize(
    "name", ["$x$", *(pytest.param(name, marks=pytest.mark.slow) for name in ("_run", "100% [bold]", "图像"))]
)
def test_names_are_taken_as_they_are(trained, drawn, name, recwarn):
    run = read_run(trained.folder / "run")
    named = replace(run, path=run.path.with_name(name))
    (text,) = figure([named]).legends[0].get_texts()
    assert text.get_text().startswith(f"{name}: ") and not text.get_parse_math()
    assert draw_runs([named]) != drawn
    assert not recwarn.list


def test_the_user_s_own_style_and_state_are_left_alone(trained, drawn):
    run = read_run(trained.folder / "run")
    with matplotlib.rc_context({"text.usetex": True, "figure.facecolor": "black"}):
        assert draw_runs([run]) == drawn
        assert matplotlib.rcParams["text.usetex"] and matplotlib.rcParams["figure.facecolor"] == "black"


def test_neither_a_display_nor_pyplot_nor_torch_is_needed(trained):
    code = (
        "import sys; from pathlib import Path; from lisa_core.plots import draw_runs\n"
        "from lisa_core.run_history import read_run\n"
        "assert draw_runs([read_run(Path('run'))])[:4] == b'\\x89PNG'\n"
        "print(sorted({'torch', 'transformers', 'matplotlib.pyplot', 'tkinter'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=trained.folder, capture_output=True, text=True)
    assert (process.returncode, process.stdout) == (0, "[]\n"), process.stderr
