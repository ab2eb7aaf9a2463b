"""What was found of one thing, and what to do about it."""

from __future__ import annotations

from typing import NamedTuple

OK, NOTE, UNFIT = "ok", "note", "unfit"  # note: it runs, and there is something to know


class Finding(NamedTuple):
    """What was found.

    Attributes:
        what: The thing, as "memory".
        state: `OK`, `NOTE` or `UNFIT`.
        text: What there is.
        mend: What to do, as a command where there is one; "" where nothing is to be done.
    """

    what: str
    state: str
    text: str
    mend: str = ""
