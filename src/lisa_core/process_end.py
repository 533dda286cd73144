"""How one of several processes ends: with its own exit code, whatever threads its group has left."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable


def end_by_exit_code(command: Callable[[], object]) -> None:
    """Run a command, then end this process with its exit code, without the interpreter's own teardown.

    gloo's threads live as long as anything refers to their group, and caches of torch's DTensor, which shared out
    weights are made of, do to the very end. Such a thread that asks for Python while the interpreter is torn down is
    ended by it, from within C++ that allows no such thing: the process is aborted (SIGABRT) though all its work is
    done, and its launcher takes the run for a failed one. It happens now and then.

    Threads that Python waits for and handlers that others register with `atexit` from now on come before the end.

    Args:
        command: ends by returning, which is exit code 0, or by an exception, which goes on to the caller; it must be
            the last thing that this process does.
    """
    code = 1

    def end() -> None:
        for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed by whoever started this process
            stream.flush()
        os._exit(code)

    atexit.register(end)  # handlers run from the last one to the first
    try:
        command()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise
