"""A detector to take away: one method, one score and a threshold of an experiment, for images nobody has seen.

`oodgrid detect` and `oodgrid export detector` make one of an experiment; `Detector.load` reads what was exported, and
needs the experiment no more. docs/detector.md shows both.
"""

from oodgrid.detector.building import from_experiment
from oodgrid.detector.core import Detector

__all__ = ["Detector", "from_experiment"]
