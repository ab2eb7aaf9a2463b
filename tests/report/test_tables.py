from __future__ import annotations

import io
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from oodgrid import store
from oodgrid.report import latex, names, notes, render, select, tables
from oodgrid.report.names import Legend
from tests.report import certain

RESULTS = Path(__file__).parents[2] / "results"
OVERLAPS = {("concepts", "textures")}


def one(metrics, overlaps=frozenset(), **options):
    return certain.evaluated_of(metrics, overlaps, **options).pair("tiny", "concepts")


def values(metrics, name, **where):
    rows = [row for row in metrics.iter_rows(named=True) if all(row[key] == value for key, value in where.items())]
    return np.array([row[name] for row in rows], dtype=float)


def test_main_has_a_row_a_method_at_its_largest_shots_and_another_under_its_best_score(metrics):
    table = tables.main(one(metrics))
    rows = [
        ("zero_shot", 0, 1),
        ("prototype", 16, 3),
        ("linear_probe", 16, 3),
        ("coop", 16, 0),
        ("clip_adapter", 16, 3),
        ("tip_adapter", 16, 3),
        ("tip_adapter_f", 16, 3),
    ]
    first, *others = table.frame["block"].unique(maintain_order=True).to_list()
    assert table.frame.filter(pl.col("block") == first).select("method", "shots", "seeds").rows() == rows
    assert set(table.frame.filter(pl.col("block") == first)["score"]) == {"mcm"}
    best = table.frame.filter(pl.col("block") == others[0])
    assert best["method"].to_list() == [name for name, *_ in rows if name != "coop"] + ["any"]
    means = one(metrics).means("auroc", "overall")
    for method, score in best.select("method", "score").rows():
        of_method = means.filter(pl.col("method") == method)
        assert score == of_method.sort("mean", descending=True)["score"][0]
    assert "chosen by these OOD results" in others[0]


def test_main_numbers_are_those_of_the_metrics(metrics):
    table = tables.main(one(metrics, OVERLAPS))
    row = table.frame.filter(pl.col("method") == "tip_adapter", pl.col("score") == "mcm").row(0, named=True)
    where = {"method": "tip_adapter", "shots": 16, "score": "mcm"}
    digits, noise = (values(metrics, "auroc", ood_dataset=name, **where) for name in ("digits", "noise"))
    assert row["far.auroc"] == pytest.approx((digits + noise).mean() / 2, abs=1e-15)
    assert row["far.auroc.seed_sd"] == pytest.approx(((digits + noise) / 2).std(ddof=1), abs=1e-15)
    assert row["far.auroc.lo"] == pytest.approx(row["far.auroc"] - certain.HALF, abs=1e-15)
    accuracy = values(metrics, "id_accuracy", ood_dataset="noise", **where)
    assert row["id_accuracy"] == pytest.approx(accuracy.mean(), abs=1e-15)


def test_main_is_under_mcm_where_it_is_listed_last_and_says_why(metrics_of):
    table = tables.main(one(metrics_of(scores=("energy", "mcm"))))
    assert table.frame["score"][0] == "mcm"
    assert "MCM is the study's own score; no OOD result decided that." in table.notes
    table = tables.main(one(metrics_of(scores=("energy", "msp"))))
    assert table.frame["score"][0] == "energy"
    assert any("the first listed that worked" in note for note in table.notes)


@pytest.mark.parametrize("against", ["best_of_score", "best"])
def test_bold_is_the_best_set_of_the_family(metrics, against):
    pair = one(metrics, OVERLAPS)
    table = tables.main(pair) if against == "best_of_score" else tables.scores(pair)
    frame = table.frame.head(7) if against == "best_of_score" else table.frame  # the first of two blocks
    rows = frame.select("method", "score").rows()
    expected = pair.differences(against, "auroc", "near").filter("in_best_set").select("method", "score").rows()
    assert frame.filter("near.auroc.best").select("method", "score").rows() == [row for row in rows if row in expected]
    assert 0 < frame["near.auroc.best"].sum() < len(frame)
    assert any("Bold" in line for line in table.caption)


