# Every score of every sample. The method `any` holds the scores of image features that no method changes. Transductive
# scores, which depend on the samples before, have a table of their own.


rule score:
    input:
        score_input,
    output:
        [pattern(table) for table in plan.score_tables(experiment)],
    log:
        log_of("score", "{backbone}", "{id_dataset}", "{method}"),
    conda:
        score_environment()
    threads: THREADS["score"]
    resources:
        **RESOURCES["score"],
    params:
        **triggers("score"),
        config=CONFIG,
    shell:
        "python -m oodgrid score --config {params.config} --backbone {wildcards.backbone}"
        " --id-dataset {wildcards.id_dataset} --method {wildcards.method} --log {log}"
