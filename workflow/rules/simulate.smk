# One data set per network: concentrations and derivatives for the learner, the truth for the score.


rule simulate:
    input:
        regime=lambda wildcards: ancient(DATA_SETS[wildcards.data][0]),
    output:
        data=STORE.data("{data}"),
    log:
        STORE.log("simulate", "{data}"),
    benchmark:
        STORE.benchmark("simulate", "{data}")
    conda:
        "../../envs/cpu.yaml"
    params:
        seed=lambda wildcards: DATA_SETS[wildcards.data][1],
        # not used below: a changed value in the regime simulates anew, a changed comment does not
        content=lambda wildcards: load_regime(
            DATA_SETS[wildcards.data][0]
        ).model_dump_json(),
    message:
        "simulate {wildcards.data}"
    shell:
        "exec python -m stoirec.job $PPID stoirec simulate {input.regime:q} --seed {params.seed} "
        "-o {output.data:q} > {log:q} 2>&1"
