# Metrics with intervals, means and differences with their certainty, and the curves that figures draw. One job, where
# everything meets, on all cores.


rule evaluate:
    input:
        score_files(),
    output:
        [pattern(path) for path in plan.evaluated(experiment)],
    log:
        log_of("evaluate"),
    conda:
        environment("analysis")
    threads: THREADS["evaluate"]
    resources:
        **RESOURCES["evaluate"],
    params:
        **triggers("evaluate"),
        config=CONFIG,
    shell:
        "python -m oodgrid evaluate --config {params.config} --log {log}"
