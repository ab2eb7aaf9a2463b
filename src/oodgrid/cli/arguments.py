"""A parser of command lines that says what is wrong in one line, with a did-you-mean."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from oodgrid.errors import near, printable

CHOICE = re.compile(r"argument (?P<what>.+?): invalid choice: (?P<given>.+) \(choose from (?P<known>.+)\)$", re.DOTALL)
STRANGE = re.compile(r"unrecognized arguments: (?P<given>.+)$", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """argparse's own, but for what it says of mistakes; and it guesses no option from the beginning of its name."""

    def __init__(self, prog: str | None = None, **options: Any) -> None:
        super().__init__(prog, allow_abbrev=False, **options)

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuse what this parser does not know: each verb has options of its own, which only it can name."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with status 2."""
        print(f"oodgrid: error: {self._said(message)}; {self.prog} --help shows what there is", file=sys.stderr)
        sys.exit(2)

    def _said(self, message: str) -> str:
        if found := CHOICE.match(message):
            given, known = found["given"].strip("'\""), re.findall(r"[\w-]+", found["known"])
            meant = near(given, known)
            hint = f"did you mean '{meant}'?" if meant else f"known: {', '.join(known)}"
            option = f"{found['what']}: " if found["what"].startswith("-") else ""
            return f"{option}there is no '{printable(given, 100)}': {hint}"
        if found := STRANGE.match(message):
            first = found["given"].split()[0]
            meant = near(first.split("=")[0], self._option_string_actions) if first.startswith("--") else None
            hint = f": did you mean {meant}?" if meant else ""
            return f"unknown argument '{printable(first, 100)}'{hint}"
        return printable(message, 300)
