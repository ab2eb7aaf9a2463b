# Tables, figures and a page, from metrics.parquet and curves.parquet and nothing else.


rule tables:
    input:
        f"results/{EXPERIMENT}/metrics.parquet",
    output:
        plan.table_files(RESULTS, experiment),
        paths.digests(RESULTS, EXPERIMENT, "tables"),
    log:
        f"results/{EXPERIMENT}/logs/report/tables.log",
    conda:
        environment("analysis")
    resources:
        **RESOURCES["report"],
    params:
        config=CONFIG,
        code=plan.report_code("tables", experiment),
    shell:
        "python -m oodgrid report tables --config {params.config} --log {log}"


rule draw:
    input:
        f"results/{EXPERIMENT}/metrics.parquet",
        f"results/{EXPERIMENT}/curves.parquet",
    output:
        report(
            plan.figure_files(RESULTS, experiment),
            caption="../report/figures.rst",
            category="Figures",
        ),
        paths.digests(RESULTS, EXPERIMENT, "figures"),
    log:
        f"results/{EXPERIMENT}/logs/report/figures.log",
    conda:
        environment("analysis")
    resources:
        **RESOURCES["report"],
    params:
        config=CONFIG,
        code=plan.report_code("figures", experiment),
    shell:
        "python -m oodgrid report figures --config {params.config} --log {log}"


rule page:
    input:
        f"results/{EXPERIMENT}/metrics.parquet",
        figure_files(),
    output:
        f"results/{EXPERIMENT}/report.html",
        paths.digests(RESULTS, EXPERIMENT, "page"),
    log:
        f"results/{EXPERIMENT}/logs/report/page.log",
    conda:
        environment("analysis")
    resources:
        **RESOURCES["report"],
    params:
        config=CONFIG,
        code=plan.report_code("page", experiment),
    shell:
        "python -m oodgrid report page --config {params.config} --log {log}"
