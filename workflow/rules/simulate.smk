# One data set per network: concentrations and derivatives for the learner, the truth for the score.


rule simulate:
    input:
        regime=ancient(STUDY.regime),
    output:
        data="results/data/{data}.nc",
    log:
        "results/logs/simulate/{data}.log",
    benchmark:
        "results/benchmarks/simulate/{data}.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        seed=lambda wildcards: NETWORK_SEED[wildcards.data],
        # not used below: a changed value in the regime simulates anew, a changed comment does not
        content=REGIME.model_dump_json(),
    message:
        "simulate {wildcards.data}"
    shell:
        "python -m stoirec simulate {input.regime:q} --seed {params.seed} -o {output.data} > {log} 2>&1"
