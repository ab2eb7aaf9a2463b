"""What others published, and how results compare with it: `oodgrid compare`, and a part of the report.

`form` says what a file of published values may hold and `entries` reads it, `ours` says what was run, `matching` holds
the two against each other, and what comes of it for one value is a `comparison`.
"""

from oodgrid.published.comparison import VERDICTS, Comparison
from oodgrid.published.entries import catalogued, read_values
from oodgrid.published.form import Value
from oodgrid.published.matching import compared
from oodgrid.published.ours import Ours

__all__ = [
    "VERDICTS",
    "Comparison",
    "Ours",
    "Value",
    "catalogued",
    "compared",
    "read_values",
]
