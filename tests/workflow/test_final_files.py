"""Files that nothing reads again: a table, a figure, the page, metrics. Damage to them is seen, named and mended."""

from __future__ import annotations

import os
import re

import pytest

FINAL = [
    *("tables/*/*/main.csv", "tables/*/*/full.csv", "figures/*/*/roc.png", "figures/*/*/shots.svg", "report.html"),
    *("metrics.parquet", "curves.parquet", "tables.digests.json", "figures.digests.json", "page.digests.json"),
]
AT_ONCE = FINAL[:8:2]
OF_STAGES = ["scores/*/*/prototype.parquet", "adapted/*/*/prototype/fit.json", "adapted/*/*/tip_adapter/apply.json"]


def damage(file):
    """Change one digit, as a careless edit or a bad disk does, and leave the time as it was."""
    stat, data = file.stat(), bytearray(file.read_bytes())
    at = next((i for i in range(len(data) // 2, len(data)) if chr(data[i]).isdigit()), len(data) // 2)
    data[at] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*"))
            if file.is_file() and file.suffix in (".csv", ".png", ".html", ".tex", ".md")}  # fmt: skip


def damaged_and_mended(clone, patterns):
    """Damage files, see that both commands name them all, do what they advise, and compare with what was there."""
    results = clone.folder / "results/mini"
    whole = contents(results)
    files = [next(results.glob(pattern)) for pattern in patterns]
    for file in files:
        damage(file)
    for output in (clone.snakemake(ok=False), clone.run("oodgrid", "verify", "results/mini", ok=False)):
        for file in files:
            assert str(file.relative_to(clone.folder)) in output
        assert re.search("Delete (it|them), and the next run makes (it|them) again", output)
    for file in files:
        file.unlink()
    clone.snakemake()
    assert contents(results) == whole
    assert "Nothing to be done" in clone.snakemake()
    assert "DAMAGED" not in clone.run("oodgrid", "verify", "results/mini")


def test_damaged_final_files_stop_a_run_with_nothing_to_do_and_come_back_as_advised(reported):
    clone, _ = reported
    damaged_and_mended(clone, AT_ONCE)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", sorted(set(FINAL) - set(AT_ONCE)))
def test_each_final_file(reported, pattern):
    clone, _ = reported
    damaged_and_mended(clone, [pattern])


@pytest.mark.slow
def test_damage_to_what_stages_left_is_found_by_verify_and_comes_back_as_advised(reported):
    clone, _ = reported
    results = clone.folder / "results/mini"
    whole = contents(results)
    for pattern in OF_STAGES:
        file = next(results.glob(pattern))
        damage(file)
        output = clone.run("oodgrid", "verify", "results/mini", ok=False)
        assert re.search(rf"^DAMAGED +{re.escape(str(file.relative_to(clone.folder)))} is", output, re.M)
        if again := re.search(r"snakemake (--forcerun \w+) makes it again", output):
            clone.snakemake(*again[1].split())
        else:
            assert "Delete it, and the next run makes it again" in output
            file.unlink()
            clone.snakemake()
        assert "DAMAGED" not in clone.run("oodgrid", "verify", "results/mini")
        assert contents(results) == whole
