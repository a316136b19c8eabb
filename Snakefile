# From a random metabolic network to a report on how much of its stoichiometric matrix was recovered:
#
#     regime.yaml -> simulate -> data.nc -> train -> fit.nc -> round -> recovery.nc
#                   (a network)            (a fit)            (its matrix)
#         -> choose -> what a staged study trains next
#         -> collect -> metrics.csv, baselines.csv -> notebook -> chapters -> report -> report.html
#
# The science is in workflow/stoirec; a rule only says what is read, written, needed and called.

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/simulate.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/round.smk"
include: "workflow/rules/choose.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    choose,


rule all:
    default_target: True
    input:
        FOLDER.report,


onsuccess:
    logger.info(f"The report is {FOLDER.report}")
