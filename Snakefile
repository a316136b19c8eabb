# The workflow is workflow/Snakefile. This one lets `snakemake` be typed here, beside profiles/default and slurm/.


include: "workflow/Snakefile"


# an included file has no default target of its own
rule everything:
    default_target: True
    input:
        rules.all.input,
    localrule: True
