"""Write the errors that `oodgrid estimate` knows without --bench, from those of experiments/clip-b32-estimate.yaml.

python tools/estimate_bench.py results/clip-b32-estimate/estimates.parquet
"""

from __future__ import annotations

import sys
from pathlib import Path

from oodgrid import manifests
from oodgrid.evaluate.estimate.own import OURS, needed

if __name__ == "__main__":
    folder = Path(__file__).parents[1] / "src" / "oodgrid" / "evaluate" / "estimate"
    manifests.write(folder / OURS, needed(manifests.read(Path(sys.argv[1]), manifests.Estimates)))
