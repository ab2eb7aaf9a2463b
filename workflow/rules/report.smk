# Tables, figures and a page, from metrics.parquet and curves.parquet and nothing else.


rule tables:
    input:
        f"results/{EXPERIMENT}/metrics.parquet",
    output:
        plan.table_files(RESULTS, experiment),
    log:
        f"results/{EXPERIMENT}/logs/report/tables.log",
    conda:
        "../envs/analysis.yaml"
    resources:
        **RESOURCES["report"],
    params:
        config=CONFIG,
        code=plan.report_code("tables"),
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
    log:
        f"results/{EXPERIMENT}/logs/report/figures.log",
    conda:
        "../envs/analysis.yaml"
    resources:
        **RESOURCES["report"],
    params:
        config=CONFIG,
        code=plan.report_code("figures"),
    shell:
        "python -m oodgrid report figures --config {params.config} --log {log}"


rule page:
    input:
        f"results/{EXPERIMENT}/metrics.parquet",
        figure_files(),
    output:
        f"results/{EXPERIMENT}/report.html",
    log:
        f"results/{EXPERIMENT}/logs/report/page.log",
    conda:
        "../envs/analysis.yaml"
    resources:
        **RESOURCES["report"],
    params:
        config=CONFIG,
        code=plan.report_code("page"),
    shell:
        "python -m oodgrid report page --config {params.config} --log {log}"
