"""Products by torch beside those by NumPy: every score through both, what is in memory, and what a job is told.

torch computes on the CPU here; no GPU was ever at hand (docs/scores.md).
"""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oodgrid import devices, manifests, paths, registry
from oodgrid.config import Choice
from oodgrid.errors import OodgridError
from oodgrid.plan.triggers import TRIGGERS
from oodgrid.score import products
from oodgrid.score.compute import Column, Scorer, fill
from oodgrid.score.contract import Bank, Head, LocalLogits, TextList, local_logits, local_negatives, normalise
from oodgrid.score.products import by_rows, computing_on, on_device, product
from oodgrid.score.references import References
from oodgrid.score.run import score
from oodgrid.score.sharing import frozen
from oodgrid.score.texts import Texts

ENTRIES = {name: each for name, each in registry.entries("score").items() if "text_tower" not in each.needs}
LISTS = {"cma": "agents", "clipn_atd": "no", "clipn_ctw": "no"}
LISTS |= dict.fromkeys(("laid_semantic", "laid_covariate"), "prompts")
FEWER = {"weiper": {"repeats": 3}, "weiper_kld": {"repeats": 3}, "neglabel": {"groups": 3}, "csp": {"groups": 3}}
CLASSES, WIDTH, SHOTS = 5, 24, 3


def inputs(samples, precision="float64", ties=False):
    """Return new inputs of all scores, and lists; with ties, samples and shots that are the same, and classes alike."""
    rng = np.random.default_rng(samples)
    centres = normalise(rng.normal(size=(CLASSES, WIDTH)))
    labels = np.repeat(np.arange(CLASSES), SHOTS)

    def around(labels, noise):
        return normalise(centres[labels] + noise * rng.normal(size=(len(labels), WIDTH)))

    shots = around(labels, 0.2)
    features = around(rng.integers(CLASSES, size=samples), 0.3)
    weights = normalise(centres + 0.1 * rng.normal(size=centres.shape))
    if ties:
        shots[1::SHOTS] = shots[::SHOTS]
        features[: samples // 2] = shots[rng.integers(len(shots), size=samples // 2)]
        weights[1] = weights[0]
    head = Head(weights, 0.01 * np.arange(CLASSES), precision)
    layers = frozen(rng.normal(size=(len(labels) + samples, 3, WIDTH)))
    values = {
        "features": frozen(features),
        "layer_features": layers[len(labels) :],
        "head": head,
        "bank": Bank(shots, labels, SHOTS, None, head, precision, layers[: len(labels)]),
        "val": Bank(around(labels, 0.2), labels, SHOTS, None, head, precision),
        "class_texts": frozen(weights.copy()),
        "prompt_variants": frozen(normalise(rng.normal(size=(2, CLASSES, WIDTH)))),
        "negative_logits": frozen(0.3 * rng.normal(size=(samples, CLASSES, 2))),
        "local_logits": local_logits(frozen(normalise(rng.normal(size=(samples, 4, WIDTH)))), head),
        "logits": frozen(head.logits(features)),
        "pair_texts": frozen(normalise(rng.normal(size=features.shape))),
        "pair_logits": frozen(rng.normal(size=samples)),
        "text_cosines": True,
    }
    patches, negatives = (
        np.random.default_rng(9).normal(size=(*shape, WIDTH)) for shape in ((samples, 4), (CLASSES, 2))
    )
    values["local_negative_logits"] = frozen(local_negatives(normalise(patches), normalise(negatives)))
    values["corrupted_features"] = frozen(normalise(features[:, None] + 0.2 * patches[:, :2]))
    values["corrupted_logits"] = head.logits(values["corrupted_features"])
    counts = {"texts": 31, "no": CLASSES, "agents": 5, "pairs": CLASSES * 31}
    texts = {name: normalise(rng.normal(size=(count, WIDTH))) for name, count in counts.items()}
    lists = {n: TextList(v, list(map(str, range(len(v)))), ["noun"] * len(v)) for n, v in texts.items()}
    prompts = frozen(rng.normal(size=(3, 1, WIDTH)) + rng.normal(size=(7, WIDTH)))
    return values, lists | {"prompts": TextList(normalise(prompts.mean(axis=0)), list("abcdefg"), [""] * 7, prompts)}


def scorer(name, lists):
    chosen = {p: "pairs" if p == "pairs" else LISTS.get(name, "texts") for p in ENTRIES[name].label_lists}
    return Scorer(Choice(name=name, **chosen, **FEWER.get(name, {})), lists, lambda need: "which is not there")


def scores_on(device, *arguments, **options):
    """Return every score of new inputs, so that nothing that was shared on another device is found again."""
    with computing_on(device):
        values, lists = inputs(*arguments, **options)
        return {name: scorer(name, lists)(values) for name in ENTRIES}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("samples", "step"), [(33, 1024), (33, 8), (32, 8), (1, 4)])
