"""SIGTERM and Ctrl-C as a wish that the run stops at the next step, its work saved."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

from lisa_core.errors import LisaError


class RunInterrupted(LisaError):
    """The run stopped because it was told to; its work is saved."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number
        """As shells report a process that a signal ended."""


class Interrupts:
    """Notes the first SIGTERM or SIGINT while it is active; a second one is a KeyboardInterrupt at once.

    Only a program's main thread hears of signals; elsewhere it does nothing.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
