# The study as a whole: its tables, a chapter per question, and the report.


rule collect:
    input:
        study=STUDY_FILE,
        recoveries=recoveries,
    output:
        metrics=report(FOLDER.metrics, "../report/metrics.rst", category="Tables"),
        baselines=report(FOLDER.baselines, "../report/baselines.rst", category="Tables"),
        costs=report(FOLDER.costs, "../report/costs.rst", category="Tables"),
    log:
        STORE.log("collect", STUDY.name),
    benchmark:
        STORE.benchmark("collect", STUDY.name)
    conda:
        "../../envs/cpu.yaml"
    message:
        f"collect the tables of study {STUDY.name}"
    shell:
        "exec python -m stoirec.job $PPID stoirec collect {input.study:q} "
        f"--store {STORE.root} "
        "-o {output.metrics:q} --baselines {output.baselines:q} --costs {output.costs:q} > {log:q} 2>&1"


rule notebook:
    input:
        other_tables,
        notebook=f"{ROOT}/notebooks/{{chapter}}.ipynb",
        study=STUDY_FILE,
        metrics=rules.collect.output.metrics,  # newer than the data and fits the chapter reads
        baselines=rules.collect.output.baselines,
    output:
        notebook=FOLDER.notebook("{chapter}"),
    log:
        STORE.log("notebook", f"{STUDY.name}/{{chapter}}"),
    benchmark:
        STORE.benchmark("notebook", f"{STUDY.name}/{{chapter}}")
    conda:
        "../../envs/notebook.yaml"
    params:
        store=str(Path(STORE.root).resolve()),
    message:
        "run chapter {wildcards.chapter}"
    shell:
        "exec python -m stoirec.job $PPID papermill {input.notebook:q} {output.notebook:q} "
        "--kernel python3 --log-output --no-progress-bar "
        "-r study {input.study:q} -r store {params.store:q} "
        "-r metrics {input.metrics:q} -r baselines {input.baselines:q} > {log:q} 2>&1"


rule report:
    input:
        study=STUDY_FILE,
        chapters=expand(rules.notebook.output.notebook, chapter=CHAPTERS),
        metrics=rules.collect.output.metrics,
        baselines=rules.collect.output.baselines,
    output:
        report=report(FOLDER.report, "../report/report.rst", category="Report"),
    log:
        STORE.log("report", STUDY.name),
    benchmark:
        STORE.benchmark("report", STUDY.name)
    conda:
        "../../envs/notebook.yaml"
    params:
        notebooks=lambda wildcards, input: Path(input.chapters[0]).parent,
    message:
        "write {output.report}"
    shell:
        "exec python -m stoirec.job $PPID stoirec report {input.study:q} "
        f"--store {STORE.root} "
        "--notebooks {params.notebooks:q} "
        "--metrics {input.metrics:q} --baselines {input.baselines:q} -o {output.report:q} > {log:q} 2>&1"