def untold(pair, where):
    """Return the pair as evaluate leaves it where some rates jump."""
    empty = [pl.when(~where).then(name).alias(name) for name in certain.UNTOLD]
    return replace(pair, comparisons=pair.comparisons.with_columns(empty))


def of_jumps(table):
    return [note for note in table.remarks if "jumps with its threshold" in note]


def test_where_rates_jump_nothing_is_bold_and_a_note_says_why(metrics):
    pair, rate = one(metrics), pl.col("metric") == "fpr95_id_pos"
    assert not of_jumps(tables.scores(pair))
    table = tables.scores(untold(pair, rate))
    assert table.frame["near.fpr95_id_pos.best"].null_count() == len(table.frame)
    assert table.frame["near.fpr95_ood_pos.best"].any() and table.frame["near.auroc.best"].any()
    (note,) = of_jumps(table)
    assert note.startswith(
        "FPR95 (ID pos.), Near OOD, Far OOD: no comparison, and so no bold, of any row: its rate, or"
    )
    (note,) = of_jumps(tables.scores(untold(pair, rate & (pl.col("scope") == "near"))))
    assert note.startswith("FPR95 (ID pos.), Near OOD: no comparison, and so no bold, of any row: ")
    (note,) = of_jumps(tables.scores(untold(pair, rate & (pl.col("score") == "energy"))))
    assert note.startswith("FPR95 (ID pos.), Near OOD, Far OOD: ") and "of Prototype with Energy, " not in note
    assert "Prototype with Energy, " in note and "MCM" not in note
    for typeset in (render.markdown, render.csv, render.html, latex.latex):
        assert typeset(table)


def test_where_only_the_best_of_all_jumps_the_block_under_one_score_stays_bold_and_the_note_says_which(metrics):
    pair = one(metrics)
    of_all = (pl.col("metric") == "fpr95_id_pos") & (pl.col("against") == "best")
    table = tables.main(untold(pair, of_all & (pl.col("scope") == "near")))
    first, second = (table.frame.filter(block=block) for block in table.frame["block"].unique(maintain_order=True))
    assert first["near.fpr95_id_pos.best"].any() and second["near.fpr95_id_pos.best"].null_count() == len(second)
    (note,) = of_jumps(table)
    assert note.startswith("FPR95 (ID pos.), Near OOD each under its best score: no comparison")
    assert not of_jumps(tables.sets(untold(pair, of_all)))


@pytest.mark.parametrize("seed", range(4))
def test_notes_on_jumps_name_the_numbers_without_comparison_and_no_others(metrics, seed, monkeypatch):
    monkeypatch.setattr(notes, "MOST_NAMED", 1000)
    rng, pair = np.random.default_rng(seed), one(metrics)
    drawn = pl.Series(rng.random(len(pair.comparisons)) < (0.02, 0.5)[seed % 2])
    where = pl.col("metric").str.starts_with("fpr") & pl.lit(drawn)
    for table in (tables.main(untold(pair, where)), tables.scores(untold(pair, where))):
        legend, lines = table.legend, []
        for note in of_jumps(table):
            about, rows, _ = note.split(": ")
            lines.append((about.split(", "), rows.removeprefix("no comparison, and so no bold, of ").split(", ")))
        for column, row in product(table.columns, table.frame.iter_rows(named=True)):
            scope, block = names.KINDS.get(column.scope), row.get("block", "").partition(",")[0]
            places = {scope, f"{scope} {block[:1].lower()}{block[1:]}"}
            either = {"any row", f"{legend.methods[row['method']]} with {legend.scores[row['score']]}"}
            told = any(metric == notes.SHORT[column.metric] and places & {*of} and either & {*rows}
                       for (metric, *of), rows in lines)  # fmt: skip
            if row[column.key] is not None:
                assert told == (row[f"{column.key}.best"] is None), (column.key, either, lines)


