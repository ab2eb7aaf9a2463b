# Tables, figures and a page, from what evaluate left and nothing else.


rule tables:
    input:
        pattern(paths.metrics),
        pattern(paths.summary),
        pattern(paths.comparisons),
    output:
        plan.table_files(RESULTS, experiment),
        pattern(paths.digests, part="tables"),
    log:
        log_of("report", "tables"),
    conda:
        environment("analysis")
    resources:
        **RESOURCES["report"],
    params:
        **triggers("tables"),
        config=CONFIG,
    shell:
        "python -m oodgrid report tables --config {params.config} --log {log}"


rule draw:
    input:
        pattern(paths.metrics),
        pattern(paths.curves),
    output:
        [
            report(
                plan.figure_files(RESULTS, experiment, figure),
                caption=f"../report/{figure}.rst",
                category="Figures",
                subcategory=figure,
            )
            for figure in (
                *paths.FIGURES,
                *paths.FIGURES_IF_ASKED.values(),
                *paths.RANK_FIGURES,
            )
        ],
        pattern(paths.digests, part="figures"),
    log:
        log_of("report", "figures"),
    conda:
        environment("analysis")
    resources:
        **RESOURCES["report"],
    params:
        **triggers("draw"),
        config=CONFIG,
    shell:
        "python -m oodgrid report figures --config {params.config} --log {log}"


rule page:
    input:
        pattern(paths.metrics),
        pattern(paths.summary),
        pattern(paths.comparisons),
        pattern(paths.curves),
        figure_files(),
    output:
        pattern(paths.report, part="page"),
        pattern(paths.digests, part="page"),
    log:
        log_of("report", "page"),
    conda:
        environment("analysis")
    resources:
        **RESOURCES["report"],
    params:
        **triggers("page"),
        config=CONFIG,
    shell:
        "python -m oodgrid report page --config {params.config} --log {log}"
