"""Signals that end a process in good order: what is being written is taken back, and what must be whole is."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
_ONE = 0.3  # [s] within which signals are one: a scheduler may send it, and what it started this process by as well


class Stopped(BaseException):
    """A signal ends this process. No Exception: what goes on after a failure does not go on after this.

    Attributes:
        number: of the signal; rest: what to say beside its name.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number, self.rest = number, ""

    @property
    def exit_code(self) -> int:
        """As a shell reports the signal."""
        return 128 + self.number

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.number).name}{self.rest}"


class Unbroken:
    """A block that ends as a whole before a signal that came meanwhile is heeded; elsewhere one raises Stopped at once.

    A second signal ends the process wherever it is. Blocks may lie within others.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._since, self._depth = 0.0, 0

    def heed_signals(self) -> None:
        """From now on, but for signals that the process was started to ignore (nohup)."""
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._receive)

    @contextmanager
    def and_what_follows(self) -> Iterator[None]:
        """Raises Stopped as well for what other code makes of it: a library's clean-up that fails half-way."""
        try:
            yield
        except BaseException as error:
            if self._number is None or isinstance(error, Stopped):
                raise
            raise Stopped(self._number) from error

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self._number is None:
            self._number, self._since = number, time.monotonic()
            if not self._depth:
                raise Stopped(number)
        elif time.monotonic() - self._since > _ONE:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._number is not None and not self._depth:
            raise Stopped(self._number)


UNBROKEN = Unbroken()  # what a signal to this process interrupts, or not
