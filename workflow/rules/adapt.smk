# Fine-tuning on cached features. Fitting never sees a test file, so adding an OOD set never refits.


rule fit:
    input:
        fit_input,
    output:
        f"results/{EXPERIMENT}/adapted/{{backbone}}/{{id_dataset}}/{{method}}/fit.json",
    log:
        f"results/{EXPERIMENT}/logs/adapt/{{backbone}}/{{id_dataset}}/{{method}}.fit.log",
    conda:
        environment("torch")
    threads: THREADS["adapt"]
    resources:
        **RESOURCES["adapt"],
    params:
        config=CONFIG,
        spec=spec("method", "fits"),
        code=lambda wildcards: registry.fit_code(
            experiment.method(wildcards.method).name
        ),
    shell:
        "python -m oodgrid adapt fit --config {params.config} --backbone {wildcards.backbone}"
        " --id-dataset {wildcards.id_dataset} --method {wildcards.method} --log {log}"


rule apply:
    input:
        fit=f"results/{EXPERIMENT}/adapted/{{backbone}}/{{id_dataset}}/{{method}}/fit.json",
        features=test_features,
    output:
        f"results/{EXPERIMENT}/adapted/{{backbone}}/{{id_dataset}}/{{method}}/apply.json",
    log:
        f"results/{EXPERIMENT}/logs/adapt/{{backbone}}/{{id_dataset}}/{{method}}.apply.log",
    conda:
        environment("torch")
    threads: THREADS["adapt"]
    resources:
        **RESOURCES["adapt"],
    params:
        config=CONFIG,
        spec=spec("method", "sets"),
        code=lambda wildcards: plan.apply_code(experiment.method(wildcards.method).name),
    shell:
        "python -m oodgrid adapt apply --config {params.config} --backbone {wildcards.backbone}"
        " --id-dataset {wildcards.id_dataset} --method {wildcards.method} --log {log}"
