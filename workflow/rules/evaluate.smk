# Metrics with intervals, and the curves that figures draw. One job: it is quick, and everything meets here.


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
    resources:
        **RESOURCES["evaluate"],
    params:
        **triggers("evaluate"),
        config=CONFIG,
    shell:
        "python -m oodgrid evaluate --config {params.config} --log {log}"
