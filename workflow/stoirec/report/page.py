"""The report: executed notebooks, the answer before them and the provenance after them, on one page that needs no network."""

import datetime
import html
import io
import itertools
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from nbconvert import HTMLExporter
from ruamel.yaml import YAML

from stoirec.errors import BadInput
from stoirec.files.provenance import git_commit, versions
from stoirec.report import tables
from stoirec.report.present import cell, percent, share
from stoirec.report.results import Results
from stoirec.report.study import evaluation

CHAPTERS = ("1_data", "2_training", "3_recovery", "4_study", "5_limits")
_RULES = ("simulate", "train", "choose", "collect", "notebook")  # the order they run in
_TITLE = re.compile(r"<h1[^>]*>(.*?)</h1>", re.DOTALL)


def write(results: Results, notebooks: Path, study: Path, output: Path) -> None:
    """Write the report to a temporary name, then rename it.

    Args:
        results: the study's results; notebooks: folder of the executed notebooks; study: the study file, shown as it is.

    Raises:
        BadInput: a notebook is missing or damaged.
    """
    page = render(results, chapters(notebooks), study.read_text())
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary.write_text(page, encoding="utf-8")
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)


def render(results: Results, bodies: "list[Chapter]", study_text: str) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("stoirec.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    return environment.get_template("report.html").render(
        study=results.study,
        answer=answer(results),
        chapters=bodies,
        provenance=provenance(results, study_text),
        written=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
    )


# --- the answer -------------------------------------------------------------------------------------------------------


def answer(results: Results) -> dict[str, Any]:
    """What the report says first; all of it computed.

    Keys: share (entry_exact of the best configuration in per cent, as text), sentences, caveats, rows (of the table:
    label, kind, values by metric), metrics (its columns).
    """
    if results.evaluation:
        return _evaluated(results)
    best = results.best_configuration
    if best is None:
        sentences = [f"All {len(results.answers)} fits of the study diverged; nothing was recovered."]
        recovered = percent(0.0)
    else:
        row = results.configurations.loc[best]
        recovered = percent(row["entry_exact"])
        sentences = _sentences(results, best, row)
    table = tables.headline(results)
    chosen = results.val_loss_configuration
    titles = {
        chosen: ("chosen", "selected by val_loss: "),
        best: ("best", "best and selected by val_loss: " if best == chosen else "best: "),
    }
    rows = []
    for label, values in table.to_dict("index").items():
        kind, title = titles.get(label, (label.split(":")[0], ""))
        rows.append({"label": title + label, "kind": kind, **values})
    return {
        "share": recovered,
        "sentences": sentences,
        "caveats": _caveats(results),
        "rows": rows,
        "metrics": list(table.columns),
        "networks": len(results.seen_by(best)[0]),
    }


def _evaluated(results: Results) -> dict[str, Any]:
    """The answer of a study with held-out networks: what its choice reaches there."""
    table, chosen = evaluation.final(results), evaluation.chosen_name(results)
    metrics = ["entry_exact", "reaction_exact", "sign_accuracy", "r2"]
    first, *others = evaluation.sentences(results)
    recovered = percent(table.at[chosen, "entry_exact"]) if chosen in table.index else percent(0.0)
    rows = []
    for label, values in table[metrics].to_dict("index").items():
        kind = "best" if label == chosen else label.split(":")[0] if label in tables.REFERENCE_LABELS else "chosen"
        rows.append({"label": label.replace("_", " ") if kind in ("best", "chosen") else label, "kind": kind, **values})
    winner = next(
        (found for found in results.plans["evaluation"]["winners"] if found["selected_by"] == results.study.select_by),
        None,
    )
    caveats = [
        f"The selected configuration differs from the defaults by: {', '.join(f'{key} {value}' for key, value in winner['config'].items() if key != 'seed')}."
        if winner
        else "No configuration was selected.",
        f"It was chosen on {len(results.data_names)} other network(s) among {len(results.configurations)} configurations, "
        "by means over training seeds; nothing was chosen on the networks reported here.",
        f"{(results.metrics[results.metrics['is_answer']]['status'] != 'ok').sum()} of {len(results.all_fits)} fits diverged.",
        "R2 is 1 − SSE/SST of the learned real numbers, never a squared correlation.",
    ]
    return {
        "share": recovered,
        "sentences": [f"of the stoichiometric coefficients were recovered exactly. {first}", *others],
        "caveats": caveats,
        "rows": rows,
        "metrics": metrics,
        "networks": len(results.held_out_names),
    }


