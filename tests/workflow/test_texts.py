"""Texts beside the classes through Snakemake: made where a score asks for them, checked before the first job."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow
SCORE = '''
import numpy as np

from oodgrid.registry import LabelList, score


@score(needs=("logits", "class_texts", "prompt_variants"), paper="none")
def textual(logits: np.ndarray, classes: np.ndarray, variants: np.ndarray, *, labels: LabelList = None) -> np.ndarray:
    """Of texts."""
    return logits.max(axis=1)
'''
TEXTS = [f"results/text/tiny/{name}.h5" for name in ("concepts", "concepts.shuffled", "labels/mine")]


def test_lists_and_shuffled_prompts_are_made_once_and_a_changed_list_is_refused(clone):
    (clone.folder / "src/oodgrid/score/scores/textual.py").write_text(SCORE)
    experiment = {
        "experiment": "mini",
        "backbones": ["tiny"],
        "id_datasets": [{"name": "concepts", "ood": {"far": ["noise"]}}],
        "methods": ["zero_shot"],
        "scores": [{"name": "textual", "labels": "mine"}],
        "label_lists": [{"name": "mine", "file": "mine.txt", "drop_classes_of": "concepts"}],
    }
    clone.write(experiment)
    assert "label list mine: mine.txt does not exist: mend the path" in clone.snakemake(*TEXTS, ok=False)
    (clone.folder / "mine.txt").write_text("red heart\nred square\npainting\n")
    clone.snakemake(*TEXTS)
    before = clone.times("text/**/*.h5")
    assert sorted(before) == sorted(path.removeprefix("results/") for path in TEXTS)
    assert "Nothing to be done" in clone.snakemake(*TEXTS)
    (clone.folder / "mine.txt").write_text("red heart\n")
    output = clone.snakemake(*TEXTS, ok=False)
    assert "labels/mine.h5 is not what the config means by its name: text.file_sha256 is" in output
    assert clone.times("text/**/*.h5") == before
    (clone.folder / TEXTS[2]).unlink()
    clone.snakemake(*TEXTS)
    assert "classnames             1 text" in clone.run("oodgrid", "inspect", TEXTS[2])


def test_whatever_is_deleted_is_made_again_with_what_follows(clone):
    experiment = {
        "experiment": "mini",
        "backbones": ["tiny"],
        "id_datasets": [{"name": "concepts", "ood": {"far": ["noise"]}}],
        "methods": ["zero_shot"],
        "scores": ["mcm", {"name": "eoe", "labels": "mine"}],
        "label_lists": [{"name": "mine", "file": "mine.txt"}],
    }
    clone.write(experiment)
    (clone.folder / "mine.txt").write_text("red heart\nred square\n")
    clone.snakemake()
    assert "Nothing to be done" in clone.snakemake("-n")
    shown = {"tables", "draw", "page"}
    for name, target, made in (
        ("scores/tiny/concepts/zero_shot.parquet", "scores", {"score", "evaluate"}),
        ("metrics.parquet", "metrics", {"evaluate"}),
    ):
        file = clone.folder / "results/mini" / name
        before = file.read_bytes()
        file.unlink()
        assert clone.planned() == made | shown
        clone.snakemake(target)  # without figures, which take longest
        assert file.read_bytes() == before
    (clone.folder / "mine.txt").write_text("painting\n")
    (clone.folder / "results/text/tiny/labels/mine.h5").unlink()  # as the error advises
    assert clone.planned() == {"encode_labels", "score", "evaluate"} | shown
    clone.snakemake("metrics")
    assert file.read_bytes() != before