def test_every_score_of_torch_is_that_of_numpy(samples, step, ties, monkeypatch):
    monkeypatch.setattr(products, "STEP", step)
    monkeypatch.setattr(products, "STEP_OF_PATCHES", step)
    expected, found = (scores_on(device, samples, ties=ties) for device in (None, "cpu"))
    assert found.keys() == expected.keys() == ENTRIES.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_every_score_of_torch_in_float32_is_near_that_of_numpy_in_float32():
    expected, found = (scores_on(device, 20, "float32") for device in (None, "cpu"))
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=2e-4, atol=1e-5, err_msg=name)
    exact = scores_on("cpu", 20)
    assert sum(not np.array_equal(exact[name], found[name]) for name in ENTRIES) > 5


@settings(deadline=None, max_examples=60)
@given(
    values=st.lists(st.lists(st.integers(-2, 2), min_size=6, max_size=6), min_size=1, max_size=5),
    rank=st.integers(1, 6),
)
def test_of_equal_values_torch_takes_those_that_numpy_takes(values, rank):
    """Small whole numbers, whose products are exact: ties are ties on both."""
    ours = np.array(values, dtype=float)
    theirs = devices.upload(ours, "cpu")
    np.testing.assert_array_equal(products.place_of(ours, rank), products.place_of(theirs, rank).numpy())
    np.testing.assert_array_equal(products.highest(ours), products.highest(theirs).numpy())
    of_both = products.largest(ours.copy(), rank), products.largest(theirs, rank).numpy()
    np.testing.assert_array_equal(*(np.sort(each, axis=1) for each in of_both))


@pytest.mark.parametrize("device", [None, "cpu"])
def test_no_samples_have_no_scores(device):
    with computing_on(device):
        values, lists = inputs(4)
        values = {n: v[:0] if n in ("features", "logits", "negative_logits") else v for n, v in values.items()}
        for name in ("knn", "nnguide", "relation", "neglabel", "react", "weiper", "weiper_kld"):
            assert scorer(name, lists)({n: frozen(v) for n, v in values.items()}).shape == (0,), name


# ------------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize("free", [1e3, 1e5, 1e6, 1e9])
@pytest.mark.parametrize("shape", [(3000, 4), (70, 2, 4)])
def test_blocks_are_as_large_as_free_memory_lets_them_be(shape, free, monkeypatch):
    monkeypatch.setattr(devices, "free_bytes", lambda device: free)
    rows, width = np.random.default_rng(0).normal(size=shape), 500
    sizes = []

    def function(block):
        sizes.append(len(block))
        return block.sum(axis=-1)

    with computing_on("cpu"):
        np.testing.assert_allclose(on_device(function, rows, width=width), rows.sum(axis=-1))
    step = 64 if len(shape) == 3 else 1024
    assert len(set(sizes)) == 1  # the last one too: products of another shape are rounded in another way
    assert sizes[0] == 1 or sizes[0] * width * 8 * products.TEMPORARIES <= free / 2
    assert sizes[0] == step or 2 * sizes[0] * width * 8 * products.TEMPORARIES > free / 2
    assert len(sizes) == -(-shape[0] // sizes[0])


def test_a_bank_is_copied_once_and_leaves_with_its_array(monkeypatch):
    copies = []

    def upload(values, device, precision="float64"):
        tensor = torch.tensor(values, dtype=getattr(torch, precision), device=device)
        copies.append((values.shape, weakref.ref(tensor)))
        return tensor

    monkeypatch.setattr(devices, "upload", upload)
    bank = frozen(np.ones((77, 3)))
    with computing_on("cpu"):
        for _ in range(3):
            product(np.ones((5, 3)), bank)
        of_bank = [tensor for shape, tensor in copies if shape == (77, 3)]
        assert len(of_bank) == 1
        assert of_bank[0]() is not None
        del bank
        gc.collect()
        assert all(tensor() is None for _, tensor in copies)


def test_one_block_at_a_time_is_on_the_device():
    under_way, most, lock = [0], [0], threading.Lock()

    def function(block):
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        total = (block @ block.T).sum(axis=1)
        with lock:
            under_way[0] -= 1
        return total

    rows = np.random.default_rng(0).normal(size=(300, 20))
    with computing_on("cpu"), ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: on_device(function, rows, width=300), range(12)))
    assert most[0] == 1


def test_too_little_memory_is_said_in_one_line():
    def function(block):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmuch")

    with computing_on("cpu"), pytest.raises(OodgridError, match=r"^the memory of cpu is too small [^\n]*$"):
        on_device(function, np.ones((2, 2)), width=2)


# ------------------------------------------------------------------------------------------------ contracts


def test_a_users_score_is_given_an_array_of_local_logits():
    with computing_on("cpu"):
        values, lists = inputs(6)
        assert isinstance(values["local_logits"], LocalLogits)
        own = scorer("l_mcm", lists)
        own._entry = replace(own._entry, plugin="mine.py", make=lambda local: local.max(axis=(1, 2)))
        found = own(values)
    patches = inputs(6)[0]["local_logits"]
    np.testing.assert_allclose(found, patches.max(axis=(1, 2)), rtol=1e-9)


