# From the learned numbers of a fit to a matrix: another decoder rounds again and trains nothing. A group with train would
# lose a trained fit to a failed rounding, so it is a job of its own.


rule round:
    input:
        fit=trained,
        data=STORE.data("{data}"),
    output:
        recovery=STORE.recovery("{data}/{config_id}"),
    log:
        STORE.log("round", "{data}/{config_id}"),
    benchmark:
        STORE.benchmark("round", "{data}/{config_id}")
    conda:
        "../../envs/cpu.yaml"
    params:
        fit=lambda wildcards, input: STORE.fit(asked(wildcards).training_id),
        decoder=lambda wildcards: asked(wildcards).config.decoder,
        meaning=ROUNDING_MEANING,  # not used below: a raised one rounds every fit anew
    message:
        "round {wildcards.config_id} on {wildcards.data}"
    shell:
        "exec python -m stoirec.job $PPID stoirec round {params.fit:q} --decoder {params.decoder} "
        "--data {input.data:q} -o {output.recovery:q} > {log:q} 2>&1"
