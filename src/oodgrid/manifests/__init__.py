"""Manifests: the one place that defines their fields, reads and writes them.

A manifest is a JSON file, the metadata of a table, or a small record that is kept. In all of them one method at one
number of shots and seed is a fit, and `fits` lists them by shots and seed, rising.
"""

from oodgrid.manifests.adapt import Applied, AppliedFit, Fitted, LearnedFit
from oodgrid.manifests.base import VERSION, Manifest
from oodgrid.manifests.detector import DetectorRecord, Texts, Threshold
from oodgrid.manifests.encode import Answer, Shard
from oodgrid.manifests.evaluate import (
    Comparisons,
    Curves,
    EstimateError,
    EstimateLine,
    EstimateRows,
    Estimates,
    GeometryTable,
    GradesTable,
    Metrics,
    PairMetrics,
    Ranks,
    Spreads,
    Summary,
    Temperatures,
)
from oodgrid.manifests.files import checked, open_table, read, read_table, write, write_arrays, write_table
from oodgrid.manifests.report import Digests
from oodgrid.manifests.score import Geometry, ScoredFit, ScorePart, ScoreTable

__all__ = [
    "VERSION",
    "Answer",
    "Applied",
    "AppliedFit",
    "Comparisons",
    "Curves",
    "DetectorRecord",
    "Digests",
    "EstimateError",
    "EstimateLine",
    "EstimateRows",
    "Estimates",
    "Fitted",
    "Geometry",
    "GeometryTable",
    "GradesTable",
    "LearnedFit",
    "Manifest",
    "Metrics",
    "PairMetrics",
    "Ranks",
    "ScorePart",
    "ScoreTable",
    "ScoredFit",
    "Shard",
    "Spreads",
    "Summary",
    "Temperatures",
    "Texts",
    "Threshold",
    "checked",
    "open_table",
    "read",
    "read_table",
    "write",
    "write_arrays",
    "write_table",
]
