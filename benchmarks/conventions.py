"""How far the two conventions of FPR95 lie apart on published scores: those of SeTAR's project, on ImageNet-1k.

python benchmarks/conventions.py [FOLDER with Vanilla_MCM and Vanilla_GL_MCM]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from oodgrid.evaluate.metrics import count_scores, metrics_from_counts
from oodgrid.evaluate.score_files import read_scores

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("OODGRID_SHARED", ROOT / ".." / "shared"))
METHODS = {"MCM": "Vanilla_MCM", "GL-MCM": "Vanilla_GL_MCM"}
SETS = {"iNaturalist": "iNaturalist", "SUN": "Sun", "Places": "Places", "Textures": "Texture"}
METRICS = ("fpr95_id_pos", "fpr95_ood_pos")


def rates(folder: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Return both rates in percent by score and OOD set; the files hold them lower = more in-distribution."""
    table = {}
    for name, of_method in METHODS.items():
        files = {ood: folder / of_method / f"scores_OOD_{file}_test.csv.gz" for ood, file in SETS.items()}
        id_scores = -read_scores(folder / of_method / "scores_ID_ImageNet1K_test.csv.gz")
        for ood, file in files.items():
            metrics = metrics_from_counts(count_scores(id_scores, -read_scores(file)))
            table[name, ood] = {metric: 100 * metrics[metric] for metric in METRICS}
    return table


def main(folder: Path) -> None:
    """Print the table, and where the two differ most."""
    table = rates(folder)
    print(f"| score | OOD set | {' | '.join(METRICS)} | difference |\n|---|---|---|---|---|")
    gaps = {pair: row["fpr95_ood_pos"] - row["fpr95_id_pos"] for pair, row in table.items()}
    for (name, ood), row in table.items():
        print(f"| {name} | {ood} | {' | '.join(f'{row[m]:.2f}' for m in METRICS)} | {gaps[name, ood]:+.1f} |")
    name, ood = max(gaps, key=lambda pair: abs(gaps[pair]))
    print(f"At most {abs(gaps[name, ood]):.1f} points apart: {name} on {ood}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else SHARED / "data" / "golden" / "setar_clip_b16")
