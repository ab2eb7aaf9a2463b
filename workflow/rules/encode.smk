# Images and texts through a backbone, once. Triggered by a hand-raised version only, and a rerun, which would first delete
# what took hours, finds it again in results/kept. A file whose identity is not what the config means is refused before any
# job starts (common.smk). A dataset with `shards: n` is encoded by n jobs; the job of the dataset then joins them.


rule encode_shard:
    output:
        temp(pattern(paths.shard)),
    log:
        log_of("encode", "{backbone}", "{dataset}.{shard}-of-{shards}"),
    wildcard_constraints:
        shard=r"\d+",
        shards=r"\d+",
    conda:
        torch_environment("encode")
    threads: THREADS["encode"]
    resources:
        **RESOURCES["encode"],
    params:
        config=CONFIG,
    shell:
        "python -m oodgrid encode images --config {params.config} --backbone {wildcards.backbone}"
        " --dataset {wildcards.dataset} --shard {wildcards.shard}/{wildcards.shards} --manifest {output} --log {log}"


# One rule for each set of splits that a dataset can have: train, val and test, or the test split alone.
for splits, datasets in plan.encoded(experiment).items():

    rule:
        name:
            f"encode_{'_'.join(splits)}"
        input:
            shards,
        output:
            [pattern(paths.features, split=split) for split in splits],
        log:
            log_of("encode", "{backbone}", "{dataset}"),
        wildcard_constraints:
            dataset=plan.either(datasets),
        conda:
            torch_environment("encode")
        threads: THREADS["encode"]
        resources:
            **RESOURCES["encode"],
        params:
            **triggers("encode"),
            config=CONFIG,
        shell:
            "python -m oodgrid encode images --config {params.config} --backbone {wildcards.backbone}"
            " --dataset {wildcards.dataset} --log {log}"


# Of a training split (train: drawn) the images alone that the draws take. Other shots or seeds have a file of their own,
# for which only what no file has yet is encoded.
rule encode_drawn:
    output:
        pattern(paths.drawn),
    log:
        log_of("encode", "{backbone}", "{id_dataset}.drawn-{draws}"),
    wildcard_constraints:
        id_dataset=plan.either(plan.drawn(experiment)),
        draws="[0-9a-f]{8}",
    conda:
        torch_environment("encode")
    threads: THREADS["encode"]
    resources:
        **RESOURCES["encode"],
    params:
        **triggers("encode"),
        config=CONFIG,
    shell:
        "python -m oodgrid encode drawn --config {params.config} --backbone {wildcards.backbone}"
        " --dataset {wildcards.id_dataset} --log {log}"


# One rule for each kind of texts (oodgrid.texts): class names, their shuffled prompts, lists of labels that are no classes.
for source in texts.SOURCES:

    rule:
        name:
            f"encode_{source.kind}"
        output:
            str(source.path(RESULTS, "{backbone}", f"{{{source.of}}}")),
        log:
            log_of("encode", "{backbone}", f"{{{source.of}}}.{source.kind}"),
        wildcard_constraints:
            **{source.of: plan.either(plan.encoded_texts(experiment, source))},
        conda:
            torch_environment("encode")
        threads: THREADS["encode"]
        resources:
            **RESOURCES["encode"],
        params:
            **triggers("encode"),
            config=CONFIG,
            # Bound here: Snakemake makes the command when the job runs, after the loop has ended.
            texts=lambda wildcards, source=source: source.arguments(
                wildcards[source.of]
            ),
        shell:
            "python -m oodgrid encode texts --config {params.config} --backbone {wildcards.backbone}"
            " {params.texts} --log {log}"


# Corrupted versions of test images, a file and a job each, where a score looks at them.
rule encode_corrupted:
    output:
        pattern(paths.corrupted),
    log:
        log_of("encode", "{backbone}", "{dataset}.{corruption}"),
    wildcard_constraints:
        dataset=plan.either(d.name for d in plan.corruptible(experiment.datasets())),
        corruption=plan.either(plan.corrupted_words(experiment)),
    conda:
        torch_environment("encode")
    threads: THREADS["encode"]
    resources:
        **RESOURCES["encode"],
    params:
        **triggers("encode"),
        config=CONFIG,
    shell:
        "python -m oodgrid encode corrupted --config {params.config} --backbone {wildcards.backbone}"
        " --dataset {wildcards.dataset} --corruption {wildcards.corruption} --log {log}"


# Augmented views of the training images that the few-shot draws use. Other shots or seeds have a file of their own, for
# which only what no file has yet is encoded; of a dataset with `shards: n` by n jobs, too.
rule encode_views_shard:
    input:
        drawn_from,
    output:
        temp(pattern(paths.view_shard)),
    log:
        log_of(
            "encode",
            "{backbone}",
            "{id_dataset}.views-{family}-{draws}.{shard}-of-{shards}",
        ),
    wildcard_constraints:
        id_dataset=plan.either(plan.viewed(experiment)),
        draws="[0-9a-f]{8}",
        shard=r"\d+",
        shards=r"\d+",
    conda:
        torch_environment("encode")
    threads: THREADS["encode"]
    resources:
        **RESOURCES["encode"],
    params:
        config=CONFIG,
    shell:
        "python -m oodgrid encode views --config {params.config} --backbone {wildcards.backbone}"
        " --dataset {wildcards.id_dataset} --family {wildcards.family} --shard {wildcards.shard}/{wildcards.shards}"
        " --manifest {output} --log {log}"


rule encode_views:
    input:
        view_input,
    output:
        pattern(paths.views),
    log:
        log_of("encode", "{backbone}", "{id_dataset}.views-{family}-{draws}"),
    wildcard_constraints:
        id_dataset=plan.either(plan.viewed(experiment)),
        draws="[0-9a-f]{8}",
    conda:
        torch_environment("encode")
    threads: THREADS["encode"]
    resources:
        **RESOURCES["encode"],
    params:
        **triggers("encode"),
        config=CONFIG,
    shell:
        "python -m oodgrid encode views --config {params.config} --backbone {wildcards.backbone}"
        " --dataset {wildcards.id_dataset} --family {wildcards.family} --log {log}"


# Texts out of distribution, made of the training texts of each draw. Other shots or seeds have a file of their own, for which
# only what no draw gave before is encoded.
rule encode_pseudo_ood:
    input:
        drawn_from,
    output:
        pattern(paths.pseudo_ood),
    log:
        log_of("encode", "{backbone}", "{id_dataset}.pseudo-{recipe}-{draws}"),
    wildcard_constraints:
        id_dataset=plan.either(plan.pseudo_made(experiment)),
        draws="[0-9a-f]{8}",
    conda:
        torch_environment("encode")
    threads: THREADS["encode"]
    resources:
        **RESOURCES["encode"],
    params:
        **triggers("encode"),
        config=CONFIG,
    shell:
        "python -m oodgrid encode pseudo-ood --config {params.config} --backbone {wildcards.backbone}"
        " --dataset {wildcards.id_dataset} --recipe {wildcards.recipe} --log {log}"
