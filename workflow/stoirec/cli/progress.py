"""How far a command is."""

import logging
import time

_log = logging.getLogger(__name__)


class Bar:
    """A tqdm bar on a terminal; elsewhere a plain line for every tenth of the work."""

    def __init__(self, total: int, title: str, unit: str) -> None:
        from tqdm import tqdm

        self.total, self.title, self.unit, self.n = total, title, unit, 0
        self.text, self.started = "", time.monotonic()
        self.bar = tqdm(total=total, desc=title, unit=unit, disable=None if _log.isEnabledFor(logging.INFO) else True)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def update(self, n: int) -> None:
        tenth = self.n * 10 // self.total
        self.n += n
        self.bar.update(n)
        if self.bar.disable and self.n * 10 // self.total > tenth:
            seconds = time.monotonic() - self.started
            left = seconds / self.n * (self.total - self.n)
            done = f"{self.title}: {self.unit} {self.n}/{self.total}, {seconds:.0f} s, about {left:.0f} s left"
            _log.info("%s%s", done, f", {self.text}" if self.text else "")

    def note(self, text: str) -> None:
        self.text = text
        self.bar.set_postfix_str(text, refresh=False)
