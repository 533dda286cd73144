"""How one of several processes ends, on real processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

ENDS = """
import atexit
import sys
import threading
import time

from lisa_core.process_end import end_by_exit_code


class Kept:
    def __del__(self):
        print("torn down", file=sys.stderr)  # what the interpreter lets go of last, as caches of modules


sys.modules["kept"] = Kept()


def late():
    time.sleep(0.2)
    print("thread")


def command():
    atexit.register(print, "handler")
    threading.Thread(target=late).start()
    print("command")
    {ending}


{call}
"""


def run(ending: str, call: str = "end_by_exit_code(command)") -> subprocess.CompletedProcess[str]:
    script = ENDS.format(ending=ending, call=call)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("return", 0),
        ("sys.exit()", 0),
        ("sys.exit(0)", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('a word')", 1),
        ("raise ZeroDivisionError('a bug')", 1),
    ],
)
def test_a_process_ends_with_its_code_and_all_that_it_said_but_is_not_torn_down(ending: str, code: int) -> None:
    done = run(ending)
    assert done.returncode == code
    assert done.stdout.splitlines() == ["command", "thread", "handler"], "into a pipe, which is written to at the end"
    assert "torn down" not in done.stderr
    assert ("ZeroDivisionError: a bug" in done.stderr) == ("ZeroDivision" in ending)
    assert ("a word" in done.stderr) == ("a word" in ending)


def test_other_processes_are_torn_down() -> None:
    """What the test above shows not to be there is there otherwise."""
    assert "torn down" in run("return", call="command()").stderr