@pytest.mark.parametrize("rows", [1, 10, 64, 100, 200])
def test_blocks_of_patches_are_hardly_filled_and_their_scores_those_of_all_at_once(rows, monkeypatch):
    head = Head(normalise(np.random.default_rng(0).normal(size=(CLASSES, WIDTH))), np.zeros(CLASSES))
    patches = np.random.default_rng(1).normal(size=(300, 4, WIDTH))
    references = References(head, None, {}, Texts({}, {}, {}), True)
    # as if so many rows were wanted in a block
    monkeypatch.setattr("oodgrid.score.references.LOCAL_NUMBERS", rows * 4 * CLASSES)
    read = [(start, patches[start : start + 256]) for start in (0, 256)]  # in blocks of 256, as files are
    expected = scorer("l_mcm", {})({"local_logits": head.logits(normalise(patches))})
    for device in (None, "cpu"):
        column = Column(Choice(name="l_mcm"), str, {})
        with computing_on(device):
            blocks = list(references.local_blocks("pets", patches[:, 0], read, head, column.needs))
            made = sum(len(make()["features"]) for make, _ in blocks)
            fill([column], iter(blocks))
        np.testing.assert_allclose(column.values(), expected, rtol=1e-12)
        assert sum(count for _, count in blocks) == 300
        assert made == 320  # what is behind the last sample fills a block of 64


def test_by_numpy_several_arrays_go_side_by_side():
    first, second = np.arange(7.0), np.arange(7.0)[::-1]
    np.testing.assert_array_equal(by_rows(lambda a, b: a * b, first, second, rows=3), first * second)


# ------------------------------------------------------------------------------------------------ the stage

SCORES = [name for name, e in ENTRIES.items() if set(e.needs) <= {"logits", "features", "head", "bank"}]
STAGE = [name for name in SCORES if not ENTRIES[name].label_lists and not name.startswith("weiper")]


@pytest.fixture
def on_torch(monkeypatch):
    """A machine whose GPU is torch's CPU."""
    monkeypatch.setattr(devices, "gpu", lambda key: "cpu")


def on_gpu(experiment):
    return experiment.model_copy(update={"score_device": "gpu"})


def table_of(mini, experiment, method="prototype"):
    path = score(mini.results, experiment, "mini", "pets", method)
    assert path == paths.scores(mini.results, "mini", "mini", "pets", method)
    return manifests.read_table(path, manifests.ScoreTable)


@pytest.mark.parametrize("method", ["prototype", "any"])
def test_the_device_changes_rounding_alone_and_is_said(mini, scored, on_torch, method):
    experiment = mini.experiment(scores=STAGE, shots=(4,))
    mini.applied("prototype", "prototypes", [mini.prototypes(shots=4).fit])
    table, about = table_of(mini, on_gpu(experiment), method)
    assert set(about.fits[0].devices) == {"pets", "noise", "cars"}
    assert about.fits[0].devices["pets"] == f"cpu, torch {torch.__version__}"

    scored.clear()  # what one device has computed is not computed again on the other, and stays what it is said to be
    again, about_again = table_of(mini, experiment, method)
    assert scored == []
    assert again.equals(table)
    assert about_again.fits == about.fits

    for file in mini.kept_scores():
        file.unlink()
    paths.scores(mini.results, "mini", "mini", "pets", method).unlink()
    by_numpy, about = table_of(mini, experiment, method)
    assert about.fits[0].devices == {}
    names = [name for name in by_numpy.columns if name in STAGE]
    assert names
    for name in names:
        np.testing.assert_allclose(table[name].to_numpy(), by_numpy[name].to_numpy(), rtol=1e-9, atol=1e-12)


def test_a_machine_without_a_gpu_is_refused_in_one_line_before_anything_is_scored(mini, scored, monkeypatch):
    monkeypatch.setattr(devices, "device", lambda: "cpu")
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    with pytest.raises(OodgridError, match=r"^score_device: gpu, and torch finds no GPU on this machine: [^\n]*$"):
        table_of(mini, on_gpu(mini.experiment()))
    assert scored == []
    table_of(mini, mini.experiment())
    table_of(mini, on_gpu(mini.experiment()))  # all is kept: nothing is to be computed


def test_without_torch_the_mend_is_named(monkeypatch):
    def device():
        raise ImportError("No module named 'torch'")

    monkeypatch.setattr(devices, "device", device)
    with pytest.raises(OodgridError, match=r"score_device: gpu needs torch: pip install 'oodgrid\[encode\]'"):
        devices.gpu("score_device: gpu")


def test_the_device_makes_no_job_run_again(mini):
    experiment, names = mini.experiment(), {"backbone": "mini", "id_dataset": "pets", "method": "prototype"}
    for trigger in TRIGGERS["score"].values():
        assert trigger(experiment, **names) == trigger(on_gpu(experiment), **names)


def test_free_memory_counts_what_torch_holds_and_does_not_use(monkeypatch):
    cuda = SimpleNamespace(
        memory_reserved=lambda d: 700, memory_allocated=lambda d: 200, mem_get_info=lambda d: (1000, 9000)
    )
    monkeypatch.setattr(torch, "cuda", cuda)
    assert devices.free_bytes("cuda:1") == 1500
    assert devices.free_bytes("cpu") == float("inf")
