"""Estimates as a text: a table for people, and what they must know beside its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oodgrid import manifests
from oodgrid.counts import counted
from oodgrid.evaluate.estimate.own import SURE
from oodgrid.evaluate.estimate.predictions import RATES

WORDS = {"auroc": "AUROC", "fpr95_id_pos": "FPR95, ID pos.", "fpr95_ood_pos": "FPR95, OOD pos."}


def format_estimates(rows: Sequence[dict[str, Any]], bench: manifests.Estimates) -> str:
    """Return a text table in percent with a row for each score, best first, and what the error bars are."""
    said = [row for row in rows if row["status"] == "ok"]
    said.sort(key=lambda row: -row["auroc"])
    lines = [f"about {100 * rows[0]['ood_share']:.0f} % of the pool are OOD samples ({_from(rows[0])})"] if said else []
    if said:
        table = [["score", *(WORDS[rate] for rate in RATES), "by regression: AUROC", "AUROC, sure"]]
        shown = (*RATES, "regression_auroc")
        table += [[row["score"], *(_cell(row, rate) for rate in shown), _sure(row)] for row in said]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
        ]
        lines.append(
            f"percent [± what 95 % of the errors stayed within on {counted(bench.sets, 'set')} of a bench, "
            "at such a share of OOD samples]"
        )
        if said[0]["n_validation"]:
            lines.append("sure: whatever the OOD samples are; some may score as ID samples do, which nothing shows")
    lines += [f"{row['score']}: nothing can be said: {row['reason']}" for row in rows if row["status"] != "ok"]
    return "\n".join([*lines, *remarks(rows, bench)])


def remarks(rows: Sequence[dict[str, Any]], bench: manifests.Estimates) -> list[str]:
    """Return what a reader must know beside the numbers."""
    lines = []
    if not rows[0]["n_validation"]:
        lines.append(
            "without validation scores nothing tells whether the pool holds OOD samples at all: this is what its two "
            "clusters say, were the lower one OOD (--validation FILE)"
        )
    for side, name in (("n_validation", "validation"), ("n_pool", "pool")):
        least = bench.sizes.get(name, [0])[0]
        if 0 < rows[0][side] < least:
            lines.append(
                f"{counted(rows[0][side], f'{name} score')}: any set of the bench has more ({least} at the least), "
                "so that errors are larger"
            )
    for row in rows:
        if row.get("above_validation"):
            lines.append(
                f"{row['score']}: {100 * row['above_validation']:.0f} % of the pool or more score higher than "
                "validation does: are both files of one score? If OOD samples score so high, the share of them is too "
                "low"
            )
    if any(row["status"] == "ok" and row["n_validation"] for row in rows):
        lines.append("it is assumed that the ID samples of the pool score as those of validation do")
    return lines


def _from(row: dict[str, Any]) -> str:
    return "as given" if row["share_from"] == "given" else f"estimated from {row['share_from']}"


def _sure(row: dict[str, Any]) -> str:
    low, high = (row.get(name) for name in SURE)
    return "-" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"


def _cell(row: dict[str, Any], name: str) -> str:
    if row.get(name) is None:
        return "-"
    bar = f" [{100 * row[f'{name}_lo']:.1f}, {100 * row[f'{name}_hi']:.1f}]" if row[f"{name}_lo"] is not None else ""
    return f"{100 * row[name]:.1f}{bar}"
