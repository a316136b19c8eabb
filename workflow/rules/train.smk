# One job per fit. A job that was cut off goes on from its checkpoint, fit.ckpt beside fit.nc, which SIGTERM lets it write.


rule train:
    input:
        data=STORE.data("{data}"),
    output:
        config=STORE.config("{data}/{config_id}"),
        fit=STORE.fit("{data}/{config_id}"),
    log:
        STORE.log("train", "{data}/{config_id}"),
    benchmark:
        STORE.benchmark("train", "{data}/{config_id}")
    # the longest jobs first, so that the others run beside them
    priority: lambda wildcards: training(wildcards).refinement_rounds
    conda:
        "../../envs/gpu.yaml"
    threads: 1
    resources:
        gpu=1,
    params:
        config=lambda wildcards: training(wildcards).model_dump_json(
            exclude_defaults=True
        ),
        device=lambda wildcards, resources: "auto" if resources.gpu else "cpu",
    message:
        "train {wildcards.config_id} on {wildcards.data}"
    shell:
        "printf '%s\\n' {params.config:q} > {output.config:q}; "
        "exec python -m stoirec train {input.data:q} --config {output.config:q} "
        "--device {params.device} --threads {threads} -o {output.fit:q} > {log:q} 2>&1"
