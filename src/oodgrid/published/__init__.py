"""What others published, and how results compare with it: `oodgrid compare`, and a part of the report.

`entries` reads published values, `ours` says what was run, `matching` holds the two against each other.
"""

from oodgrid.published.entries import Value, catalogued, digest_of_catalogue, read_values
from oodgrid.published.matching import VERDICTS, Comparison, compared
from oodgrid.published.ours import Ours

__all__ = [
    "VERDICTS",
    "Comparison",
    "Ours",
    "Value",
    "catalogued",
    "compared",
    "digest_of_catalogue",
    "read_values",
]
