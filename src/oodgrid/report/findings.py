"""Sentences of the answer. Each is made from the data, and is left out where they do not carry it."""

from __future__ import annotations

from collections import Counter

import polars as pl

from oodgrid.counts import counted
from oodgrid.report import select, words
from oodgrid.report.claims import SUMMARY, claims
from oodgrid.report.evaluated import Evaluated
from oodgrid.report.names import Legend
from oodgrid.report.render import escape_markdown
from oodgrid.report.select import percent


def of_pair(pair: Evaluated, legend: Legend) -> list[str]:
    """Return what the data of one pair, or the means over ID sets, say."""
    if not words.scopes(pair):
        why = (
            "There is no near or far OOD set that could be averaged"
            if len(select.ok(pair.metrics))
            else "Nothing worked"
        )
        return [f"{why}, so nothing is best.", *lacking(pair, legend)]
    if words.all_alike(pair, "overall"):
        return [sentence for maker in (best, chance, lacking) for sentence in maker(pair, legend)]
    makers = (
        best,
        chance,
        not_distinguishable,
        accuracy_cost,
        fine_tuning,
        scores_won,
        shots,
        claims,
        optimism,
        lacking,
    )
    return [sentence for maker in makers for sentence in maker(pair, legend)]


def best(pair: Evaluated, legend: Legend) -> list[str]:
    """Return the best (method, score) for near, far and overall, with interval and difference to zero-shot + MCM."""
    if len(pair.differences("best", "auroc", "overall")) == 1:
        row = words.best_row(pair, "overall")
        mean = words.at(pair.means("auroc", "overall"), row)
        shown = f"{words.title(pair, 'overall', mean)}: AUROC {words.interval(mean, 'mean')}"
        return [f"{words.name(row, legend)} is the only {words.PAIR} that has a result; {shown}."]
    sentences: dict[tuple[str, str], list[str]] = {}
    alike = []
    for scope in words.scopes(pair):
        row = words.best_row(pair, scope)
        mean = words.at(pair.means("auroc", scope), row)
        if words.all_alike(pair, scope):
            every = f"All {counted(len(pair.differences('best', 'auroc', scope)), words.PAIR)} have the same AUROC"
            alike.append(f"{every} {words.title(pair, scope, mean)}: {words.interval(mean, 'mean')}.")
            continue
        text = f"AUROC {words.interval(mean, 'mean')}{words.against(pair, scope, row)}{_as_good(pair, scope)}"
        sentences.setdefault((row["method"], row["score"]), []).append(f"{words.title(pair, scope, mean)}: {text}")
    return alike + [
        f"**{words.name({'method': method, 'score': score}, legend)}** is best {'; '.join(parts)}."
        for (method, score), parts in sentences.items()
    ]


def chance(pair: Evaluated, legend: Legend) -> list[str]:
    """Return whether the best is no better than chance, and what is worse: its scores may have the wrong sign."""
    every, lines = pair.means("auroc", "overall"), []
    best_mean = words.at(every, words.best_row(pair, "overall"))
    if best_mean and best_mean["lo"] is not None and best_mean["lo"] <= words.CHANCE <= best_mean["hi"]:
        lines.append("The best is not distinguishable from chance, which is an AUROC of 50.")
    rows = every.filter(pl.coalesce("hi", "mean") < words.CHANCE)
    if len(rows):
        named = words.named([words.name(row, legend) for row in rows.iter_rows(named=True)])
        of_all = counted(len(every), words.PAIR)
        lines.append(
            f"Worse than chance, the whole 95 % interval below an AUROC of 50: {len(rows)} of {of_all} ({named})."
        )
    return lines


def not_distinguishable(pair: Evaluated, legend: Legend) -> list[str]:
    """Return what is not distinguishable from the best overall."""
    rows = pair.differences("best", "auroc", "overall")
    ties = rows.filter("in_best_set", ~pl.col("is_best")).sort("diff", descending=True, maintain_order=True)
    if len(rows) < 2:
        return []
    if ties.is_empty():
        others = "The other" if len(rows) == 2 else f"Each of the other {counted(len(rows) - 1, words.PAIR)}"
        return [f"{others} is distinguishably worse overall."]
    named = words.named([words.name(row, legend) for row in ties.iter_rows(named=True)])
    others = counted(len(rows) - 1, "other")
    return [f"Not distinguishable from the best overall ({len(ties)} of {others}): {named}."]


def accuracy_cost(pair: Evaluated, legend: Legend) -> list[str]:
    """Return what the best overall costs in ID accuracy."""
    row = words.best_row(pair, "overall")
    accuracy = words.at(pair.means("id_accuracy", "id"), row, of_score=False)
    difference = words.at(pair.differences("zero_shot", "id_accuracy", "id"), row, of_score=False)
    name = words.name(row, legend)
    if row["method"] == select.ANY:
        return [f"{name} needs no classifier, so it costs no ID accuracy."]
    if not accuracy:
        return []
    if row["base_method"] == "zero_shot":
        return [f"{name} fits nothing: its ID accuracy is {words.interval(accuracy, 'mean')}."]
    if not difference:
        return [f"The ID accuracy of {name} is {words.interval(accuracy, 'mean')}; there is no zero-shot beside it."]
    whose = (
        "Its ID accuracy" if (row["method"], row["score"]) == words.only_best(pair) else f"The ID accuracy of {name}"
    )
    against = f"{words.points(difference)} against zero-shot{words.unsure(difference)}"
    return [f"{whose} is {words.interval(accuracy, 'mean')}, {against}."]


