"""What docs/text-ood.md prints of results/text-ood is what lies there."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_table_of_the_best_is_that_of_the_results():
    lines = runpy.run_path(str(ROOT / "benchmarks" / "text_answer.py"))["lines"]()
    assert len(lines) > 2  # head, rule, and ID sets
    assert set(lines) <= set((ROOT / "docs" / "text-ood.md").read_text(encoding="utf-8").splitlines())
