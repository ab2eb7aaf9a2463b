# oodgrid: images -> features -> adapted -> scores -> metrics -> tables and figures.
#
#   snakemake --cores 8                                              the default experiment, config.yaml
#   snakemake --cores 8 --configfile experiments/NAME.yaml           another one
#   snakemake --cores 8 figures                                      up to there: features scores metrics figures
from snakemake.utils import min_version

min_version("9.20")


include: "workflow/rules/reading.smk"


# An experiment given by --configfile replaces the default: Snakemake would merge the two.
if not workflow.configfiles:

    configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/encode.smk"
include: "workflow/rules/adapt.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    features,
    scores,
    metrics,
    figures,


rule all:
    default_target: True
    input:
        report_files(),
        result_files(),
        encoded_files(),


rule features:
    input:
        feature_files(),


rule scores:
    input:
        score_files(),
        encoded_files(),


rule metrics:
    input:
        pattern(paths.metrics),
        encoded_files(),


rule figures:
    input:
        figure_files(),
