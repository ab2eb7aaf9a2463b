"""Files that nothing reads again: a table, a figure, the page, metrics. Damage to them is seen, named and mended."""

from __future__ import annotations

import os
import re
import time

FINAL = ["tables/*/*/main.csv", "tables/*/*/full.csv", "figures/*/*/roc.png", "figures/*/*/shots.svg", "report.html",
         "metrics.parquet", "curves.parquet", "tables.digests.json", "figures.digests.json", "page.digests.json"]  # fmt: skip
OF_STAGES = ["scores/*/*/prototype.parquet", "adapted/*/*/prototype/fit.json", "adapted/*/*/tip_adapter/apply.json"]


def damage(file, rng=0):
    """Change one digit, as a careless edit or a bad disk does, and leave the time as it was."""
    stat, data = file.stat(), bytearray(file.read_bytes())
    at = next((i for i in range(len(data) // 2, len(data)) if chr(data[i]).isdigit()), len(data) // 2)
    data[at] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*"))
            if file.is_file() and file.suffix in (".csv", ".png", ".html", ".tex", ".md")}  # fmt: skip


def test_a_damaged_final_file_stops_a_run_with_nothing_to_do_and_comes_back_as_advised(imported):
    clone, _ = imported
    clone.snakemake()
    results = clone.folder / "results/mini"
    whole = contents(results)
    assert "ok" in clone.run("oodgrid", "verify", "results/mini")
    started = time.monotonic()
    assert "Nothing to be done" in clone.snakemake()
    usual = time.monotonic() - started
    for pattern in FINAL:
        file = next(results.glob(pattern))
        damage(file)
        for output in (clone.snakemake(ok=False), clone.run("oodgrid", "verify", "results/mini", ok=False)):
            assert f"results/mini/{file.relative_to(results)} is" in output, pattern
            assert "Delete it, and the next run makes it again" in output, pattern
        file.unlink()
        clone.snakemake()
        assert contents(results) == whole, pattern
    assert "Nothing to be done" in clone.snakemake()
    assert usual < 60


def test_damage_to_what_stages_left_is_found_by_verify_and_comes_back_as_advised(imported):
    clone, _ = imported
    clone.snakemake()
    results = clone.folder / "results/mini"
    whole = contents(results)
    for pattern in OF_STAGES:
        file = next(results.glob(pattern))
        damage(file)
        output = clone.run("oodgrid", "verify", "results/mini", ok=False)
        assert re.search(rf"^DAMAGED +results/mini/{re.escape(str(file.relative_to(results)))} is", output, re.M)
        if again := re.search(r"snakemake (--forcerun \w+) makes it again", output):
            clone.snakemake(*again[1].split())
        else:
            assert "Delete it, and the next run makes it again" in output
            file.unlink()
            clone.snakemake()
        assert "DAMAGED" not in clone.run("oodgrid", "verify", "results/mini")
        assert contents(results) == whole


def test_tables_of_other_metrics_are_seen_where_times_do_not_tell(imported):
    clone, experiment = imported
    clone.snakemake()
    metrics = clone.folder / "results/mini/metrics.parquet"
    old, time = metrics.read_bytes(), metrics.stat().st_mtime_ns
    clone.edit("src/oodgrid/evaluate/metrics.py", "half_wins) / (2 *", "half_wins) / (4 *")
    clone.snakemake()
    metrics.write_bytes(old)  # from a backup, with its old time
    os.utime(metrics, ns=(time, time))
    output = clone.snakemake(ok=False)
    assert "were made from another metrics.parquet" in output
    digests = re.search(r"Delete (\S+), and", output)[1]
    while True:  # tables, figures and page, one after the other
        (clone.folder / digests).unlink()
        output = clone.run("oodgrid", "verify", "results/mini", ok=False)
        if "made from another" not in output:
            break
        digests = re.search(r"Delete (\S+), and", output)[1]
    assert experiment["experiment"] == "mini"
