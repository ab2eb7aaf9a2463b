# Metrics with intervals, and the curves that figures draw. One job, where everything meets, on all cores.


rule evaluate:
    input:
        score_files(),
    output:
        f"results/{EXPERIMENT}/metrics.parquet",
        f"results/{EXPERIMENT}/curves.parquet",
    log:
        f"results/{EXPERIMENT}/logs/evaluate.log",
    conda:
        environment("analysis")
    threads: THREADS["evaluate"]
    resources:
        **RESOURCES["evaluate"],
    params:
        config=CONFIG,
        spec=spec("pairs", "scores"),
        code=code_fingerprint("oodgrid.evaluate"),
    shell:
        "python -m oodgrid evaluate --config {params.config} --log {log}"
