"""Sentences of the answer. Each is made from the data, and is left out where they do not carry it."""

from __future__ import annotations

from collections import Counter

import polars as pl

from oodgrid import registry
from oodgrid.errors import OodgridError
from oodgrid.report import select, words
from oodgrid.report.evaluated import Evaluated
from oodgrid.report.names import Legend
from oodgrid.report.render import escape_markdown
from oodgrid.report.select import percent

STUDY = "Ming & Li (IJCV 2023, abstract)"


def of_pair(pair: Evaluated, legend: Legend) -> list[str]:
    """Return what the data of one pair, or the means over ID sets, say."""
    if not words.scopes(pair):
        return ["There is no near or far OOD set that could be averaged, so nothing is best."]
    makers = (best, not_distinguishable, accuracy_cost, fine_tuning, scores_won, shots, claims, optimism)
    return [sentence for maker in makers for sentence in maker(pair, legend)]


def best(pair: Evaluated, legend: Legend) -> list[str]:
    """Return the best (method, score) for near, far and overall, with interval and difference to zero-shot + MCM."""
    sentences: dict[tuple[str, str], list[str]] = {}
    for scope in words.scopes(pair):
        row = words.best_row(pair, scope)
        mean = words.at(pair.means("auroc", scope), row)
        text = f"AUROC {words.interval(mean, 'mean')}{words.against(pair, scope, row)}"
        sentences.setdefault((row["method"], row["score"]), []).append(f"{words.title(scope, mean)}: {text}")
    return [
        f"**{words.name({'method': method, 'score': score}, legend)}** is best {'; '.join(parts)}."
        for (method, score), parts in sentences.items()
    ]


def not_distinguishable(pair: Evaluated, legend: Legend) -> list[str]:
    """Return what is not distinguishable from the best overall."""
    rows = pair.differences("best", "auroc", "overall")
    ties = rows.filter("in_best_set", ~pl.col("is_best")).sort("diff", descending=True, maintain_order=True)
    if len(rows) < 2:
        return []
    if ties.is_empty():
        return [f"Each of the other {len(rows) - 1} pairs of method and score is distinguishably worse overall."]
    named = words.named([words.name(row, legend) for row in ties.iter_rows(named=True)])
    return [f"Not distinguishable from the best overall ({len(ties)} of {len(rows) - 1} others): {named}."]


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
    if not difference or difference["reference_method"] == row["method"]:
        return [f"The ID accuracy of {name} is {words.interval(accuracy, 'mean')}."]
    sure = "" if difference["distinguishable"] else ", not distinguishable once corrected for all rows"
    whose = (
        "Its ID accuracy" if (row["method"], row["score"]) == words.only_best(pair) else f"The ID accuracy of {name}"
    )
    return [f"{whose} is {words.interval(accuracy, 'mean')}, {words.points(difference)} against zero-shot{sure}."]