def test_a_column_of_one_row_has_no_best(metrics_of):
    table = tables.main(one(metrics_of(methods=("zero_shot",), scores=("mcm",), features=())))
    assert not table.frame["far.auroc.best"].any()


def test_sets_are_grouped_overlaps_marked_and_long_names_explained(metrics_of):
    long = "a-set-whose-name-is-too-long-for-a-header"
    sets = {"near": [long], "far": ["digits", "textures"], "covariate": ["blurred_3"]}
    table = tables.sets(one(metrics_of(sets=sets), OVERLAPS))
    assert [column.header for column in table.columns] == [
        ("Near OOD", "Set A"),
        ("Far OOD", "digits"),
        ("Far OOD", "textures†"),
        ("Covariate", "blurred_3"),
    ]
    assert [column.ranked for column in table.columns] == [True, True, False, False]
    assert {column.metric for column in table.columns} == {"auroc"}
    assert f"Set A: {long}." in table.notes
    assert "far.textures.auroc.best" not in table.frame.columns
    assert f"near.{long}.auroc_percent" in render.csv(table)


def test_scores_numbers_and_both_conventions(metrics):
    table = tables.scores(one(metrics, OVERLAPS))
    assert [column.header[1] for column in table.columns[:3]] == [
        "AUROC ↑",
        "FPR95 (ID pos.) ↓",
        "FPR95 (OOD pos.) ↓",
    ]
    row = table.frame.row(by_predicate=(pl.col("method") == "any") & (pl.col("score") == "knn"), named=True)
    sets = [values(metrics, "fpr95_ood_pos", method="any", score="knn", shots=16, ood_dataset=name)
            for name in ("digits", "noise")]  # fmt: skip
    assert row["far.fpr95_ood_pos"] == pytest.approx(np.mean(sets), abs=1e-15)
    assert table.columns[3].header[0] == "Far OOD (2 sets)"


def test_notes_say_what_is_missing_and_why(metrics):
    table = tables.main(one(metrics, OVERLAPS))
    notes = " ".join(table.notes + table.remarks)
    assert "-- no number. CoOp (MCM): needs the text tower" in notes
    assert "textures (its classes overlap the ID classes), blurred_3 (covariate shift)" in notes
    assert "Fits on 16 labelled samples per class" in notes
    assert "expected to be overstated by about 1.0 points" in notes
    assert "Standard deviation over 3 seeds: median" in notes
    assert "† Its classes overlap" in " ".join(tables.sets(one(metrics, OVERLAPS)).notes)


@pytest.mark.parametrize(("tied", "named"), [(0.0, False), (0.01, False), (0.05, True)])
def test_rows_of_many_ties_are_named(metrics, tied, named):
    remarks = " ".join(tables.main(one(metrics, tied=tied)).remarks)
    assert ("Many ties" in remarks) == named
    assert ("with MCM 5.0 %" in remarks) == named


@pytest.mark.parametrize(("fits", "words"), [("unknown", "lack the variance of fits"), ("pooled", "from the other"),
                                             ("seeds", None)])  # fmt: skip
@pytest.mark.parametrize("seeds", [(0, 1), (0, 1, 2, 3)])
def test_intervals_without_a_variance_of_fits_of_their_own_are_named(metrics, fits, words, seeds):
    remarks = " ".join(tables.main(one(metrics.filter(pl.col("seed").is_in(seeds)), fits=fits)).remarks)
    why = "One seed" if len(seeds) == 2 else "Seeds that gave equal numbers"
    assert (why in remarks) == (words is not None)
    assert words is None or words in remarks


def test_methods_of_other_largest_shots_are_named(metrics_of):
    def skip(method, shots, seed, score, ood):
        return "too many" if method == "coop" and shots > 4 else None

    notes = tables.main(one(metrics_of(methods=("zero_shot", "coop", "prototype"), skip=skip))).notes
    assert any("4: CoOp; 16: Prototype" in note for note in notes)


