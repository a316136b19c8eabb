# Another workflow, of which this one is a part.


module recovery:
    snakefile:
        f"{config['clone']}/workflow/Snakefile"
    config:
        config | {"results": "elsewhere"}


use rule * from recovery exclude all as recovery_*


rule all:
    default_target: True
    input:
        rules.recovery_collect.output.metrics,
