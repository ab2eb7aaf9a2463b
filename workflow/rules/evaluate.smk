# Metrics with intervals, and the curves that figures draw. One job, where everything meets, on all cores.


rule evaluate:
    input:
        score_files(),
    output:
        pattern(paths.metrics),
        pattern(paths.curves),
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