def test_fewer_seeds_than_asked_for_are_said(metrics_of):
    def skip(method, shots, seed, score, ood):
        return "diverged" if method == "coop" and seed == 3 else None

    table = tables.main(one(metrics_of(methods=("zero_shot", "coop"), skip=skip)))
    assert table.frame["seeds"].to_list()[:2] == [1, 2]
    assert "Incomplete, means are over what worked: CoOp (MCM, MSP): diverged." in table.remarks
    assert not any("--" in note for note in table.remarks)


def test_full_holds_every_row_and_both_rates_in_percent(metrics):
    full = tables.full(one(metrics, OVERLAPS).metrics)
    assert len(full) == len(metrics)
    assert full["auroc_percent"].to_list() == (metrics["auroc"] * 100).to_list()
    for name in ("fpr95_id_pos", "fpr95_ood_pos_hi", "aupr_in", "aupr_out", "id_accuracy"):
        assert f"{name}_percent" in full.columns
        assert name not in full.columns
    assert full.filter(pl.col("overlaps_id"))["ood_dataset"].unique().to_list() == ["textures"]


def test_fits_below_zero_shot_are_named_and_marked(metrics_of):
    made = metrics_of(methods=("zero_shot", "coop", "prototype"), shots=(1, 4), seeds=(1, 2))
    low = (pl.col("method") == "coop") & (pl.col("seed") == 2)
    made = made.with_columns(id_accuracy=pl.when(low).then(0.1234).otherwise("id_accuracy"))
    rows = one(made)
    note = tables.main(rows).remarks[-1]
    assert note.startswith("Below the ID accuracy of zero-shot (62.")
    assert note.endswith("as a collapsed fit is: CoOp 1 of 2 seeds (lowest 12.3).")
    marked = tables.full(rows.metrics).filter(pl.col("below_zero_shot"))
    assert set(marked.select("method", "shots", "seed").rows()) == {("coop", 1, 2), ("coop", 4, 2)}
    assert len(marked) == len(made.filter(low))
    assert len(tables.full(rows.metrics)) == len(made)


def test_without_zero_shot_nothing_is_below_it(metrics_of):
    rows = one(metrics_of(methods=("coop",)))
    assert not tables.full(rows.metrics)["below_zero_shot"].any()
    assert not any("Below" in note for note in tables.main(rows).remarks)


def test_skipped_unfolds_to_exactly_the_rows_without_numbers(metrics_of):
    def skip(method, shots, seed, score, ood):
        if method == "coop":
            return "no text tower"
        odd = (shots, seed, ood) in {(1, 1, "noise"), (2, 3, "noise"), (2, 3, "digits")}
        return "ragged" if odd and score in ("mcm", "entropy") else None

    rows = one(metrics_of(skip=skip)).metrics
    listed = tables.skipped(rows)
    every = " ".join(select.names(rows, "ood_dataset"))
    unfolded = [
        (line["method"], score, int(shots), int(seed), ood, line["reason"])
        for line in listed.iter_rows(named=True)
        for score in line["score"].split()
        for shots in line["shots"].split()
        for seed in line["seed"].split()
        for ood in line["ood_dataset"].replace("all", every).split()
    ]
    missing = rows.filter(pl.col("status") != "ok")
    expected = missing.select("method", "score", "shots", "seed", "ood_dataset", "reason").rows()
    assert sorted(unfolded) == sorted(expected)
    assert len(listed.filter(pl.col("method") == "coop")) == 1


FILES = {
    *(f"{name}.{suffix}" for name in ("main", "scores", "sets") for suffix in ("tex", "csv", "md", "html")),
    "main-column.tex", "full.csv", "skipped.csv", "skipped.md",
}  # fmt: skip