def fine_tuning(pair: Evaluated, legend: Legend) -> list[str]:
    """Return whether fine-tuning beat zero-shot under the same score, and by how much."""
    rows = pair.differences("zero_shot", "auroc", "overall").filter(pl.col("shots") > 0, pl.col("method") != select.ANY)
    if rows.is_empty():
        return []
    counts = words.counted(rows)
    sentences = [
        f"Fine-tuning against zero-shot under the same score: of {counted(len(rows), words.PAIR)}, distinguishably "
        f"better overall: {counts['better']}; worse: {counts['worse']}; neither: {counts['noise']}."
    ]
    score = select.default_score(pair.metrics)
    under = rows.filter(pl.col("score") == score).sort("diff", descending=True, maintain_order=True)
    parts = [
        f"{words.method(row, legend)} {words.points(row)}" for row in under.head(words.NAMED).iter_rows(named=True)
    ]
    if parts:
        more = f", and {len(under) - words.NAMED} more below" if len(under) > words.NAMED else ""
        title = escape_markdown(legend.scores[score])
        sentences.append(f"Under {title} ({select.why_score(score)}), to zero-shot: {'; '.join(parts)}{more}.")
    return sentences + _best_of_both(pair, legend)


def scores_won(pair: Evaluated, legend: Legend) -> list[str]:
    """Return which score is best for how many methods."""
    rows = pair.differences("best_of_method", "auroc", "overall").filter(pl.col("method") != select.ANY)
    methods = rows["method"].n_unique()
    if rows["score"].n_unique() < 2 or methods < 2:
        return []
    won = Counter(rows.filter(pl.col("is_best") | pl.col("tied_best").fill_null(False))["score"].to_list())
    near = Counter(rows.filter("in_best_set")["score"].to_list())
    order = sorted(near, key=lambda score: (-won[score], -near[score]))
    parts = [f"{escape_markdown(legend.scores[score])} {won[score]} ({near[score]})" for score in order]
    return [
        f"For how many of {counted(methods, 'method')} a score is best overall (in brackets: best or not "
        f"distinguishable from the best): {words.named(parts)}."
    ]


def shots(pair: Evaluated, legend: Legend) -> list[str]:
    """Return what more shots do, from the fewest to the most."""
    score = select.default_score(pair.metrics)
    lines = []
    for metric, scope, what in (("auroc", "overall", "overall AUROC"), ("id_accuracy", "id", "ID accuracy")):
        rows = pair.every_mean(metric, scope).filter(pl.col("shots") > 0, pl.col("method") != select.ANY)
        rows = rows.filter(pl.col("score") == score) if metric == "auroc" else rows
        ends = rows.select(pl.min("shots").alias("fewest"), pl.max("shots").alias("most")).row(0)
        trends: dict[str, list[str]] = {"up": [], "down": [], "flat": []}
        for _, of in rows.filter(pl.col("shots").is_in(ends), pl.col("lo").is_not_null()).group_by(
            "method", maintain_order=True
        ):
            if len(of) > 1:
                first, last = of.sort("shots").rows(named=True)
                apart = "up" if last["lo"] > first["hi"] else "down" if last["hi"] < first["lo"] else "flat"
                change = percent(last["mean"] - first["mean"], 1, signed=True)
                trends[apart].append(f"{words.method(last, legend)} {change}")
        count = sum(map(len, trends.values()))
        if count:
            under = f" under {escape_markdown(legend.scores[score])}" if metric == "auroc" else ""
            rises = f"rises for {len(trends['up'])} of {counted(count, 'method')}{words.listed(trends['up'])}"
            falls = f"falls for {len(trends['down'])}{words.listed(trends['down'])}"
            lines.append(
                f"Shots: from {ends[0]} to {ends[1]} shots {what}{under} {rises} and {falls}, counted where the 95 % "
                "intervals do not overlap."
            )
    return lines


def optimism(pair: Evaluated, legend: Legend) -> list[str]:
    """Return that the best was chosen by OOD results, and what that is worth."""
    row = words.best_row(pair, "overall")
    if row["rows"] < 2 or row["optimism"] is None:
        return []
    return [
        f"Mind: the best was chosen among {row['rows']} by the OOD results that it is judged by, which is expected to "
        f"overstate its overall AUROC by {words.optimism(row['optimism'])}; on other OOD sets "
        "another may win."
    ]


def lacking(pair: Evaluated, legend: Legend) -> list[str]:
    """Return how much gave no number, and which methods gave none at all."""
    rows = pair.metrics
    none = rows.filter(pl.col("status") != "ok")
    if none.is_empty():
        return []
    silent = (
        rows.group_by("method", maintain_order=True).agg((pl.col("status") != "ok").all().alias("all")).filter("all")
    )
    named = words.named([words.method(row, legend) for row in silent.iter_rows(named=True)])
    whole = f", among them every one of {named}" if len(silent) else ""
    return [f"Without a number: {len(none)} of {counted(len(rows), 'result')}{whole}; skipped.md has the reasons."]


