# Every score of every sample. The method `any` holds the scores of image features that no method changes.


rule score:
    input:
        score_input,
    output:
        f"results/{EXPERIMENT}/scores/{{backbone}}/{{id_dataset}}/{{method}}.parquet",
    log:
        f"results/{EXPERIMENT}/logs/score/{{backbone}}/{{id_dataset}}/{{method}}.log",
    conda:
        "../envs/analysis.yaml"
    threads: THREADS["score"]
    params:
        config=CONFIG,
        spec=spec("method", "sets", "units", "scores", "encoded"),
        code=code_fingerprint("oodgrid.score", "oodgrid.sampling"),
    shell:
        "python -m oodgrid score --config {params.config} --backbone {wildcards.backbone}"
        " --id-dataset {wildcards.id_dataset} --method {wildcards.method} --log {log}"
