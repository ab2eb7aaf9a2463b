"""Progress is a bar on a terminal, and in a log whole lines, few of them."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

from oodgrid import progress as module
from oodgrid.progress import progress

SOURCE = Path(module.__file__).parent


class Stream(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.isatty = lambda: terminal


@pytest.fixture
def shown(monkeypatch):
    """A function that goes through a nested loop and returns what stands on stderr."""

    def run(terminal, seconds, leave=None):
        monkeypatch.setattr(sys, "stderr", Stream(terminal))
        monkeypatch.setattr(module, "SHORT", seconds)
        monkeypatch.setattr(module, "MINUTE", seconds)
        for _ in progress(range(3), desc="outer", unit="fit"):
            with progress(total=4, initial=1, desc="a longer inner bar", unit="img", leave=leave) as bar:
                for _ in range(3):
                    bar.update(1)
        return sys.stderr.getvalue()

    return run


@pytest.mark.parametrize("leave", [True, False, None])
def test_in_a_log_every_state_is_a_whole_line(shown, leave):
    text = shown(terminal=False, seconds=0, leave=leave)
    assert "\r" not in text and "\x1b" not in text
    assert text.endswith("\n")
    for line in text.splitlines():
        assert re.fullmatch(r"(outer|a longer inner bar): .*\d/[34] \[.*(fit|img).*\]", line), line
    assert "outer: 100%" in text
    assert "inner bar: 100%" in text


def test_short_work_leaves_a_log_empty(shown):
    assert shown(terminal=False, seconds=60) == ""


def test_a_terminal_has_a_bar_in_place(shown):
    assert "\router: " in shown(terminal=True, seconds=0)


def test_every_stage_says_progress_through_it():
    calls = {path.name for path in SOURCE.rglob("*.py") if re.search(r"\btqdm\(", path.read_text(encoding="utf-8"))}
    assert calls == {"progress.py"}
