"""Real datasets on a user's disk: finding how one lies there, reading it, and saying what is missing of it."""

from __future__ import annotations

from oodgrid.encode.real.finding import Found, find
from oodgrid.encode.real.splits import Expected, check_split, read_split

__all__ = ["Expected", "Found", "check_split", "find", "read_split"]
