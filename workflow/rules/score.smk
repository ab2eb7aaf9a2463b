# Every score of every sample. The method `any` holds the scores of image features that no method changes. Transductive
# scores, which depend on the samples before, have a table of their own.
SCORE_TABLES = [
    f"results/{EXPERIMENT}/scores/{{backbone}}/{{id_dataset}}/{{method}}{kind}.parquet"
    for kind in (("", ".streams") if grid.has_streams(experiment) else ("",))
]


rule score:
    input:
        score_input,
    output:
        SCORE_TABLES,
    log:
        f"results/{EXPERIMENT}/logs/score/{{backbone}}/{{id_dataset}}/{{method}}.log",
    conda:
        environment("analysis")
    threads: THREADS["score"]
    resources:
        **RESOURCES["score"],
    params:
        config=CONFIG,
        spec=spec("method", "sets", "units", "scores", "encoded"),
        code=plan.score_code(experiment),
    shell:
        "python -m oodgrid score --config {params.config} --backbone {wildcards.backbone}"
        " --id-dataset {wildcards.id_dataset} --method {wildcards.method} --log {log}"
