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
    """argparse's own with other error messages, and without abbreviated options."""

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
        print(f"oodgrid: error: {self._in_words(message)}; {self.prog} --help shows what there is", file=sys.stderr)
        sys.exit(2)

    def _in_words(self, message: str) -> str:
        if match := CHOICE.match(message):
            name, known = match["given"].strip("'\""), re.findall(r"[\w-]+", match["known"])
            similar = near(name, known)
            hint = f"did you mean '{similar}'?" if similar else f"known: {', '.join(known)}"
            option = f"{match['what']}: " if match["what"].startswith("-") else ""
            return f"{option}there is no '{printable(name, 100)}': {hint}"
        if match := STRANGE.match(message):
            first = match["given"].split()[0]
            similar = near(first.split("=")[0], self._option_string_actions) if first.startswith("--") else None
            hint = f": did you mean {similar}?" if similar else ""
            return f"unknown argument '{printable(first, 100)}'{hint}"
        return printable(message, 300)


def add_dialect(verb: argparse.ArgumentParser) -> None:
    """Add the options that say what files of scores are like."""
    verb.add_argument("--negate", action="store_true", help="the files hold higher = out-of-distribution")
    verb.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help=".csv: whether the first line holds names; needed where that is in doubt",
    )
    verb.add_argument("--decimal", metavar="SIGN", help=".csv: decimal sign, . (default) or ,")
    verb.add_argument(
        "--separator", metavar="SIGN", help=".csv: between cells; default a comma, with --decimal , a semicolon"
    )