def _sentences(results: Results, best: str, row: pd.Series) -> list[str]:
    method = row["method"]
    data, n_runs = results.seen_by(best)
    reference = results.references(method, data, n_runs)["entry_exact"]
    baseline = results.best_baseline(method, data)
    networks = len(data)
    where = "on one network" if networks == 1 else f"on {networks} networks"
    if row["n_fits"] > 1:
        where = f"{where} (mean of {row['n_fits']} fits, {share(row['entry_exact_min'])} to {share(row['entry_exact_max'])})"
    verdict = "more than" if row["entry_exact"] > baseline else "not more than"
    sentences = [
        f"of the stoichiometric coefficients were recovered exactly by the configuration {best} {where}, "
        f"decoded by {method.replace('_', ' ')}: "
        f"entry_exact {share(row['entry_exact'])}, reaction_exact {share(row['reaction_exact'])}, sign_accuracy {share(row['sign_accuracy'])}.",
        f"That is {verdict} the trivial baselines, which know only the roles "
        f"({share(reference['baseline_unit'])} and {share(reference['baseline_balanced'])} by the same decoder); "
        f"the oracle that knows the true fluxes reaches {share(reference['oracle_balanced'])}.",
    ]
    baseline = results.best_baseline(method, data, metric="reaction_exact")
    if row["entry_exact"] > reference.filter(like="baseline").max() and row["reaction_exact"] <= baseline:
        sentences.append(
            f"Whole reactions are no more often right than in the better baseline (reaction_exact {share(baseline)})."
        )
    chosen = results.val_loss_configuration
    if chosen is None:
        sentences.append("No configuration ended on every network, so val_loss selects none.")
    elif len(results.configurations) > 1:
        other = results.configurations.at[chosen, "entry_exact"]
        sentences.append(
            "Selecting by val_loss, which needs no known truth, gives the same configuration."
            if chosen == best
            else f"Selecting by val_loss, which needs no known truth, would have given {chosen} with entry_exact {share(other)}."
        )
    return sentences


def _caveats(results: Results) -> list[str]:
    """What a reader must know to not read too much into the answer."""
    caveats = []
    best = results.best_configuration
    if best is not None:
        caveats.append(
            f"The configuration {best} differs from the defaults by: {results.description(best) or 'nothing'}."
        )
        if len(results.data_names) == 1:
            caveats.append("One network was simulated: the figures do not say how they vary from network to network.")
        with_roles = results.configurations.at[best, "role_prior"]
        caveats.append(
            "The best configuration started from the candidate roles (role_prior): "
            "every coefficient began with the sign of its role, which the baselines know as well."
            if with_roles
            else "The best configuration had to learn the signs from the data (no role_prior)."
        )
        others = results.configurations[results.configurations["role_prior"] != with_roles]
        if len(others):
            name, other = others.index[0], others.iloc[0]
            caveats.append(
                f"{'Without' if with_roles else 'With'} role_prior the best is {name}: entry_exact {share(other['entry_exact'])}."
            )
        if len(results.configurations) > 1:
            caveats.append(
                "The best of several configurations was picked knowing the truth, on the networks it is reported for: "
                "it flatters itself a little."
            )
    diverged = results.answers[results.answers["status"] != "ok"]
    caveats.append(
        f"{len(diverged)} of {len(results.answers)} fits diverged."
        if len(diverged)
        else f"None of the {len(results.answers)} fits diverged."
    )
    caveats.append("R2 is 1 − SSE/SST of the learned real numbers, never a squared correlation.")
    return caveats


# --- chapters -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chapter:
    """An executed notebook as a part of the page.

    Attributes:
        anchor: its id; title: of its first heading; sections: (anchor, title) of the headings below; body: HTML.
    """

    anchor: str
    title: str
    sections: list[tuple[str, str]]
    body: Markup


def chapters(folder: Path) -> list[Chapter]:
    """The executed notebooks in `folder`, in the order of their names.

    Raises:
        BadInput: one of CHAPTERS is missing, or a file is not an executed notebook.
    """
    for name in CHAPTERS:
        if not (folder / f"{name}.ipynb").is_file():
            raise BadInput(folder / f"{name}.ipynb", "file", "nothing", "an executed notebook")
    return [_chapter(number, path) for number, path in enumerate(sorted(folder.glob("[0-9]_*.ipynb")), start=1)]


