# One job per fit: train, then round to the recovered matrix. Half the jobs of a rule each, and so half the time of a
# plan. A job that was cut off goes on from its checkpoint, fit.ckpt beside fit.nc.


rule train:
    input:
        data="results/data/{data}.nc",
    output:
        config="results/fits/{data}/{config_id}/fit.yaml",
        fit="results/fits/{data}/{config_id}/fit.nc",
        recovery="results/fits/{data}/{config_id}/recovery.nc",
    log:
        "results/logs/train/{data}/{config_id}.log",
    benchmark:
        "results/benchmarks/train/{data}/{config_id}.tsv"
    conda:
        "../../envs/gpu.yaml"
    threads: 1
    resources:
        gpu=1,
    params:
        config=fit_config,
        device=lambda wildcards, resources: "auto" if resources.gpu else "cpu",
    message:
        "train {wildcards.config_id} on {wildcards.data}"
    shell:
        "printf '%s\\n' {params.config:q} > {output.config}; "
        "python -m stoirec train {input.data} --config {output.config} "
        "--device {params.device} --threads {threads} -o {output.fit} > {log} 2>&1; "
        "python -m stoirec round {output.fit} -o {output.recovery} >> {log} 2>&1"
