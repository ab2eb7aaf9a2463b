"""The few-shot sets of an ID dataset, for every stage that needs them: draws, splits, banks and validation."""

from oodgrid.fewshot.draws import VALIDATION_SHOTS, Draw, NoDraw, draw, drawn_rows
from oodgrid.fewshot.reader import BROKEN_ROWS, Drawn, FewShot, Rows, count_remarks

__all__ = [
    "BROKEN_ROWS",
    "VALIDATION_SHOTS",
    "Draw",
    "Drawn",
    "FewShot",
    "NoDraw",
    "Rows",
    "count_remarks",
    "draw",
    "drawn_rows",
]
