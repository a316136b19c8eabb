# What a staged study trains next: the winner of the waves before, and the fits around it. A plan is known only when
# those are done, and Snakemake then goes on with its fits.


checkpoint choose:
    input:
        study=ancient(STUDY_FILE),
        recoveries=recoveries,
    output:
        plan=FOLDER.plan("{wave}"),
    log:
        STORE.log("choose", f"{STUDY.name}/{{wave}}"),
    benchmark:
        STORE.benchmark("choose", f"{STUDY.name}/{{wave}}")
    localrule: True
    conda:
        "../../envs/cpu.yaml"
    params:
        # not used below: a changed study chooses anew where the change matters
        definition=lambda wildcards: definition(STUDY, WAVE[wildcards.wave].stage),
    message:
        "choose what {wildcards.wave} trains"
    shell:
        "exec python -m stoirec.job $PPID stoirec choose {input.study:q} --wave {wildcards.wave} "
        f"--store {STORE.root} "
        "-o {output.plan:q} > {log:q} 2>&1"
