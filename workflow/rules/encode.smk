# Images and texts through a backbone, once. Triggered by a hand-raised version only: a rerun would first delete what
# took hours. A file whose identity is not what the config means is refused before any job starts (common.smk).


rule encode_dataset:
    output:
        "results/features/{backbone}/{dataset}/train.h5",
        "results/features/{backbone}/{dataset}/val.h5",
        "results/features/{backbone}/{dataset}/test.h5",
    log:
        f"results/{EXPERIMENT}/logs/encode/{{backbone}}/{{dataset}}.log",
    wildcard_constraints:
        dataset=plan.either(plan.encoded(experiment, splits=3)),
    conda:
        "../envs/torch.yaml"
    threads: THREADS["encode"]
    resources:
        gpu=GPU,
    params:
        config=CONFIG,
        version=plan.ENCODE_VERSION,
    shell:
        "python -m oodgrid encode images --config {params.config} --backbone {wildcards.backbone}"
        " --dataset {wildcards.dataset} --log {log}"


rule encode_test_set:
    output:
        "results/features/{backbone}/{dataset}/test.h5",
    log:
        f"results/{EXPERIMENT}/logs/encode/{{backbone}}/{{dataset}}.log",
    wildcard_constraints:
        dataset=plan.either(plan.encoded(experiment, splits=1)),
    conda:
        "../envs/torch.yaml"
    threads: THREADS["encode"]
    resources:
        gpu=GPU,
    params:
        config=CONFIG,
        version=plan.ENCODE_VERSION,
    shell:
        "python -m oodgrid encode images --config {params.config} --backbone {wildcards.backbone}"
        " --dataset {wildcards.dataset} --log {log}"


rule encode_texts:
    output:
        "results/text/{backbone}/{id_dataset}.h5",
    log:
        f"results/{EXPERIMENT}/logs/encode/{{backbone}}/{{id_dataset}}.texts.log",
    wildcard_constraints:
        id_dataset=plan.either(plan.encoded_texts(experiment)),
    conda:
        "../envs/torch.yaml"
    resources:
        gpu=GPU,
    params:
        config=CONFIG,
        version=plan.ENCODE_VERSION,
    shell:
        "python -m oodgrid encode texts --config {params.config} --backbone {wildcards.backbone}"
        " --dataset {wildcards.id_dataset} --log {log}"
