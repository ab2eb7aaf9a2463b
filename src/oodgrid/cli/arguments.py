"""A parser of command lines that says what is wrong in one line, with a did-you-mean."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from typing import NoReturn

from oodgrid.errors import near, printable

CHOICE = re.compile(r"argument (?P<what>.+?): invalid choice: (?P<given>.+) \(choose from (?P<known>.+)\)$", re.DOTALL)
STRANGE = re.compile(r"unrecognized arguments: (?P<given>.+)$", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """argparse's own, but for what it says of mistakes."""

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
            meant = near(first.split("=")[0], _options(self)) if first.startswith("--") else None
            hint = f": did you mean {meant}?" if meant else ""
            return f"unknown argument '{printable(first, 100)}'{hint}"
        return printable(message, 300)


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the options of a parser and of the parsers of its verbs."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from _options(verb)
