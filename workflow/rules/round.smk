# From learned numbers to integers: the recovered matrix.


rule round:
    input:
        fit="results/fits/{data}/{config_id}/fit.nc",
    output:
        recovery="results/fits/{data}/{config_id}/recovery.nc",
    log:
        "results/logs/round/{data}/{config_id}.log",
    benchmark:
        "results/benchmarks/round/{data}/{config_id}.tsv"
    conda:
        "../../envs/cpu.yaml"
    message:
        "round {wildcards.config_id} on {wildcards.data}"
    shell:
        "python -m stoirec round {input.fit} -o {output.recovery} > {log} 2>&1"
