"""How far long work has come, on stderr: a bar where that is a terminal, and a line a minute where it is a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm

SHORT = 5.0  # seconds of work of which nothing is shown
MINUTE = 60.0
MOVES = str.maketrans("", "", "\r\n")  # between the bars of a terminal, with UP
UP = "\x1b[A"


def progress(things: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """Return a bar of tqdm's, to be iterated or updated.

    Args:
        things: What is gone through; without, `total` says how much there is.
        options: As of tqdm: desc, unit, total, initial, leave.
    """
    if sys.stderr.isatty():
        return tqdm(things, delay=SHORT, **options)
    return tqdm(things, file=_Lines(sys.stderr), delay=MINUTE, mininterval=MINUTE, maxinterval=MINUTE, **options)


class _Lines:
    """A stream on which every state of a bar is a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        if shown := text.replace(UP, "").translate(MOVES).strip():
            self.stream.write(f"{shown}\n")

    def flush(self) -> None:
        self.stream.flush()
