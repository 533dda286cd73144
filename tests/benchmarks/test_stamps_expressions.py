from __future__ import annotations

import numpy as np
import pytest
from catalogue import Words
from expressions import CATEGORIES, COLOURS, Expression, choose, expressions
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from view import KINDS, Thing, View

NAMES = ["crow", "gull", "duck", "pear", "saw"]
BROAD = {"crow": ("bird",), "gull": ("bird",), "duck": ("bird", "animal"), "pear": ("fruit",), "saw": ("tool",)}
WIDTH, HEIGHT = 400, 300


@st.composite
def words(draw: st.DrawFn) -> Words:
    name = draw(st.sampled_from(NAMES))
    names = (name, *BROAD[name])
    others = st.sampled_from([*NAMES, "bird", "animal", "fruit", "tool"])
    colours = draw(st.lists(st.sampled_from(COLOURS[:4]), max_size=1))
    return Words(
        names,
        draw(st.frozensets(others, max_size=2)) - set(names),
        tuple(colours),
        draw(st.frozensets(st.sampled_from(COLOURS[:4]), max_size=1)),
        tuple(draw(st.lists(st.sampled_from(["flying"]), max_size=1))),
        draw(st.frozensets(st.sampled_from(["flying"]), max_size=1)),
        draw(st.integers(1, 3)),
    )


@st.composite
def views(draw: st.DrawFn) -> View:
    count = draw(st.integers(2, 5))
    things = []
    for index in range(count):
        full = draw(st.integers(500, 20_000))
        shown = draw(st.sampled_from([0.45, 0.61, 0.8, 1.0]))
        hidden_by = {}
        if shown < 1 and index + 1 < count and draw(st.booleans()):
            hidden_by[draw(st.integers(index + 1, count - 1))] = 1 - shown
        x, y = draw(st.floats(5, WIDTH - 5)), draw(st.floats(5, HEIGHT - 5))
        w, h = draw(st.floats(4, 150)), draw(st.floats(4, 150))
        box = (x - w * draw(st.floats(0.3, 0.7)), y - h * draw(st.floats(0.3, 0.7)))
        things.append(Thing(draw(words()), x, y, int(full * shown), full, (*box, box[0] + w, box[1] + h), hidden_by))
    return View(
        tuple(things), WIDTH, HEIGHT, draw(st.frozensets(st.sampled_from(["bird", "tool", "pear"]), max_size=1))
    )


def readings(view: View, expression: Expression) -> set[int]:
    """Every object that a generous reader might take the expression to mean, worked out from its words alone."""
    might = {i for i, thing in enumerate(view.things) if expression.name in {*thing.words.names, *thing.words.maybe}}
    detail = expression.detail
    if expression.kind in ("noun", "category"):
        return might
    if expression.kind == "attribute":
        return {
            i
            for i in might
            if detail
            in {
                *view.things[i].words.colours,
                *view.things[i].words.seen,
                *view.things[i].words.attributes,
                *view.things[i].words.maybe_attributes,
            }
        }
    key = {
        "left": lambda thing: -thing.x,
        "right": lambda thing: thing.x,
        "top": lambda thing: -thing.y,
        "bottom": lambda thing: thing.y,
    }
    end = {
        "left": lambda thing: -thing.box[0],
        "right": lambda thing: thing.box[2],
        "top": lambda thing: -thing.box[1],
        "bottom": lambda thing: thing.box[3],
    }
    if expression.kind == "position":
        best = max(key[detail](view.things[i]) for i in might)
        slack = 0.05 * (WIDTH if detail in ("left", "right") else HEIGHT)
        by_centre = {i for i in might if key[detail](view.things[i]) >= best - slack}
        farthest = max(end[detail](view.things[i]) for i in might)
        by_end = {i for i in might if end[detail](view.things[i]) == farthest}
        return by_centre | (by_end if len(by_end) == 1 else set())
    if expression.kind == "size":
        sign = 1 if detail == "larger" else -1
        result = set()
        for by in ("area", "full_area", "diagonal"):
            sizes = {i: getattr(view.things[i], by) ** sign for i in might}
            result |= {i for i in might if sizes[i] * (1.1 if by == "diagonal" else 1.3) >= max(sizes.values())}
        return result
    anchor = expression.anchor
    candidates = might - {anchor}
    if detail == "behind":
        return {i for i in candidates if anchor in view.things[i].hidden_by}
    if detail == "front":
        return {i for i in candidates if i in view.things[anchor].hidden_by}
    return {i for i in candidates if key[detail](view.things[i]) > key[detail](view.things[anchor])}


@settings(max_examples=200)
@given(views())
def test_an_expression_means_one_object_however_generously_it_is_read(view: View) -> None:
    for expression in expressions(view):
        assert readings(view, expression) == {expression.target}, expression
        assert expression.name in view.things[expression.target].words.names
        assert expression.name not in view.background
        assert all(expression.name in words for words in expression.phrases)
        if expression.anchor is not None:
            meant = {i for i, thing in enumerate(view.things) if thing.words.may_be(expression.anchor_name)}
            assert meant == {expression.anchor} and expression.anchor_name not in view.background
            assert view.things[expression.anchor].shown >= 0.6


@given(views())
def test_only_objects_that_show_enough_are_asked_for(view: View) -> None:
    for expression in expressions(view):
        thing = view.things[expression.target]
        assert thing.area >= 0.6 * thing.full_area
        assert thing.area >= 0.006 * WIDTH * HEIGHT