def test_files_of_every_pair_and_the_same_bytes_again(metrics_of, tmp_path):
    pairs = (("tiny", "concepts"), ("tiny", "digits"), ("big", "concepts"))
    metrics = metrics_of(methods=("zero_shot", "coop"), scores=("mcm", "msp"), shots=(4,), seeds=(1, 2), pairs=pairs)
    for run in ("a", "b"):
        tables.write_tables(certain.evaluated_of(metrics, OVERLAPS), tmp_path, run)
    written = {path.relative_to(tmp_path / "a"): path.read_bytes() for path in (tmp_path / "a").rglob("*.*")}
    assert {path.as_posix() for path in written} == {
        "tables/summary.md",
        *(f"tables/{backbone}/{name}/{file}" for backbone, name in pairs for file in FILES),
    }
    assert all(
        (tmp_path / "b" / path).read_bytes() == data.replace(b"tab:a:", b"tab:b:") for path, data in written.items()
    )


def test_the_order_of_rows_in_memory_chunks_changes_nothing(metrics):
    chunked = pl.concat([metrics[start : start + 97] for start in range(0, len(metrics), 97)], rechunk=False)
    assert render.csv(tables.main(one(chunked))) == render.csv(tables.main(one(metrics)))


def test_fpr95_never_stands_without_its_convention(metrics):
    rows = one(metrics, OVERLAPS)
    for table in (tables.main(rows), tables.scores(rows)):
        for text in (latex.latex(table), latex.latex(table, latex.COLUMN), render.markdown(table), render.html(table)):
            assert "FPR95" in text
            assert not re.search(r"FPR95(?!(\\\\| )\((ID|OOD)(\s|\\\\)pos\.\))", text)


def columns_of(line):
    spans = [re.match(r"\s*\\multicolumn\{(\d+)\}", cell) for cell in re.split(r"(?<!\\)&", line)]
    return sum(int(span.group(1)) if span else 1 for span in spans)


EDGES = {
    "one_method": {"methods": ("zero_shot",), "features": ()},
    "one_set": {"sets": {"far": ["digits"]}},
    "covariate_only": {"sets": {"covariate": ["blur"]}},
    "all_skipped": {"skip": lambda *_: "50% of {it} & more_of #it failed"},
    "one_seed_one_shot": {"seeds": (1,), "shots": (16,)},
    "feature_scores_only": {"methods": ()},
    "odd_names": {"scores": ("mcm@T=0.5", "a_b%"), "sets": {"near": ["x_1&y", "p#q"]}},
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("overlap_all", [False, True])
def test_edges_give_sound_tables(metrics_of, edge, overlap_all):
    metrics = metrics_of(**EDGES[edge])
    overlaps = {("concepts", name) for name in metrics["ood_dataset"].unique()} if overlap_all else set()
    for table in tables.of_pair(one(metrics, overlaps)).values():
        lines = latex.latex(table).splitlines()
        for begin, end in zip(*(starting(lines, f"\\{what}{{tabular") for what in ("begin", "end")), strict=True):
            filled = {columns_of(line) for line in lines[begin:end] if line.endswith("\\\\")}
            spec = re.sub(r">\{[^}]*\}", "", lines[begin])
            assert filled == {len(re.search(r"@\{\}([lrX]+)@\{\}", spec).group(1))}
        body = [line for line in render.markdown(table).splitlines() if line.startswith("|")]
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in body} == {len(table.stubs) + len(table.columns) + 1}
        headings = table.frame["block"].n_unique() if "block" in table.frame.columns else 0
        assert len(body) == 2 + len(table.frame) + headings
        read = pl.read_csv(io.StringIO(render.csv(table)))
        assert read.height == table.frame.height
        assert render.html(table).count("<td") == len(table.frame) * len(table.columns)


def starting(lines, text):
    return [number for number, line in enumerate(lines) if line.startswith(text)]


STRANGE = "=1+1 | <b>x</b> $a_1$ \\\\input{x} % & [y](z) `w` ~~v~~ \"q\" 'r'\n\\end{document}"


