# What a staged study trains next: the winner of the waves before, and the fits around it. A plan is known only when
# those are done, and Snakemake then goes on with its fits.


checkpoint choose:
    input:
        study=ancient(STUDY_FILE),
        recoveries=recoveries,
    output:
        plan=f"{RESULTS}/waves/{{wave}}.json",
    log:
        f"results/logs/choose/{STUDY.name}/{{wave}}.log",
    benchmark:
        f"results/benchmarks/choose/{STUDY.name}/{{wave}}.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        # not used below: a changed study chooses anew where the change matters
        definition=lambda wildcards: studies.definition(STUDY, WAVE[wildcards.wave]),
    message:
        "choose what {wildcards.wave} trains"
    shell:
        "python -m stoirec choose {input.study:q} --wave {wildcards.wave} --store results "
        "-o {output.plan:q} > {log:q} 2>&1"
