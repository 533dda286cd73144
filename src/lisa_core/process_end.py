"""How one of several processes ends: with its own exit code, whatever threads its group has left."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Callable


def end_by_exit_code(command: Callable[[], object]) -> None:
    """Run a command, then end this process with its exit code, without the interpreter's own teardown.

    gloo's threads live as long as anything refers to their group, and caches of torch's DTensor, which shared out
    weights are made of, do to the very end. Such a thread that asks for Python while the interpreter is torn down is
    ended by it, from within C++ that allows no such thing: the process is aborted (SIGABRT) though all its work is
    done, and its launcher takes the run for a failed one. It happens now and then.

    Threads that Python waits for, handlers that others register with `atexit` from now on, and those of `logging` come
    before the end; what was registered before is left out. A process that is no one of several by then is torn down.

    Args:
        command: ends by returning, which is exit code 0, or by an exception, which goes on to the caller; it must be
            the last thing that this process does.
    """
    code = 1

    def end() -> None:
        if "LOCAL_RANK" not in os.environ:  # accelerate sets it if the launcher did not
            return
        ended = code
        logging.shutdown()
        for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed by whoever started this process
            try:
                stream.flush()
            except (OSError, ValueError):
                ended = 120  # Python's own for output that was lost
        os._exit(ended)

    atexit.register(end)  # handlers run from the last one to the first
    try:
        command()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise
