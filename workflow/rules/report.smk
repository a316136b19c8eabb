# The study as a whole: its tables, a chapter per question, and the report.


rule collect:
    input:
        study=STUDY_FILE,
        recoveries=recoveries,
    output:
        metrics=f"{RESULTS}/metrics.csv",
        baselines=f"{RESULTS}/baselines.csv",
        costs=f"{RESULTS}/costs.csv",
    log:
        f"results/logs/collect/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/collect/{STUDY.name}.tsv"
    conda:
        "../../envs/cpu.yaml"
    message:
        f"collect the tables of study {STUDY.name}"
    shell:
        "python -m stoirec collect {input.study:q} --store results "
        "-o {output.metrics:q} --baselines {output.baselines:q} --costs {output.costs:q} > {log:q} 2>&1"


rule notebook:
    input:
        other_tables,
        notebook=f"{ROOT}/notebooks/{{chapter}}.ipynb",
        study=STUDY_FILE,
        metrics=rules.collect.output.metrics,  # newer than the data and fits the chapter reads
        baselines=rules.collect.output.baselines,
    output:
        notebook=f"{RESULTS}/notebooks/{{chapter}}.ipynb",
    log:
        f"results/logs/notebook/{STUDY.name}/{{chapter}}.log",
    benchmark:
        f"results/benchmarks/notebook/{STUDY.name}/{{chapter}}.tsv"
    conda:
        "../../envs/notebook.yaml"
    params:
        store=str(Path("results").resolve()),
    message:
        "run chapter {wildcards.chapter}"
    shell:
        "python -m papermill {input.notebook:q} {output.notebook:q} "
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
        report=f"{RESULTS}/report.html",
    log:
        f"results/logs/report/{STUDY.name}.log",
    benchmark:
        f"results/benchmarks/report/{STUDY.name}.tsv"
    conda:
        "../../envs/notebook.yaml"
    params:
        notebooks=lambda wildcards, input: Path(input.chapters[0]).parent,
    message:
        "write {output.report}"
    shell:
        "python -m stoirec report {input.study:q} --store results --notebooks {params.notebooks:q} "
        "--metrics {input.metrics:q} --baselines {input.baselines:q} -o {output.report:q} > {log:q} 2>&1"
