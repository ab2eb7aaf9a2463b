"""Numbers of things, and lists of names, as messages say them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def counted(number: int, thing: str, things: str | None = None) -> str:
    """Return a number with its noun: "1 score", "1,203 images".

    Args:
        number: How many.
        thing: One of them.
        things: Several of them; default: an s: "pairs of method and score".
    """
    return f"{number:,} {plural(number, thing, things)}"


def plural(number: int, thing: str, things: str | None = None) -> str:
    """Return the noun that stands behind a number."""
    first, of, rest = thing.partition(" of ")
    return thing if number == 1 else things or f"{first}s{of}{rest}"


def some(names: Iterable[str], most: int = 20) -> str:
    """Return names with commas between, and how many more there are than are said."""
    every: Sequence[str] = list(names)
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    return f"{', '.join(every[:most])}{more}"
