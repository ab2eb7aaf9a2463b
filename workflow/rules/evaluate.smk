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
        config=CONFIG,
        spec=spec("pairs", "scores"),
        code=code_fingerprint("oodgrid.evaluate"),
    shell:
        "python -m oodgrid evaluate --config {params.config} --log {log}"
