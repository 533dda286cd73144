"""The hooks: few, documented, and with examples that run."""

from __future__ import annotations

import doctest
import inspect

import pytest

import lisa_core
from lisa_core import hookspecs

HOOKS = [value for name, value in vars(hookspecs).items() if name.startswith("lisa_")]


def test_the_hooks_are_the_two_that_plugins_are_told_of() -> None:
    assert {hook.__name__ for hook in HOOKS} == {"lisa_vlms", "lisa_datasets"}


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.__name__)
def test_each_hook_says_what_it_is_in_one_line_and_shows_an_example_that_runs(hook: object) -> None:
    first, blank, *_ = (inspect.getdoc(hook) or "").splitlines()
    assert first.endswith(".") and not blank
    (example,) = doctest.DocTestFinder().find(hook, globs={})
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


def test_plugins_get_the_marker_from_the_public_namespace() -> None:
    assert lisa_core.hookimpl is hookspecs.hookimpl
    assert hookspecs.hookimpl.project_name == "lisa"