def over_pairs(evaluated: Evaluated, pairs: list[tuple[str, str]], legend: Legend) -> list[str]:
    """Return what all pairs say together: who is among the best how often, and which backbone is better."""
    among: Counter[tuple[str, str]] = Counter()
    better = clear = 0
    for pair in pairs:
        one = evaluated.pair(*pair)
        rows = one.differences("best", "auroc", "overall")
        among.update(rows.filter("in_best_set").select("method", "score").rows())
        best_one = rows.filter("is_best").head(1)
        against = one.differences("zero_shot_mcm", "auroc", "overall")
        there = against.join(best_one, on=["method", "shots", "score"], how="semi")
        clear += len(there)
        better += len(there.filter("distinguishable", pl.col("diff") > 0))
    lines = []
    if clear:
        of_pairs = counted(clear, "pair")
        lines.append(f"The best is distinguishably better than zero-shot with MCM for {better} of {of_pairs}.")
    parts = [
        f"{words.name({'method': method, 'score': score}, legend)} {count}"
        for (method, score), count in among.most_common(words.NAMED)
    ]
    if parts:
        lines.append(
            f"Best or not distinguishable from the best overall, of {counted(len(pairs), 'pair')}: {', '.join(parts)}."
        )
    return lines + _backbones(evaluated, pairs) + _ranked(evaluated, legend)


# ------------------------------------------------------------------------------------------------------- parts


def _as_good(pair: Evaluated, scope: str) -> str:
    """Return how many rows have the same number as the best, which is then the first listed of them."""
    same = len(pair.differences("best", "auroc", scope).filter("tied_best", ~pl.col("is_best")))
    return f" (the first listed of {same + 1} with that same number)" if same else ""


def _best_of_both(pair: Evaluated, legend: Legend) -> list[str]:
    """Return how the best fine-tuned row and the best zero-shot row differ, one of them being the best of all."""
    rows = pair.differences("best", "auroc", "overall").filter(pl.col("method") != select.ANY)
    first = words.best_row(pair, "overall")
    zero = first["base_method"] == "zero_shot"
    others = rows.filter((pl.col("base_method") == "zero_shot") != zero)
    if first["method"] == select.ANY or others.is_empty():
        return []
    row = others.sort("diff", descending=True, maintain_order=True).row(0, named=True)
    sure = words.unsure(row) or " (distinguishable)"
    tuned, shot = (row, first) if zero else (first, row)
    return [
        f"Each at its best score: fine-tuned ({words.name(tuned, legend)}) against zero-shot "
        f"({words.name(shot, legend)}) {words.points(row, flip=not zero)}{sure}."
    ]


def _backbones(evaluated: Evaluated, pairs: list[tuple[str, str]]) -> list[str]:
    """Return the AUROC of zero-shot with MCM by backbone, over the ID sets that all have."""
    by_set: dict[str, list[str]] = {}
    for backbone, id_dataset in pairs:
        by_set.setdefault(id_dataset, []).append(backbone)
    names = list(dict.fromkeys(backbone for backbone, _ in pairs))
    if len(names) < 2:
        return []
    lines = []
    for id_dataset, backbones in by_set.items():
        parts = []
        for backbone in backbones if len(backbones) > 1 else []:
            means = evaluated.pair(backbone, id_dataset).means("auroc", "overall")
            row = means.filter(pl.col("base_method") == "zero_shot", pl.col("base_score") == "mcm").head(1)
            parts += [
                f"{escape_markdown(backbone)} {words.interval(each, 'mean')}" for each in row.iter_rows(named=True)
            ]
        if len(parts) > 1:
            lines.append(f"Zero-shot with MCM on {escape_markdown(id_dataset)}, overall AUROC: {', '.join(parts)}.")
    claim = f"{SUMMARY}: larger backbones raise performance further. The lines above are of zero-shot alone."
    return [*lines, claim] if lines else []


def _ranked(evaluated: Evaluated, legend: Legend) -> list[str]:
    """Return who ranks first over ten ID sets or more, and from whom the ranks do not tell it apart."""
    lines = []
    for ranks in evaluated.ranks:
        if (ranks.scope, ranks.metric, ranks.score) == ("overall", "auroc", None) and ranks.names:
            size = next((last for first, last in ranks.groups if first == 0), 0)
            lead = words.name(dict(zip(("method", "score"), ranks.names[0], strict=True)), legend)
            lines.append(
                f"Ranks over {ranks.id_datasets} ID sets with {escape_markdown(ranks.backbone)}: {lead} is first (mean "
                f"rank {ranks.mean_ranks[0]:.1f}); {counted(size, 'other is', 'others are')} within the "
                f"critical difference of "
                f"{ranks.critical_difference:.1f} (Friedman p = {ranks.friedman_p:.2g})."
            )
    return lines