@given(views(), st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 3))
def test_chosen_expressions_are_about_different_objects_and_repeat(
    view: View, seed: int, wanted: int, kinds: int
) -> None:
    chosen = choose(np.random.default_rng(seed), view, wanted, kinds_each=kinds)
    assert chosen == choose(np.random.default_rng(seed), view, wanted, kinds_each=kinds)
    assert len({said[0].target for said in chosen}) == len(chosen) <= wanted
    for said in chosen:
        assert {one.target for one in said} == {said[0].target} and set(said) <= set(expressions(view))
        there = {one.kind for one in expressions(view) if one.target == said[0].target}
        assert len({one.kind for one in said}) == len(said) == min(kinds, len(there))


def thing(name: str, x: float, y: float, **more) -> Thing:
    area = more.pop("area", 3000)
    full = more.pop("full_area", area)
    hidden = more.pop("hidden_by", {})
    half = more.pop("half", (area**0.5 / 2, area**0.5 / 2))
    box = (x - half[0], y - half[1], x + half[0], y + half[1])
    return Thing(Words((name, *BROAD[name]), **more), x, y, area, full, box, hidden)


def phrases(view: View, target: int, kind: str) -> set[str]:
    return {phrase for one in expressions(view) if one.target == target and one.kind == kind for phrase in one.phrases}


def test_the_words_of_each_kind() -> None:
    view = View(
        (
            thing("crow", 60, 60, colours=("black",)),
            thing("gull", 330, 80, colours=("white",), area=9000),
            thing("pear", 200, 250, colours=("green",), hidden_by={3: 0.2}, full_area=3700),
            thing("saw", 240, 270),
        ),
        WIDTH,
        HEIGHT,
    )
    assert phrases(view, 0, "noun") == {"crow"}
    assert phrases(view, 2, "category") == {"fruit"}
    assert phrases(view, 0, "attribute") == {"black crow", "black bird"}
    assert phrases(view, 0, "position") == {"left bird", "bird on the left"}
    assert phrases(view, 1, "size") == {"larger bird", "bigger bird"}
    assert {"pear behind the saw", "fruit partly hidden by the tool"} <= phrases(view, 2, "relation")
    assert "bird above the pear" not in phrases(view, 0, "relation")  # the gull is above it too
    assert "saw in front of the pear" in phrases(view, 3, "relation")
    assert {one.kind for one in expressions(view)} == set(KINDS)


def test_a_photograph_s_own_birds_make_birds_ambiguous() -> None:
    pair = (thing("crow", 60, 60), thing("pear", 330, 80))
    assert phrases(View(pair, WIDTH, HEIGHT), 0, "category") == {"bird"}
    shown = View(pair, WIDTH, HEIGHT, frozenset({"bird"}))
    assert phrases(shown, 0, "category") == set()
    assert not any("bird" in phrase for one in expressions(shown) for phrase in one.phrases)


def test_a_close_call_is_no_expression() -> None:
    def pair(gap: float, ratio: float) -> View:
        return View((thing("crow", 200, 100), thing("gull", 200 + gap, 100, area=int(3000 * ratio))), WIDTH, HEIGHT)

    assert phrases(pair(39, 1.0), 0, "position") == set()
    assert "left bird" in phrases(pair(41, 1.0), 0, "position")
    tall = View((thing("crow", 200, 80), thing("gull", 300, 150, half=(10, 149))), WIDTH, HEIGHT)
    assert not {"upper bird", "bird at the top"} & phrases(tall, 0, "position")  # the gull reaches higher
    assert "left bird" in phrases(tall, 0, "position")
    assert phrases(pair(100, 1.65), 1, "size") == set()
    assert "larger bird" in phrases(pair(100, 1.75), 1, "size")
    thin = View((thing("crow", 60, 60, area=9000), thing("gull", 300, 150, half=(10, 149))), WIDTH, HEIGHT)
    assert phrases(thin, 0, "size") == set()


def test_a_small_elephant_is_not_the_smaller_animal() -> None:
    drawn = [("duck", 9000, 1), ("duck", 3000, 4)]
    things = tuple(thing(n, 100 + 200 * i, 100, area=area, size=size) for i, (n, area, size) in enumerate(drawn))
    assert not any(one.kind == "size" for one in expressions(View(things, WIDTH, HEIGHT)))


def test_no_orange_orange_and_no_larger_food() -> None:
    words = Words(("orange", "food"), colours=("orange",))
    things = (
        Thing(words, 60, 60, 3000, 3000, (30, 30, 90, 90)),
        Thing(Words(("pear", "food")), 300, 60, 9000, 9000, (250, 10, 350, 110)),
    )
    found = {phrase for one in expressions(View(things, WIDTH, HEIGHT)) for phrase in one.phrases}
    assert "orange" in found and "orange to the left of the pear" in found
    assert not {"orange orange", "orange food", "larger food", "food on the left"} & found


@pytest.mark.parametrize("known", [frozenset({"bird"}), None])
def test_known_nouns_are_taken_rather_than_others(known: frozenset[str] | None) -> None:
    view = View((thing("crow", 60, 60), thing("pear", 330, 80)), WIDTH, HEIGHT)
    rng = np.random.default_rng(0)
    drawn = [one for _ in range(300) for (one,) in choose(rng, view, 2, known) if one.target == 0]
    share = np.mean([one.nouns <= {"bird"} for one in drawn])
    assert share > 0.5 if known else share < 0.5


@given(views())
def test_a_rival_is_an_object_the_noun_alone_might_mean(view: View) -> None:
    found = list(expressions(view))
    assume(found)
    for one in found:
        others = {i for i in view.called(one.name) if i not in (one.target, one.anchor)}
        assert one.rivals == len(others)
        assert (one.kind == "category") <= (one.name in CATEGORIES)
