"""Files are read by their own names, whatever these look like, and at one place."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from oodgrid import store
from oodgrid.config import Dataset, LabelList
from oodgrid.encode.importing import import_arrays, import_clip_retrieval, import_npy, import_text
from oodgrid.encode.sources import open_split
from oodgrid.encode.text_lists import read_text_list
from oodgrid.encode.text_lists.tables import read_classes
from oodgrid.errors import OodgridError
from oodgrid.evaluate.score_files import read_scores
from oodgrid.store import frames

ROOT = Path(__file__).parents[1]
# a pattern, what it would match, or a name that a library takes for something else
STRANGE = (
    "neg[12]", "neg*", "neg?", "{neg1,neg2}", "neg%31", "a#b", "~", "~root", "new\nline", "s3:", "file:", "-x", "ä b",
)  # fmt: skip


@pytest.fixture(params=STRANGE)
def strange(request, tmp_path, monkeypatch):
    """A folder and the stem of files in it, both of that name, beside what patterns would match; the files hold 2s."""
    for decoy in ("neg1", "neg2", "neg", "negx"):
        folder = tmp_path / decoy
        folder.mkdir()
        for stem in ("neg1", "neg2", "negx", request.param.replace("/", "")):
            (folder / f"{stem}.csv").write_text("label\nwrong\n")
    folder = tmp_path / request.param
    folder.mkdir(exist_ok=True)
    for decoy in ("neg1", "neg2", "negx"):
        (folder / f"{decoy}.csv").write_text("label\nwrong\n")
        pl.DataFrame({"label": ["wrong"], "score": [1.0]}).write_parquet((folder / f"{decoy}.parquet").open("wb"))
    monkeypatch.chdir(tmp_path)
    return Path(request.param), request.param


def test_tables_of_any_name_are_read(strange):
    """By a relative path too, of which the first letters may look like an address or a home folder."""
    folder, stem = strange
    for base in (folder, folder.absolute()):
        (base / f"{stem}.csv").write_text("label\nright\n")
        frames.write_parquet(base / f"{stem}.parquet", pl.DataFrame({"label": ["right"], "score": [2.0]}))
        assert frames.read_csv(base / f"{stem}.csv")["label"].to_list() == ["right"]
        assert frames.read_parquet(base / f"{stem}.parquet")[0]["label"].to_list() == ["right"]
        assert frames.scan_parquet(base / f"{stem}.parquet").collect()["score"].to_list() == [2.0]
        assert frames.parquet_columns(base / f"{stem}.parquet") == ["label", "score"]
        assert {path.name for path in Path.cwd().iterdir()} >= {folder.name}
        for suffix in ("csv", "parquet"):
            assert read_text_list(LabelList(name="x", file=f"{base.absolute()}/{stem}.{suffix}")).names == ["right"]
            assert read_classes(base / f"{stem}.{suffix}") == ["right"]
        assert read_scores(base / f"{stem}.parquet", "score").tolist() == [2.0]
        (base / f"{stem}.csv").write_text("score\n2\n")
        assert read_scores(base / f"{stem}.csv").tolist() == [2.0]


def test_results_in_a_folder_of_any_name(strange, make_features):
    folder, stem = strange
    store.write_table(folder / f"{stem}.parquet", pl.DataFrame({"a": [1]}), {"k": 1})
    assert store.read_table(folder / f"{stem}.parquet")[0]["a"].to_list() == [1]
    store.write_features(folder / f"{stem}.h5", make_features())
    assert len(store.read_features(folder / f"{stem}.h5").labels) == 6
    store.write_arrays(folder / f"{stem}.safetensors", {"a": np.ones(1)})
    store.write_json(folder / f"{stem}.json", {"a": 1})
    assert store.read_arrays(folder / f"{stem}.safetensors")[0]["a"].tolist() == [1.0]
    assert store.read_json(folder / f"{stem}.json") == {"a": 1}


def test_imports_and_lists_of_any_name(strange, tmp_path):
    folder, stem = strange
    values = np.eye(3, dtype=np.float32)
    results = tmp_path / "results"
    np.savez(folder / f"{stem}.npz", image_features=values, labels=np.arange(3))
    np.save(folder / f"{stem}.npy", values)
    (folder / f"{stem}.txt").write_text("0\n1\n2\n")
    (folder / "img_emb").mkdir()
    (folder / "metadata").mkdir()
    np.save(folder / "img_emb" / "img_emb_0.npy", values)
    frames.write_parquet(folder / "metadata" / "metadata_0.parquet", pl.DataFrame({"image_path": ["a", "b", "c"]}))
    for written in (
        *import_arrays(results, "b", "one", folder / f"{stem}.npz", "test"),
        *import_npy(results, "b", "two", folder / f"{stem}.npy", folder / f"{stem}.txt", None, "test"),
        *import_clip_retrieval(results, "b", "three", folder, "test"),
    ):
        np.testing.assert_array_equal(store.read_features(written).image_features, values)
    import_text(results, "b", "four", folder / f"{stem}.npy", folder / f"{stem}.txt", "a {}")
    (folder / "x.png").write_bytes(b"")
    (folder / f"{stem}.csv").write_text("path\nx.png\n")
    listed = {"file": f"{folder.absolute()}/{stem}.csv", "path": "path"}
    assert open_split(Dataset(name="l", list=listed), "test").paths == ["x.png"]


POLARS = ("read_", "scan_", "write_", "sink_")


def test_polars_meets_files_at_one_place():
    """Elsewhere nobody calls what opens a file by its name."""
    found = []
    for file in sorted((ROOT / "src").rglob("*.py")):
        if file.name == "frames.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner, name = ast.unparse(node.func.value), node.func.attr
            reads = owner in ("pl", "polars") and name.startswith(POLARS)
            writes = name in ("write_csv", "write_parquet", "write_ipc", "write_json", "sink_csv", "sink_parquet")
            ours = owner.split(".")[-1] in ("frames", "store") or (name == "write_csv" and not node.args)
            if reads or (writes and not ours):
                found.append(f"{file.relative_to(ROOT)}:{node.lineno} {owner}.{name}")
            if name in ("glob", "iglob") and owner == "glob" and "sources" not in file.parts:
                found.append(f"{file.relative_to(ROOT)}:{node.lineno} glob")
    assert not found


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_ends_of_lines_in_tables(tmp_path, end):
    (tmp_path / "t.csv").write_bytes(end.join(["label,kind", '"a\rb",x', "c,y", ""]).encode())
    table = frames.read_csv(tmp_path / "t.csv", infer_schema=False)
    assert table["label"].to_list() == ["a\rb", "c"]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("label\nä\n".encode("latin-1"), "it is not UTF-8 text (byte 6): save it as UTF-8"),
        ("label\na\n".encode("utf-16"), "it is not UTF-8 text (byte 0)"),
        ("label\na\n".encode("utf-16-le"), "it holds NUL characters"),
        (b"", "cannot be read as a table"),
        (b"a,b\n1,2,3\n", "cannot be read as a table: found more fields than defined in 'Schema'"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path, raw, said):
    (tmp_path / "t.csv").write_bytes(raw)
    with pytest.raises(OodgridError) as caught:
        frames.read_csv(tmp_path / "t.csv", infer_schema=False)
    assert said in str(caught.value)
    assert "Consider" not in str(caught.value)


def test_a_pipe_is_no_table(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    for read in (frames.read_csv, frames.read_parquet, frames.scan_parquet):
        with pytest.raises(OodgridError, match="is a pipe, a socket or a device, not a file: mend the path"):
            read(tmp_path / "t.csv")
