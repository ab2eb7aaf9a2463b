"""Somebody else's per-image scores on ImageNet-1k, and the table that project published from them."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import numpy as np
import pytest

from oodgrid.evaluate.metrics import count_scores, metrics_from_counts
from oodgrid.evaluate.score_files import compare_files, read_scores

ROOT = Path(__file__).resolve().parents[2]
SHARED = (ROOT / os.environ.get("OODGRID_SHARED", "../shared")).resolve()
GOLDEN = SHARED / "data" / "golden" / "setar_clip_b16"
OOD_SETS = ("iNaturalist", "Sun", "Places", "Texture")
# percent: AUROC, FPR95 ID positive, FPR95 OOD positive; the fifth column is the mean of the four sets
PUBLISHED = {
    "Vanilla_MCM": {
        "auroc": (94.43, 92.37, 90.03, 86.13, 90.74),
        "fpr95_id_pos_mcm": (32.07, 38.65, 43.73, 57.89, 43.09),
        "fpr95_ood_pos": (21.37, 30.68, 44.32, 52.49, 37.22),
        "aupr_in": (98.82, 98.23, 97.55, 98.04, 98.16),
    },
    "Vanilla_GL_MCM": {
        "auroc": (96.62, 93.01, 90.07, 83.73, 90.86),
        "fpr95_id_pos_mcm": (15.34, 30.65, 37.76, 57.41, 35.29),
        "fpr95_ood_pos": (16.57, 33.87, 50.32, 64.05, 41.20),
        "aupr_in": (99.21, 98.22, 97.39, 97.42, 98.06),
    },
}

pytestmark = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"the published scores are not here: {GOLDEN} (set OODGRID_SHARED)"
)


def score_file(method, name):
    return GOLDEN / method / f"scores_{name}_test.csv.gz"


def counts_of(method):
    id_scores = -read_scores(score_file(method, "ID_ImageNet1K"))
    assert id_scores.shape == (50_000,)
    return [count_scores(id_scores, -read_scores(score_file(method, f"OOD_{name}"))) for name in OOD_SETS]


def with_mean(values):
    return np.array([*values, np.mean(values)])


@pytest.mark.parametrize("metric", ["auroc", "fpr95_id_pos_mcm", "fpr95_ood_pos", "aupr_in"])
@pytest.mark.parametrize("method", PUBLISHED)
def test_published_table_to_its_printed_decimals(method, metric):
    got = with_mean([100 * metrics_from_counts(counts)[metric] for counts in counts_of(method)])
    np.testing.assert_allclose(got, PUBLISHED[method][metric], atol=0.00501)


@pytest.mark.parametrize("method", PUBLISHED)
def test_our_rule_is_at_most_two_hundredths_of_a_point_below_the_published_one(method):
    rows = [metrics_from_counts(counts) for counts in counts_of(method)]
    gaps = np.array([100 * (row["fpr95_id_pos_mcm"] - row["fpr95_id_pos"]) for row in rows])
    assert np.all((gaps >= 0) & (gaps < 0.02))


def test_negate_of_the_command_line_reads_the_same_files():
    method = "Vanilla_MCM"
    row = compare_files(score_file(method, "ID_ImageNet1K"), score_file(method, "OOD_iNaturalist"), negate=True)
    assert (row["n_id"], row["n_ood"]) == (50_000, 10_000)
    assert 100 * row["auroc"] == pytest.approx(94.43, abs=0.005)
    assert row["auroc_lo"] < row["auroc"] < row["auroc_hi"]
    # the half-widths of a plain bootstrap of the same files: .24 and 1.50 points
    assert 50 * (row["auroc_hi"] - row["auroc_lo"]) == pytest.approx(0.22, abs=0.03)
    assert 50 * (row["fpr95_id_pos_hi"] - row["fpr95_id_pos_lo"]) == pytest.approx(1.45, abs=0.2)


def test_the_documentation_says_how_far_the_conventions_lie_apart(capsys):
    runpy.run_path(str(ROOT / "benchmarks/conventions.py"))["main"](GOLDEN)
    most = capsys.readouterr().out.splitlines()[-1]
    assert most == "At most 12.6 points apart: GL-MCM on Places."
    for page in ("README.md", "docs/faq.md"):
        assert "differ by up to 12.6 points" in (ROOT / page).read_text(encoding="utf-8")
