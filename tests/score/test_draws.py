"""Permutations as torch draws them."""

from __future__ import annotations

import pytest

from oodgrid.score.draws import TorchDraws


@pytest.mark.parametrize("seed", [0, 3, 2**31, 2**40 + 7])
def test_permutations_are_those_of_torch_one_after_the_other(seed):
    torch = pytest.importorskip("torch")
    theirs, ours = torch.Generator().manual_seed(seed), TorchDraws(seed)
    for count in (0, 1, 2, 7, 1000, 15):
        assert ours.permutation(count).tolist() == torch.randperm(count, generator=theirs).tolist()