def fine_tuning(pair: Evaluated, legend: Legend) -> list[str]:
    """Return whether fine-tuning beat zero-shot under the same score, and by how much."""
    rows = pair.differences("zero_shot", "auroc", "overall").filter(pl.col("shots") > 0, pl.col("method") != select.ANY)
    if rows.is_empty():
        return []
    counts = words.counted(rows)
    sentences = [
        f"Fine-tuning against zero-shot under the same score: of {len(rows)} pairs of method and score "
        f"{counts['better']} are distinguishably better overall, {counts['worse']} worse, {counts['noise']} neither."
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
    if rows["score"].n_unique() < 2 or not methods:
        return []
    won = Counter(rows.filter("is_best")["score"].to_list())
    near = Counter(rows.filter("in_best_set")["score"].to_list())
    order = sorted(near, key=lambda score: (-won[score], -near[score]))
    parts = [f"{escape_markdown(legend.scores[score])} {won[score]} ({near[score]})" for score in order]
    return [
        f"Scores, by for how many of the {methods} methods each is best overall (in brackets: best or not "
        f"distinguishable from it): {words.named(parts)}."
    ]


def shots(pair: Evaluated, legend: Legend) -> list[str]:
    """Return what more shots do, from the fewest to the most."""
    score = select.default_score(pair.metrics)
    found = []
    for metric, scope, what in (("auroc", "overall", "overall AUROC"), ("id_accuracy", "id", "ID accuracy")):
        rows = pair.every_mean(metric, scope).filter(pl.col("shots") > 0, pl.col("method") != select.ANY)
        rows = rows.filter(pl.col("score") == score) if metric == "auroc" else rows
        trends: dict[str, list[str]] = {"up": [], "down": [], "flat": []}
        for _, of in rows.group_by("method", maintain_order=True):
            if len(of) > 1 and of["lo"].null_count() == 0:
                first, last = of.sort("shots").row(0, named=True), of.sort("shots").row(-1, named=True)
                apart = "up" if last["lo"] > first["hi"] else "down" if last["hi"] < first["lo"] else "flat"
                change = percent(last["mean"] - first["mean"], 1, signed=True)
                trends[apart].append(f"{words.method(last, legend)} {change}")
        count = sum(map(len, trends.values()))
        if count:
            ends = f"from {rows['shots'].min()} to {rows['shots'].max()} shots"
            under = f" under {escape_markdown(legend.scores[score])}" if metric == "auroc" else ""
            rises = f"rises for {len(trends['up'])} of {count} methods{words.listed(trends['up'])}"
            falls = f"falls for {len(trends['down'])}{words.listed(trends['down'])}"
            found.append(f"Shots: {ends} {what}{under} {rises} and {falls}, by more than the 95 % intervals.")
    return found


def claims(pair: Evaluated, legend: Legend) -> list[str]:
    """Return what the study says, and beside it what this run shows."""
    found = []
    by_score = pair.differences("best_of_method", "auroc", "overall").filter(pl.col("method") != select.ANY)
    mcm = by_score.filter(pl.col("base_score") == "mcm")
    if len(mcm) and by_score["score"].n_unique() > 1:
        among = mcm.filter("in_best_set")["method"].n_unique()
        lead = by_score.group_by("method").agg(pl.col("diff").min().abs())["diff"]
        found.append(
            f"{STUDY}: the choice of the score is essential, and MCM does well throughout. Here the best and the worst "
            f"score of a method are {percent(lead.min(), 1)} to {percent(lead.max(), 1)} points apart, and MCM is "
            f"among the best for {among} of {mcm['method'].n_unique()} methods."
        )
    tuned = pair.differences("zero_shot_mcm", "auroc", "overall").filter(
        pl.col("base_score") == "mcm", pl.col("shots") > 0, pl.col("method") != select.ANY
    )
    if len(tuned):
        counts = words.counted(tuned)
        found.append(
            f"{STUDY}: fine-tuning improves OOD detection over zero-shot. Here, under MCM, {counts['better']} of "
            f"{len(tuned)} fits are distinguishably better, {counts['worse']} worse."
        )
        found += _prompts(pair, tuned, legend)
    return found


def optimism(pair: Evaluated, legend: Legend) -> list[str]:
    """Return that the best was chosen by OOD results, and what that is worth."""
    row = words.best_row(pair, "overall")
    if row["rows"] < 2 or row["optimism"] is None:
        return []
    digits = 1 if row["optimism"] >= 0.0005 else 2
    return [
        f"Mind: the best was chosen among {row['rows']} by the OOD results that it is judged by, which is expected to "
        f"overstate its overall AUROC by about {percent(row['optimism'], digits)} points; on other OOD sets "
        "another may win."
    ]


def over_pairs(evaluated: Evaluated, pairs: list[tuple[str, str]], legend: Legend) -> list[str]:
    """Return what all pairs say together: who is among the best how often, and which backbone is better."""
    among: Counter[tuple[str, str]] = Counter()
    better = counted = 0
    for pair in pairs:
        one = evaluated.pair(*pair)
        rows = one.differences("best", "auroc", "overall")
        among.update(rows.filter("in_best_set").select("method", "score").rows())
        best_one = rows.filter("is_best").head(1)
        against = one.differences("zero_shot_mcm", "auroc", "overall")
        there = against.join(best_one, on=["method", "shots", "score"], how="semi")
        counted += len(there)
        better += len(there.filter("distinguishable", pl.col("diff") > 0))
    found = []
    if counted:
        found.append(f"The best is distinguishably better than zero-shot with MCM for {better} of {counted} pairs.")
    parts = [
        f"{words.name({'method': method, 'score': score}, legend)} {count}"
        for (method, score), count in among.most_common(words.NAMED)
    ]
    if parts:
        found.append(f"Best or not distinguishable from the best overall, of {len(pairs)} pairs: {', '.join(parts)}.")
    return found + _backbones(evaluated, pairs) + _ranked(evaluated, legend)


# ------------------------------------------------------------------------------------------------------- parts


def _best_of_both(pair: Evaluated, legend: Legend) -> list[str]:
    """Return how the best fine-tuned row and the best zero-shot row differ, one of them being the best of all."""
    rows = pair.differences("best", "auroc", "overall").filter(pl.col("method") != select.ANY)
    first = words.best_row(pair, "overall")
    zero = first["base_method"] == "zero_shot"
    others = rows.filter((pl.col("base_method") == "zero_shot") != zero)
    if first["method"] == select.ANY or others.is_empty():
        return []
    row = others.sort("diff", descending=True, maintain_order=True).row(0, named=True)
    sure = "distinguishable" if row["distinguishable"] else "not distinguishable"
    tuned, shot = (row, first) if zero else (first, row)
    return [
        f"Each at its best score: fine-tuned ({words.name(tuned, legend)}) against zero-shot "
        f"({words.name(shot, legend)}) {words.points(row, flip=not zero)}, {sure}."
    ]


def _prompts(pair: Evaluated, tuned: pl.DataFrame, legend: Legend) -> list[str]:
    """Return whether learned prompts improve both ID accuracy and OOD detection."""
    learners = [name for name in tuned["base_method"].unique(maintain_order=True) if _learns_prompts(name)]
    rows = tuned.filter(pl.col("base_method").is_in(learners))
    accuracy = pair.differences("zero_shot", "id_accuracy", "id")
    both = []
    for row in rows.iter_rows(named=True):
        of = words.at(accuracy, row, of_score=False)
        if of:
            both.append(row["diff"] > 0 and of["diff"] > 0 and row["distinguishable"] and of["distinguishable"])
    if not both:
        return []
    return [
        f"{STUDY}: prompt learning improves both ID accuracy and OOD detection. Here {sum(both)} of {len(both)} "
        f"learned prompts distinguishably improve both over zero-shot with MCM."
    ]


def _learns_prompts(method: str) -> bool:
    try:
        return "text_tower" in registry.find("method", method).needs
    except OodgridError:  # a plugin of another experiment
        return False


def _backbones(evaluated: Evaluated, pairs: list[tuple[str, str]]) -> list[str]:
    """Return the AUROC of zero-shot with MCM by backbone, over the ID sets that all have."""
    by_set: dict[str, list[str]] = {}
    for backbone, id_dataset in pairs:
        by_set.setdefault(id_dataset, []).append(backbone)
    names = list(dict.fromkeys(backbone for backbone, _ in pairs))
    if len(names) < 2:
        return []
    found = []
    for id_dataset, backbones in by_set.items():
        parts = []
        for backbone in backbones if len(backbones) > 1 else []:
            means = evaluated.pair(backbone, id_dataset).means("auroc", "overall")
            row = means.filter(pl.col("base_method") == "zero_shot", pl.col("base_score") == "mcm").head(1)
            parts += [
                f"{escape_markdown(backbone)} {words.interval(each, 'mean')}" for each in row.iter_rows(named=True)
            ]
        if len(parts) > 1:
            found.append(f"Zero-shot with MCM on {escape_markdown(id_dataset)}, overall AUROC: {', '.join(parts)}.")
    claim = f"{STUDY}: larger backbones detect better; compare the lines of zero-shot above."
    return [*found, claim] if found else []


def _ranked(evaluated: Evaluated, legend: Legend) -> list[str]:
    """Return who ranks first over ten ID sets or more, and from whom the ranks do not tell it apart."""
    found = []
    for ranks in evaluated.ranks:
        if (ranks.scope, ranks.metric, ranks.score) == ("overall", "auroc", None) and ranks.names:
            size = next((last for first, last in ranks.groups if first == 0), 0)
            lead = words.name(dict(zip(("method", "score"), ranks.names[0], strict=True)), legend)
            found.append(
                f"Ranks over {ranks.id_datasets} ID sets with {escape_markdown(ranks.backbone)}: {lead} is first (mean "
                f"rank {ranks.mean_ranks[0]:.1f}); {size} others are within the critical difference of "
                f"{ranks.critical_difference:.1f} (Friedman p = {ranks.friedman_p:.2g})."
            )
    return found
