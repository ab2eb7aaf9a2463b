"""What docs/text-ood.md prints of results/text-ood and results/mdf is what lies there."""

from __future__ import annotations

import runpy
from pathlib import Path

import polars as pl

ROOT = Path(__file__).parents[1]


def test_the_table_of_the_best_is_that_of_the_results():
    lines = runpy.run_path(str(ROOT / "benchmarks" / "text_answer.py"))["lines"]()
    assert len(lines) > 2  # head, rule, and ID sets
    assert set(lines) <= set((ROOT / "docs" / "text-ood.md").read_text(encoding="utf-8").splitlines())


def test_the_table_of_mdf_is_that_of_the_results():
    page = (ROOT / "docs" / "text-ood.md").read_text(encoding="utf-8")
    summary = pl.read_parquet(ROOT / "results" / "mdf" / "summary.parquet")
    rows = summary.filter(pl.col("metric") == "auroc", pl.col("method") == "any").select("mean", "lo", "hi").rows()
    cells = {f"{100 * mean:.2f} [{100 * lo:.2f}, {100 * hi:.2f}]" for mean, lo, hi in rows}
    table = page[page.index("| score, bank: train |") : page.index("On this encoder, whose last layer")]
    printed = [cell.strip() for line in table.splitlines()[2:] if line for cell in line.split("|")[2:-1]]
    assert len(printed) == 9 * 5
    assert set(printed) <= cells
