from __future__ import annotations

from pathlib import Path

from oodgrid import paths

R = Path("results")


def test_features_and_texts_are_shared_by_all_experiments():
    assert paths.features(R, "tiny", "concepts", "val") == R / "features/tiny/concepts/val.h5"
    assert paths.texts(R, "tiny", "concepts") == R / "text/tiny/concepts.h5"


def test_everything_else_lies_below_the_experiment():
    assert paths.fitted(R, "demo", "tiny", "c", "coop") == R / "demo/adapted/tiny/c/coop/fit.json"
    assert paths.applied(R, "demo", "tiny", "c", "coop") == R / "demo/adapted/tiny/c/coop/apply.json"
    assert paths.scores(R, "demo", "tiny", "c", "coop@epochs=5") == R / "demo/scores/tiny/c/coop@epochs=5.parquet"
    assert paths.metrics(R, "demo") == R / "demo/metrics.parquet"
    assert paths.curves(R, "demo") == R / "demo/curves.parquet"
