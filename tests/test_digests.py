"""The digests beside the files of a report: any edit is seen, whatever its time says."""

from __future__ import annotations

import os

import numpy as np
import pytest

from oodgrid import digests, store
from oodgrid.errors import OodgridError
from oodgrid.inspection import checkable, verify


@pytest.fixture
def report(tmp_path):
    """A folder with three files of a part of a report, and the file from which they were made."""
    rng = np.random.default_rng(0)
    for name in ("tables/a b/main.csv", "tables/a b/main.tex", "tables/ü/full.csv", "metrics.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(rng.bytes(500))
    manifest = tmp_path / "tables.digests.json"
    digests.write(manifest, sorted(tmp_path.rglob("tables/*/*")), [tmp_path / "metrics.parquet"])
    return manifest


def test_any_changed_byte_of_any_file_is_seen(report):
    assert digests.check(report) == 3
    rng = np.random.default_rng(1)
    files = sorted(report.parent.rglob("tables/*/*"))
    for _ in range(200):
        file = files[rng.integers(len(files))]
        whole, stat = file.read_bytes(), file.stat()
        at = int(rng.integers(len(whole)))
        flipped = whole[:at] + bytes([whole[at] ^ int(rng.integers(1, 256))]) + whole[at + 1 :]
        edits = [flipped, whole[:at], whole + b"1"]
        file.write_bytes(edits[rng.integers(3)])
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        with pytest.raises(OodgridError, match=r"is not as it was written\. Delete it, and the next run") as error:
            verify(report)
        assert str(file) in str(error.value)
        file.write_bytes(whole)
    assert digests.check(report) == 3


def test_several_files_are_named_and_missing_ones_are_left_to_snakemake_where_it_runs(report):
    first, second, third = sorted(report.parent.rglob("tables/*/*"))
    first.unlink()
    assert digests.check(report, missing=False) == 3
    second.write_text("edited")
    with pytest.raises(OodgridError, match=r"main.csv, .*main.tex are not as they were written. Delete them"):
        digests.check(report)
    with pytest.raises(OodgridError, match=r"main.tex is not as"):
        digests.check(report, missing=False)
    assert third.exists()


def test_another_source_is_seen_where_its_time_does_not_tell(report):
    source = report.parent / "metrics.parquet"
    source.write_text("other")
    os.utime(source, ns=(0, report.stat().st_mtime_ns + 10**9))
    assert digests.check(report) == 3  # newer: Snakemake sees it
    os.utime(source, ns=(0, report.stat().st_mtime_ns - 10**9))
    with pytest.raises(OodgridError, match=r"tables of .* were made from another metrics.parquet.*Delete "):
        digests.check(report)


def test_a_folder_of_results_is_checked_whole(report):
    (report.parent / "metrics.parquet").unlink()
    store.write_json(report.parent / "adapted" / "fit.json", {"units": []})
    assert [file.name for file in checkable(report.parent)] == ["fit.json", "tables.digests.json"]
    (report.parent / "report.html").write_text("page")
    with pytest.raises(OodgridError, match=r"page.digests.json is missing, which says what report.html should be"):
        checkable(report.parent)
    (report.parent / "empty").mkdir()
    with pytest.raises(OodgridError, match="holds no results"):
        checkable(report.parent / "empty")
