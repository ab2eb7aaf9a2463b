# Fine-tuning on cached features. Fitting never sees a test file, so adding an OOD set never refits.


rule fit:
    input:
        fit_input,
    output:
        pattern(paths.fitted),
    log:
        log_of("adapt", "{backbone}", "{id_dataset}", "{method}.fit"),
    conda:
        torch_environment("adapt")
    threads: THREADS["adapt"]
    resources:
        **RESOURCES["adapt"],
    params:
        **triggers("fit"),
        config=CONFIG,
    shell:
        "python -m oodgrid adapt fit --config {params.config} --backbone {wildcards.backbone}"
        " --id-dataset {wildcards.id_dataset} --method {wildcards.method} --log {log}"


rule apply:
    input:
        fit=pattern(paths.fitted),
        features=test_features,
        parts=applied_parts,
    output:
        pattern(paths.applied),
    log:
        log_of("adapt", "{backbone}", "{id_dataset}", "{method}.apply"),
    conda:
        torch_environment("adapt")
    threads: THREADS["adapt"]
    resources:
        **RESOURCES["adapt"],
    params:
        **triggers("apply"),
        config=CONFIG,
    shell:
        "python -m oodgrid adapt apply --config {params.config} --backbone {wildcards.backbone}"
        " --id-dataset {wildcards.id_dataset} --method {wildcards.method} --log {log}"
