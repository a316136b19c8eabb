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
        "exec python -m stoirec.job $PPID stoirec train {input.data:q} --config {output.config:q} "
        "--device {params.device} --threads {threads} -o {output.fit:q} > {log:q} 2>&1"


# A pack: fits whose steps one job takes at once. Its file names them, and stands for them: what is trained stays trained
# when the job fails half way, and is known by its pack when the study grows.
rule train_pack:
    input:
        data=STORE.data("{data}"),
    output:
        pack=STORE.pack("{data}/{pack}"),
    log:
        STORE.log("train_pack", "{data}/{pack}"),
    benchmark:
        STORE.benchmark("train_pack", "{data}/{pack}")
    priority: lambda wildcards: TRAININGS[packed(wildcards)[0]].refinement_rounds
    conda:
        "../../envs/gpu.yaml"
    threads: 1
    resources:
        gpu=1,
    params:
        # of `input` none depends: what does is no reason to train again, and the pack's name says it all
        names=lambda wildcards, input: packed(wildcards),
        configurations=configurations,
        fits=configs_and_fits,
        device=lambda wildcards, resources: "auto" if resources.gpu else "cpu",
    message:
        "train the {wildcards.pack} pack on {wildcards.data}"
    shell:
        "printf '%s\\n' {params.names:q} > {output.pack:q}; {params.configurations}; "
        "exec python -m stoirec.job $PPID stoirec train {input.data:q} {params.fits} "
        "--device {params.device} --threads {threads} > {log:q} 2>&1"