def _chapter(number: int, path: Path) -> Chapter:
    try:
        notebook = nbformat.read(path, as_version=4)
    except (ValueError, OSError, nbformat.ValidationError) as error:
        raise BadInput(path, "file", f"not readable as a notebook ({error})", "an executed notebook") from None
    if any(part.cell_type == "code" and part.execution_count is None for part in notebook.cells if part.source):
        raise BadInput(path, "cells", "a cell that was not executed", "a notebook executed by papermill")
    for part in notebook.cells:  # log lines are for the log
        if part.cell_type == "code":
            part.outputs = [output for output in part.outputs if output.output_type != "stream"]
    exporter = HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    body, _ = exporter.from_notebook_node(notebook)
    title = _TITLE.search(body)
    return _numbered(number, _plain(title[1]) if title else path.stem, _TITLE.sub("", body, count=1))


def _plain(markup: str) -> str:
    """Text of a piece of HTML, unescaped: the template escapes it again."""
    return html.unescape(re.sub(r"<[^>]*>", "", markup)).strip()


def _numbered(number: int, title: str, body: str) -> Chapter:
    """Number headings, figures and tables; headings go one level down, under the page's own."""
    sections: list[tuple[str, str]] = []

    def section(match: re.Match) -> str:
        anchor = f"chapter-{number}-{len(sections) + 1}"
        sections.append((anchor, _plain(match[1])))
        return f'<h3 id="{anchor}">{match[1]}</h3>'

    body = re.sub(r"<h2[^>]*>(.*?)</h2>", section, body, flags=re.DOTALL)
    for tag, word in (("figcaption", "Figure"), ("caption", "Table")):
        count = itertools.count(1)
        body = re.sub(f"<{tag}>", lambda _: f"<{tag}><b>{word} {number}.{next(count)}</b> ", body)
    return Chapter(f"chapter-{number}", f"{number} {title}", sections, Markup(body))


# --- provenance -----------------------------------------------------------------------------------------------------


def provenance(results: Results, study_text: str) -> dict[str, Any]:
    """Versions, commits, configuration, seeds and times."""
    attributes = {name: results.data_attributes(name) for name in (*results.data_names, *results.held_out_names)}
    first = next(iter(attributes.values()))
    seeds = [key for key in first if key == "network_seed" or key.startswith("seed_")]
    jobs = results.training
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
        "regime_text": _yaml(json.loads(first["config"])),
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


def _yaml(content: dict[str, Any]) -> str:
    buffer = io.StringIO()
    writer = YAML()
    writer.default_flow_style = None
    writer.dump(content, buffer)
    return buffer.getvalue()


def rule_times(results: Results) -> list[dict[str, Any]]:
    """Wall time of every rule from Snakemake's benchmark files, summed over the jobs of this study.

    The store may hold other studies' data and fits: a job's file is named after its data set, its fit or its study.
    """
    own = {fit.fit_id for fit in results.all_fits} | {*results.data_names, *results.held_out_names}
    rows = []
    folders = (path for path in (results.store / "benchmarks").glob("*") if path.is_dir())
    for folder in sorted(
        folders, key=lambda path: (_RULES.index(path.name) if path.name in _RULES else len(_RULES), path.name)
    ):
        jobs = [
            _benchmark(path)
            for path in sorted(folder.rglob("*.tsv"))
            if _belongs(path.relative_to(folder), own, results.study.name)
        ]
        seconds = [job["s"] for job in jobs if job]
        memory = [job["max_rss"] for job in jobs if job and np.isfinite(job["max_rss"])]
        if seconds:
            rows.append(
                {
                    "rule": folder.name,
                    "jobs": len(seconds),
                    "seconds": sum(seconds),
                    "total": duration(sum(seconds)),
                    "longest": duration(max(seconds)),
                    "memory": f"{max(memory):,.0f} MB" if memory else "–",
                }
            )
    return rows


def _belongs(path: Path, own: set[str], study: str) -> bool:
    name = path.as_posix().removesuffix(".tsv")
    return name in own or name == study or name.startswith(f"{study}/")


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
