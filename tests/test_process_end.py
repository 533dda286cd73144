"""How one of several processes ends, on real processes."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest

ENDS = """
import atexit
import os
import sys
import threading
import time

from lisa_core.process_end import end_by_exit_code

os.environ["LOCAL_RANK"] = "0"


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


@pytest.mark.skipif(os.name == "nt", reason="closes a descriptor in a shell")
def test_a_process_without_a_terminal_ends_too() -> None:
    script = ENDS.format(ending="return", call="end_by_exit_code(command)")
    command = f"exec {shlex.join([sys.executable, '-c', script])} >&-"
    done = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("call", ["command()", "del os.environ['LOCAL_RANK']; end_by_exit_code(command)"])
def test_other_processes_are_torn_down(call: str) -> None:
    """What the tests above show not to be there is there otherwise."""
    assert "torn down" in run("return", call=call).stderr


def test_lost_output_is_exit_code_120_and_no_teardown() -> None:
    lost = run("sys.stdout.flush(); sys.stdout.close()")
    assert lost.returncode == 120 and "torn down" not in lost.stderr


ABORTED = """
import atexit
import ctypes
import os
import sys
import time

from lisa_core.process_end import end_by_exit_code

rank = int(os.environ["RANK"])


class Slow:
    def __del__(self):
        time.sleep(1)  # others may have the interpreter meanwhile


def command():
    if rank == 0:
        # After the handlers of all that is imported later, and nobody else has the interpreter until teardown begins.
        atexit.register(ctypes.PyDLL(None).sleep, 3)
    import torch

    torch.distributed.init_process_group("gloo")
    torch.distributed.barrier()
    ones = torch.ones(1)
    if rank == 0:
        sys.modules["kept"] = Slow()
        sys.modules["group"] = torch.distributed.group.WORLD  # as caches keep it
        torch.distributed.all_reduce(ones, async_op=True).get_future().then(lambda future: None)
    else:
        time.sleep(1)  # so gloo's thread of rank 0 wants the interpreter while that is so
        torch.distributed.all_reduce(ones)


end_by_exit_code(command)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="calls the C library's sleep")
def test_a_thread_of_the_group_that_asks_for_python_at_the_end_aborts_nothing(run_on_two_processes) -> None:
    run_on_two_processes(ABORTED)


@pytest.mark.parametrize("launched", [True, False])
def test_the_command_line_ends_so(site, run_lisa, monkeypatch: pytest.MonkeyPatch, launched: bool) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    (site.folder / "sitecustomize.py").write_text(
        "import sys\nclass Kept:\n    def __del__(self):\n        print('torn down', file=sys.stderr)\n"
        "sys.modules['kept'] = Kept()\n"
    )
    done = run_lisa("--version", **({"LOCAL_RANK": "0"} if launched else {}))
    assert done.returncode == 0 and done.stdout.startswith("lisa ")
    assert ("torn down" in done.stderr) != launched
