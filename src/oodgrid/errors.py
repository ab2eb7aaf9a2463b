"""What a user reads when something is wrong: one line a mistake, that names the thing and the mend."""

from __future__ import annotations

import errno
import re
import reprlib
import sys
import textwrap
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

from oodgrid.counts import counted

LONGEST = 600  # characters of text that is not ours
SENTENCE = "sentence"  # the type of pydantic's error whose message says all, and not only what is wanted
MOST_LINES = 40
MENDS = {
    errno.ENOSPC: "free space there, and run again: what was finished is kept",
    errno.EDQUOT: "free some of your quota, and run again: what was finished is kept",
    errno.EACCES: "mend its permissions",
    errno.EROFS: "use a folder that can be written to",
    errno.EMFILE: "raise the limit by ulimit -n 4096",
    errno.ENAMETOOLONG: "use a shorter name",
}
# What the parts of CUDA say where a GPU has too little memory, and torch of a CPU, which is no MemoryError.
FULL_GPU = ("CUDA out of memory", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED", "cudaErrorMemoryAllocation")
NO_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory")
# Modules that come with an extra of the package; without it the rest works.
EXTRAS = {
    **dict.fromkeys(("torch", "torchvision", "open_clip", "timm"), "encode"),
    **dict.fromkeys(("snakemake", "psutil"), "workflow"),
    "datasets": "hf",
    "transformers": "text",
}


class OodgridError(Exception):
    """A mistake in what the user gave. Its message is one line; the command line prints it without a traceback."""


class Skip(Exception):
    """A method or score that makes no sense where it is asked for; its message is the reason that the results show."""


class Mistakes(OodgridError):
    """Several mistakes that were found at once, one line each."""

    def __init__(self, lines: Iterable[str]) -> None:
        every = list(dict.fromkeys(line for text in lines for line in text.split("\n")))
        more = [f"… and {counted(len(every) - MOST_LINES, 'more mistake')}"] if len(every) > MOST_LINES else []
        self.lines = every[:MOST_LINES] + more
        super().__init__("\n".join(self.lines))


def unknown(kind: str, name: str, known: Iterable[str]) -> OodgridError:
    """Return the error for a name that does not exist, with a did-you-mean where one is near.

    Args:
        kind: What the name should have been, as "score" or "config key".
        name: What was written.
        known: The names that exist.
    """
    names = sorted(known)
    similar = near(name, names)
    listed = textwrap.shorten(printable(", ".join(names)), 400, placeholder=" …", break_on_hyphens=False)
    hint = f"did you mean '{similar}'?" if similar else f"known: {listed}"
    return OodgridError(f"unknown {kind} '{printable(name, 100)}': {hint}")


def near(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that somebody may have meant, or None; capitals and dashes do not count, as of MaxLogit."""
    names = {each.casefold(): each for each in sorted(known, reverse=True)}
    asked = name[:100].casefold()
    same = next((each for each in sorted(names) if _letters(asked) and _letters(each) == _letters(asked)), None)
    close = [same] if same else get_close_matches(asked, sorted(names), n=1, cutoff=0.5)
    return names[close[0]] if close else None


def _letters(name: str) -> str:
    return re.sub("[^a-z0-9]+", "", name)


def printed(error: BaseException, place: str = "--debug shows where") -> str:
    """Return what is printed of any exception: one line, or one a mistake where several were found at once.

    Args:
        error: Whatever came up.
        place: Where its traceback can be read; said only of what is no user's mistake.
    """
    if isinstance(error, Mistakes):
        return "\n".join(f"oodgrid: error: {_of_words(line)}" for line in error.lines)
    if isinstance(error, OodgridError):
        return f"oodgrid: error: {_of_words(str(error))}"
    if isinstance(error, KeyboardInterrupt):
        return "oodgrid: interrupted; what was finished is kept"
    known = _known(error)
    if known is not None:
        return f"oodgrid: error: {known}"
    text = printable(_text(error), LONGEST)
    return f"oodgrid: unexpected {type(error).__name__}{': ' * bool(text)}{text} ({place}; please report it)"


def printable(text: str, most: int | None = None) -> str:
    """Return a text as part of a line: white space as one blank, and what no screen shows as an escape.

    Args:
        text: Any text, also with control characters and lone surrogates.
        most: Longest length; what is longer is cut between two words, and says so.
    """
    text = " ".join(text.split())
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    if most is None or len(text) <= most:
        return text
    return textwrap.shorten(text, most, placeholder=" …") if " " in text[:most] else f"{text[:most]}…"


def _of_words(line: str) -> str:
    """Return a line of ours, in which a word of a user's that is as long as a page is cut in its middle."""
    return re.sub(rf"\S{{{LONGEST},}}", lambda word: f"{word[0][:100]}…{word[0][-100:]}", printable(line))


def one_line(error: BaseException, most: int = 200) -> str:
    """Return what a library says of a failure, as part of a line and not cut within a word.

    NumPy's advice to unpickle what one trusts is left out: nothing here unpickles.
    """
    text = _text(error).split(" If you trust the file")[0]
    return printable(text, most) or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of what a library says of a failure, or the kind of failure where it says nothing."""
    return (_text(error) or type(error).__name__).splitlines()[0]


def brief(value: Any) -> str:
    """Return a value of a configuration as its user may recognise it, however long, deep or strange it is."""
    try:
        return printable(_Brief().repr(value), 200)
    except Exception:  # a foreign object's own repr may do anything
        return f"a {type(value).__name__}"


class _Brief(reprlib.Repr):
    """Python's short forms, with the words of YAML for true, false and null, and no limit on digits."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 80
        self.maxlong, self.maxlevel = 40, 3

    def repr_bool(self, value: bool, level: int) -> str:
        return str(value).lower()

    def repr_NoneType(self, value: None, level: int) -> str:
        return "null"

    def repr_int(self, value: int, level: int) -> str:
        return (
            str(value) if value.bit_length() < 128 else f"a whole number of about {value.bit_length() * 3 // 10} digits"
        )


def _known(error: BaseException) -> str | None:
    """Return what to say of an exception that needs no report; None where it does."""
    text = printable(_text(error), LONGEST)
    if is_full_gpu(error):
        return (
            f"the memory of the GPU is too small, or another process has it ({one_line(error)}): see nvidia-smi, have "
            "one job at a time on it by --resources gpu=1, or write CUDA_VISIBLE_DEVICES= before the command for CPUs"
        )
    if isinstance(error, MemoryError) or any(part in text for part in NO_MEMORY):
        return f"out of memory{': ' * bool(text)}{text}; use fewer --cores, or a machine with more memory"
    if isinstance(error, RecursionError):
        return "something that was given is nested too deeply to be read"
    if isinstance(error, ImportError):
        return lacking(error) or f"{text} for {sys.executable}: install oodgrid's requirements there, as make run does"
    if isinstance(error, SystemExit):
        return f"a plugin or a library ended the run (exit status {printable(str(error.code), 100)}): take that out"
    if isinstance(error, UnicodeError):
        return f"a text cannot be read or written as {getattr(error, 'encoding', 'Unicode')}: {text}; save it as UTF-8"
    if isinstance(error, OSError) and error.errno:
        mend = MENDS.get(error.errno)
        thing = f"{printable(str(error.filename))}: " if error.filename is not None else ""
        return f"{thing}{printable(error.strerror or text)}{'; ' * bool(mend)}{mend or ''}"
    return None


def is_full_gpu(error: BaseException) -> bool:
    """Return whether an exception, torch's of that name or another of its, says that a GPU has too little memory."""
    return isinstance(error, RuntimeError) and any(part in _text(error) for part in FULL_GPU)


def lacking(error: ImportError) -> str | None:
    """Return what to say of a module that comes with an extra which is not installed; None of any other."""
    module = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or module not in EXTRAS:
        return None
    return f"{module} is not installed: pip install 'oodgrid[{EXTRAS[module]}]'"


def _text(error: BaseException) -> str:
    """Return the message of a foreign exception without the colours of terminals."""
    try:
        return re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    except Exception:
        return ""


def all_of(*checks: Callable[[], object]) -> None:
    """Run several checks, and raise what all of them found.

    Raises:
        OodgridError: One failed; `Mistakes` where several did.
    """
    errors: list[OodgridError] = []
    for check in checks:
        try:
            check()
        except OodgridError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise Mistakes(str(error) for error in errors)
