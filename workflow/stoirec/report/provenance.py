"""Where the report's figures come from: versions, commits, configuration, seeds and times."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stoirec.config.reading import to_yaml
from stoirec.files.provenance import git_commit, versions
from stoirec.report.results import Results
from stoirec.study.store import Store

_RULES = ("simulate", "train", "train_pack", "round", "choose", "collect", "notebook")  # the order they run in


def provenance(results: Results, study_text: str) -> dict[str, Any]:
    """Versions, commits, configuration, seeds and times."""
    attributes = {name: results.data_attributes(name) for name in (*results.data_names, *results.held_out_names)}
    first = next(iter(attributes.values()))
    seeds = [key for key in first if key == "network_seed" or key.startswith("seed_")]
    jobs = results.training
    jobs = jobs.loc[list({fit.training_id: fit.fit_id for fit in results.all_fits}.values())]  # each training once
    commits = sorted(
        {str(attribute["git_commit"]) for attribute in attributes.values()} | set(jobs["git_commit"].astype(str))
    )
    wall = jobs["wall_time_s"].astype(float)
    return {
        "versions": versions(),
        "commit": git_commit(),
        "commits": commits,
        "study_text": study_text,
        "regime_name": first.get("regime", ""),
        "regime_text": to_yaml(json.loads(first["config"])),
        "seed_names": seeds,
        "seeds": {name: [attribute[key] for key in seeds] for name, attribute in attributes.items()},
        "learner_seeds": sorted({fit.config.seed for fit in results.all_fits}),
        "training": {
            "fits": len(jobs),
            "steps": int(jobs["n_steps"].astype(int).sum()),
            "total": duration(wall.sum()),
            "shortest": duration(wall.min()),
            "median": duration(float(np.median(wall))),
            "longest": duration(wall.max()),
            "devices": _counted(jobs["device"]),
            "threads": _counted(jobs["threads"]),
        },
        "rules": rule_times(results),
    }


def _counted(values: pd.Series) -> str:
    return ", ".join(f"{value} ({count} fits)" for value, count in values.astype(str).value_counts().items())


def rule_times(results: Results) -> list[dict[str, Any]]:
    """Wall time of every rule from Snakemake's benchmark files, summed over the jobs of this study.

    The store may hold other studies' data and fits: a job's file is named after its data set, fit, pack or
    study.
    """
    own = {name for fit in results.all_fits for name in (fit.fit_id, fit.training_id)}
    store = Store(results.store)
    own |= {pack for training, pack in store.packed().items() if training in own}
    own |= {*results.data_names, *results.held_out_names}
    rows = []
    found = store.benchmarks()
    order = {name: index for index, name in enumerate(_RULES)}
    for rule in sorted(found, key=lambda rule: (order.get(rule, len(order)), rule)):
        jobs = [_benchmark(path) for job, path in found[rule].items() if _belongs(job, own, results.study.name)]
        seconds = [job["s"] for job in jobs if job]
        memory = [job["max_rss"] for job in jobs if job and np.isfinite(job["max_rss"])]
        if seconds:
            rows.append(
                {
                    "rule": rule,
                    "jobs": len(seconds),
                    "seconds": sum(seconds),
                    "total": duration(sum(seconds)),
                    "longest": duration(max(seconds)),
                    "memory": f"{max(memory):,.0f} MB" if memory else "–",
                }
            )
    return rows


def _belongs(job: str, own: set[str], study: str) -> bool:
    return job in own or job == study or job.startswith(f"{study}/")


def _benchmark(path: Path) -> dict[str, float] | None:
    """Seconds and largest memory [MB] of one job; None for a file of another form."""
    try:
        table = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
        return {"s": float(table["s"].sum()), "max_rss": float(table["max_rss"].max())}
    except (ValueError, KeyError, OSError):
        return None


def duration(seconds: float) -> str:
    """4.2 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
