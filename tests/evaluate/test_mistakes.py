from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from oodgrid.evaluate.mistakes import MOST, mistaken

scores = st.lists(st.sampled_from([-2.0, -0.0, 0.0, 0.5, 1.0]) | st.floats(-1e300, 1e300), min_size=1, max_size=40)


@given(scores, scores)
def test_the_most_mistaken_are_those_that_sorting_puts_first(id_scores, ood_scores):
    sides = [
        pl.DataFrame({"path": [f"{name}/{row}" for row in range(len(values))], "mcm": values})
        for name, values in (("id", id_scores), ("ood", ood_scores))
    ]
    found = mistaken(*sides, "mcm")
    for side, sign, values, key in zip(sides, (1, -1), (id_scores, ood_scores), ("id", "ood"), strict=True):
        order = np.argsort(sign * np.array(values), kind="stable")[:MOST]
        expected = [{"path": side["path"][int(row)], "score": values[row]} for row in order]
        assert found[f"mistaken_{key}"] == expected