def test_words_of_users_are_words_in_every_clothing(metrics_of):
    """A reason may hold whatever a plugin said: no markup, no formula, no command, and no row of its own."""
    metrics = metrics_of(methods=("zero_shot", "mine"), shots=(1,), seeds=(1,), scores=("mcm",), features=(),
                         sets={"near": ["a"], "far": ["b"]},
                         skip=lambda method, *_: STRANGE if method == "mine" else None)  # fmt: skip
    rows = one(metrics)
    table, missing = tables.main(rows), tables.skipped(rows.metrics)
    assert "<b>" not in render.html(table)
    assert [line.count("|") - line.count("\\|") for line in render.markdown_list(missing).splitlines()] == [8, 8, 8]
    assert all(row.startswith("% ") or "=1+1" not in row or "<b>" not in row for row in latex.latex(table).splitlines())
    assert r"\end{document}" not in latex.latex(table)
    read = pl.read_csv(io.StringIO(render.inert(missing).write_csv()))
    assert read["reason"].to_list() == ["'" + STRANGE]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_a_csv_begins_as_a_formula_does(start):
    frame = pl.DataFrame({"name": [f"{start}1+1", "a=1", None], "value": [-1.0, 2.0, None]})
    assert render.inert(frame).rows() == [(f"'{start}1+1", -1.0), ("a=1", 2.0), (None, None)]


def test_an_ood_set_called_average_moves_no_average(metrics_of):
    def averages(name):
        metrics = metrics_of(methods=("zero_shot",), shots=(1,), seeds=(1,), scores=("mcm",), features=(),
                             sets={"near": ["a", "b"]})  # fmt: skip
        renamed = metrics.with_columns(pl.col("ood_dataset").replace("a", name))
        table = tables.sets(one(renamed))
        assert len({column.key for column in table.columns}) == len(table.columns)
        return [table.frame[column.key].to_list() for column in table.columns]

    assert averages("average") == averages("a")


def test_remarks_on_fits_that_worked_are_said_once_each_with_the_seeds_they_are_about(metrics):
    """Remarks of one fit are joined by semicolons in `reason`; what is not about all seeds says of how many."""
    tip, rest = pl.col("method") == "tip_adapter", pl.col("reason")
    both = pl.when(tip & (pl.col("seed") == 1)).then(pl.lit("b is at the end; a is at the end"))
    one = both.when(tip).then(pl.lit("a is at the end")).otherwise(rest)
    pair = certain.evaluated_of(metrics.with_columns(reason=one)).pair("tiny", "concepts")
    seeds = metrics.filter(tip)["seed"].n_unique()
    [note] = [note for note in tables.main(pair).remarks if note.startswith("Mind: ")]
    assert seeds > 1
    assert "Tip-Adapter: a is at the end" in note
    assert f"Tip-Adapter (1 of {seeds} seeds): b is at the end" in note
    assert note.count("a is at the end") == note.count("b is at the end") == 1


@pytest.mark.parametrize("experiment", sorted(path.parent.name for path in RESULTS.glob("*/metrics.parquet")))
def test_committed_results_are_typeset_as_those_with_bases_are(experiment):
    """Those of before December 2026 lack the columns base_method and base_score."""
    metrics, about = store.read_table(RESULTS / experiment / "metrics.parquet")
    bases = [pl.col(name).str.extract(r"(\w+)").alias(f"base_{name}") for name in ("method", "score")]
    pair, texts = select.pairs(metrics)[0], []
    for frame in (metrics, metrics.with_columns(bases)):
        whole = certain.evaluated_of(metrics.with_columns(bases), transductive=about.get("transductive", ()))
        shown = replace(whole, metrics=frame).pair(*pair).samples()
        texts.append([latex.latex(tables.main(shown)), render.markdown(tables.scores(shown))])
    assert texts[0] == texts[1]
    assert any(title in texts[0][0] for title in Legend.of(metrics).methods.values())
