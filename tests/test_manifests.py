"""What manifests say: written and read as typed fields, older ones brought up, everything else refused in one line."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oodgrid
from oodgrid import manifests, store
from oodgrid.errors import OodgridError
from oodgrid.manifests import Applied, Digests, Fitted, Metrics, PairMetrics, ScoreTable, Shard

SOURCE = Path(oodgrid.__file__).parent
FIT = {"shots": 2, "seed": 1, "status": "ok", "reason": None}
CLASSIFIER = "kept/apply/ab/abc.safetensors"
# of each kind, what an oodgrid without versions wrote
OLD = {
    Fitted: {"method": "coop", "params": {"epochs": 2}, "fits": [{**FIT, "file": "kept/fit/a/b.st", "info": {"C": 1.5}},
             {**FIT, "status": "skipped", "reason": "no draw", "file": None}]},
    Applied: {"method": "coop", "leaves": "prototypes", "units": [{**FIT, "classifier": CLASSIFIER}, FIT]},
    ScoreTable: {"units": [{**FIT, "parts": {"own": "kept/score/a/b.parquet"}, "skipped": {"vim": "why"}}],
                 "params": {"mcm": {"T": 1.0}}, "broken_images": {"own": 2}},
    Metrics: {"overlaps": [["own", "other"]], "broken_images": [["tiny", "own", 2]], "transductive": ["adaneg"]},
    Shard: {"shard": "2/3", "datasets": ["own"]},
    Digests: {"files": {"tables/a.csv": "0" * 64}, "sources": {"metrics.parquet": "1" * 64}},
}  # fmt: skip


def write(path, found):
    """Write what may be no manifest."""
    if path.suffix == ".parquet":
        store.write_table(path, pl.DataFrame({"mcm": [0.5]}), found)
    else:
        store.write_json(path, found)


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
@pytest.mark.parametrize("model", OLD, ids=lambda model: model.__name__)
def test_files_of_today_are_read_and_written_again_in_the_words_of_now(tmp_path, model, suffix):
    path = tmp_path / f"old{suffix}"
    write(path, OLD[model])
    found = manifests.read(path, model)
    if "units" in OLD[model]:
        assert [fit.shots for fit in found.fits] == [2] * len(OLD[model]["units"])
    if suffix == ".parquet":
        assert manifests.read_table(path, model)[1] == found
        manifests.write_table(path, pl.DataFrame({"mcm": [0.5]}), found)
        said = store.read_table(path)[1]
    else:
        manifests.write(path, found)
        said = store.read_json(path)
    assert said["version"] == manifests.VERSION
    assert "units" not in said
    assert manifests.read(path, model) == found


def mutations():
    """Yield what is no manifest: the kind, what it says, and what is said of it."""
    fits = {**OLD[Applied], "version": 2, "fits": OLD[Applied]["units"]}
    del fits["units"]
    yield Applied, {}, "is no manifest of applied fits: it lacks method, leaves, fits"
    yield Applied, {**fits, "unitz": []}, "unitz is no field of it"
    yield Applied, {**fits, "units": []}, "units is no field of it"
    yield Applied, {**fits, "leaves": "nothing"}, "leaves: input should be 'prototypes', 'features' or 'logits'"
    yield Applied, {**fits, "fits": [FIT, {**FIT, "shots": "2"}]}, "fits.1.shots: input should be a valid integer"
    yield Applied, {**fits, "fits": [{**FIT, "shots": -1}]}, "fits.0.shots: input should be greater than or equal to 0"
    yield Applied, {**fits, "fits": [{**FIT, "shots": True}]}, "fits.0.shots: input should be a valid integer"
    yield Applied, {**fits, "fits": [{**FIT, "status": "fine"}]}, "fits.0.status: input should be 'ok'"
    yield Applied, {**fits, "fits": [{k: v for k, v in FIT.items() if k != "seed"}]}, "it lacks fits.0.seed"
    yield Applied, {**fits, "fits": FIT}, "fits: input should be a valid list"
    for name in ("../../etc/passwd", "/etc/passwd", "kept/../x", "kept/a/../../x", "kept", "features/x.h5", "kept//x"):
        yield Applied, {**fits, "fits": [{**FIT, "classifier": name}]}, "fits.0.classifier: string should match"
    yield Applied, {**fits, "version": 3}, "it is of version 3, which a later oodgrid wrote"
    yield Applied, {**fits, "version": "2"}, "version: input should be 2"
    yield ScoreTable, {"version": 2, "fits": [], "params": {"mcm": []}}, "params.mcm: input should be a valid dict"
    yield PairMetrics, {"mcm": {"auroc": 0.5}}, "it lacks parts, code, metrics"  # as they were kept before


@pytest.mark.parametrize(("model", "found", "said"), list(mutations()))
@pytest.mark.parametrize("name", ["adapted/coop/apply.json", "scores/coop.parquet"])
def test_anything_else_is_refused_in_one_line_that_names_file_field_and_mend(tmp_path, model, found, said, name):
    path = tmp_path / name
    write(path, found)
    with pytest.raises(OodgridError) as error:
        manifests.read(path, model)
    line = str(error.value)
    assert line.startswith(f"{path} is no {model.what}: ")
    assert said in line
    assert line.endswith("makes it again")
    assert ("snakemake --forcerun apply" in line) == (path.suffix == ".json")
    assert "\n" not in line


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), model=st.sampled_from(list(OLD)))
def test_a_manifest_with_one_value_exchanged_is_read_as_it_stands_or_refused_in_one_line(data, model):
    found = {"fits" if name == "units" else name: value for name, value in OLD[model].items()} | {"version": 2}
    name = data.draw(st.sampled_from(sorted(found)))
    value = data.draw(json_values)
    try:
        read = manifests.checked(Path("x.json"), {**found, name: value}, model)
    except OodgridError as error:
        assert name in str(error)
        assert "\n" not in str(error)
    else:
        assert read.model_dump(mode="json", exclude_unset=True)[name] == value


def test_hundreds_of_fits_are_read_in_no_time(tmp_path):
    names = [f"set-{number}" for number in range(20)]
    fits = [{**FIT, "seed": seed, "classifier": CLASSIFIER, "sets": dict.fromkeys(names, CLASSIFIER)}
            for seed in range(500)]  # fmt: skip
    found = {"version": 2, "method": "coop", "leaves": "logits", "fits": fits}
    begin = time.process_time()
    read = manifests.checked(tmp_path / "apply.json", found, Applied)
    assert time.process_time() - begin < 0.5  # some 5 ms
    assert len(read.fits[499].files) == 21


def test_manifests_are_read_and_written_nowhere_else():
    """Others would bring back dictionaries of unknown fields; inspection and the library show files as they are."""
    allowed = {SOURCE / name for name in ("manifests/files.py", "inspection.py", "cache.py")}
    allowed.add(SOURCE / "encode/text_finetuning.py")  # its record is for people: no stage reads it
    for file in sorted(SOURCE.rglob("*.py")):
        if file in allowed or file.parent.name == "store":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "store":
                forbidden = ("read_json", "write_json", "read_table", "write_table", "read_metadata")
                assert node.attr not in forbidden, f"{file.name} line {node.lineno}: use oodgrid.manifests"
