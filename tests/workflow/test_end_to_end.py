"""The real workflow on a tiny study: what it writes, what it does again and what it does not."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
import xarray as xr
from filelock import FileLock

from house import ROOT, House

METHODS = ["nearest", "scaled", "mass_balanced", "scaled_mass_balanced"]
IDENTITY = ["fit_id", "study", "stage", "method", "status", "network_seed"]
PARAMETERS = [
    "learning_rate_start",
    "learning_rate_embedding_start",
    "learning_rate_S_start",
    "coeff_S_L1",
    "coeff_S_integer",
    "coeff_mass_conservation",
    "n_epochs",
    "batch_size",
    "data_augmentation_loop",
    "n_runs",
    "seed",
    "n_epochs_init",
    "first_coeff_L1",
    "graph_model.hidden_dim",
    "graph_model.output_size",
    "graph_model.n_layers",
    "role_prior",
]
SHARES = [
    "entry_exact",
    "entry_exact_true_edges",
    "reaction_exact",
    "sign_accuracy",
    "support_precision",
    "support_recall",
    "support_f1",
]
METRICS = ["r2", *SHARES, "log_k_r2", "rollout_error", "val_loss"]
RULES = {"simulate", "train", "round", "collect", "notebook", "report"}


@pytest.fixture(scope="module")
def metrics(finished):
    return pd.read_csv(finished.results / "tiny/metrics.csv")


# --- tables -----------------------------------------------------------------------------------------------------------


def test_metrics_have_the_rows_and_columns_of_the_contract(metrics):
    assert list(metrics.columns[:6]) == IDENTITY
    assert {*METRICS, *(f"param.{key}" for key in PARAMETERS)} <= set(metrics.columns)
    assert metrics.groupby("fit_id").method.apply(list).tolist() == [METHODS] * 3
    assert (metrics.study == "tiny").all() and (metrics.network_seed == 7).all()
    assert metrics.groupby("stage").fit_id.nunique().to_dict() == {"regularisation": 2, "rates": 1}
    assert set(metrics["param.coeff_mass_conservation"]) == {0.0, 0.03}


def test_metrics_are_those_of_the_recovered_matrices(metrics, finished):
    with xr.open_dataset(finished.results / "data/tiny-seed7.nc", group="truth") as dataset:
        truth = dataset["stoichiometry"].values
    for row in metrics[metrics.status == "ok"].itertuples():
        with xr.open_dataset(finished.results / "fits" / row.fit_id / "recovery.nc") as recovery:
            edges = recovery["edge_metabolite"].values, recovery["edge_reaction"].values
            found = recovery[f"stoichiometry_{row.method}"].values
            learned = recovery["coefficient"].values
        assert row.entry_exact == pytest.approx((found[edges] == truth[edges]).mean())
        assert row.reaction_exact == pytest.approx((found == truth).all(axis=0).mean())
        assert row.sign_accuracy == pytest.approx((np.sign(found) == np.sign(truth))[truth != 0].mean())
        assert row.r2 == pytest.approx(
            1 - ((learned - truth[edges]) ** 2).sum() / ((truth[edges] - truth[edges].mean()) ** 2).sum()
        )
    assert metrics[metrics.status == "ok"][SHARES].stack().between(0, 1).all()
    assert (metrics[metrics.status == "ok"]["val_loss"] > 0).all()


def test_a_diverged_fit_is_recorded_and_the_study_goes_on(metrics):
    diverged = metrics[metrics["param.learning_rate_start"] == 1e8]
    assert (diverged.status == "diverged").all() and len(diverged) == len(METHODS)
    assert diverged[METRICS].isna().all(axis=None)
    assert (metrics[metrics["param.learning_rate_start"] != 1e8].status == "ok").all()


def test_baselines_and_oracles_have_the_same_form(metrics, finished):
    table = pd.read_csv(finished.results / "tiny/baselines.csv")
    assert list(table.columns) == list(metrics.columns)
    references = table.groupby("fit_id").method.apply(list).to_dict()
    assert {"tiny-seed7/baseline_unit", "tiny-seed7/baseline_balanced"} < set(references)
    assert any("oracle" in name for name in references)
    assert all(methods == METHODS for methods in references.values())
    unit = table[(table.fit_id == "tiny-seed7/baseline_unit") & (table.method == "nearest")].iloc[0]
    with xr.open_dataset(finished.results / "data/tiny-seed7.nc", group="truth") as dataset:
        truth = dataset["stoichiometry"].values
    assert unit.entry_exact == pytest.approx((np.abs(truth[truth != 0]) == 1).mean())
    assert unit.sign_accuracy == 1


# --- report -----------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a browser would load, link to and show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded, self.links, self.ids, self.tags, self.text = [], [], set(), [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        found = dict(attributes)
        self.tags.append(tag)
        self.ids.add(found.get("id"))
        self.loaded += [found[key] for key in ("src", "srcset", "data", "poster") if found.get(key)]
        if tag == "link":
            self.loaded.append(found.get("href"))
        elif tag == "a":
            self.links.append(found.get("href"))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is None:  # not of a script
            self.text.append(data)


@pytest.fixture(scope="module")
def report(finished):
    return (finished.results / "tiny/report.html").read_text()


@pytest.fixture(scope="module")
def page(report):
    return Page(report)


def test_report_opens_offline(report, page):
    assert page.loaded and all(source.startswith("data:") for source in page.loaded)
    assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//|require\.config|MathJax", report)


def test_report_starts_with_the_answer(page, metrics):
    best = metrics[metrics.is_answer].entry_exact.max()
    text = " ".join(" ".join(page.text).split())
    assert f"{100 * best:.1f} %" in text[: len(text) // 3]
    assert "baseline" in text[: len(text) // 3]


def test_report_says_what_the_study_did_not_vary(page):
    text = " ".join(" ".join(page.text).split())
    assert "did not vary the number of runs or the noise of dc/dt" in text and "no variants beside its recipe" in text


def test_report_shows_the_numbers_of_the_metrics(page, metrics):
    text = " ".join(page.text)
    answers = metrics[metrics.is_answer & (metrics.status == "ok")]
    for name in ("entry_exact", "reaction_exact", "sign_accuracy"):
        for value in answers[name]:
            assert f"{value:.3f}" in text, name
    assert "diverged" in text


def test_report_has_navigation_captions_and_provenance(page, report, finished):
    assert "nav" in page.tags
    anchors = [link[1:] for link in page.links if link.startswith("#")]
    assert len(anchors) >= 7 and set(anchors) <= page.ids  # the answer, six chapters, provenance
    assert page.tags.count("img") + page.tags.count("svg") >= 4
    assert page.tags.count("figure") == page.tags.count("figcaption") >= 4
    text = " ".join(page.text)
    provenance = text[text.rindex("Provenance") :]
    with xr.open_dataset(finished.results / "data/tiny-seed7.nc") as data:
        assert data.attrs["git_commit"] in provenance
    with xr.open_dataset(finished.results / "data/tiny-seed7.nc", group="truth") as truth:
        assert str(truth.attrs["seed_mlps"]) in provenance
    for expected in ("torch-scatter", "2.1.2", "learning_rate_start: 1e8", *RULES - {"report"}):
        assert expected in provenance, expected


def test_chapters_ran_with_the_studys_parameters(finished):
    for chapter in ("1_data", "2_training", "3_recovery", "4_study", "5_limits", "6_networks"):
        notebook = nbformat.read(finished.results / f"tiny/notebooks/{chapter}.ipynb", as_version=4)
        given = notebook.metadata.papermill["parameters"]
        assert given == {
            "study": "study.yaml",
            "store": str(finished.results),
            "metrics": "results/tiny/metrics.csv",
            "baselines": "results/tiny/baselines.csv",
        }


def test_every_job_has_a_log_and_a_benchmark(finished):
    for kind, ending in (("logs", "log"), ("benchmarks", "tsv")):
        found = {rule: len(list((finished.results / kind / rule).rglob(f"*.{ending}"))) for rule in RULES}
        assert found == {"simulate": 1, "train": 3, "round": 3, "collect": 1, "notebook": 6, "report": 1}


def test_the_plan_is_said_once_before_anything_runs(finished):
    shown = (finished.path / "shown.txt").read_text()
    assert len(re.findall(r"study tiny: 3 fits on 1 network", shown)) == 1
    assert shown.index("study tiny: 3 fits") < shown.index("Job ")


def test_fits_run_side_by_side_without_a_gpu(finished):
    shown = (finished.path / "shown.txt").read_text()
    assert len(re.findall(r"Job \d+: train", shown[: shown.index("(Rule: train)")])) == 2  # --cores 2


@pytest.mark.parametrize(
    ("arguments", "device"), [([], "auto"), (["--resources", "gpu=0"], "cpu"), (["--resources", "gpu=2"], "auto")]
)
def test_gpu_0_is_the_cpu_switch(tmp_path, arguments, device):
    shown = House.furnish(tmp_path).snakemake("-n", "--printshellcmds", *arguments)
    assert re.findall(r"stoirec train .* --device (\w+)", shown.stdout) == [device] * 3


# --- growing, changing, stopping --------------------------------------------------------------------------------------


def test_nothing_is_done_twice(finished):
    assert finished.planned() == []
    assert finished.planned("--resources", "gpu=0") == []  # the CPU switch is no reason to train again


def test_the_workflows_file_is_the_same_from_its_own_folder(finished):
    assert finished.planned("--snakefile", f"{ROOT}/workflow/Snakefile") == []


def test_snakemake_reports_tables_and_report(house):
    shown = house.snakemake("--report", "snakemake.html")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    page = (house.path / "snakemake.html").read_text()
    assert all(name in page for name in ("report.html", "metrics.csv", "baselines.csv", "costs.csv"))


def test_adding_a_value_trains_only_the_new_fit(house):
    house.edit("study.yaml", "[0.0, 0.03]", "[0.0, 0.03, 0.1]")
    before = {path: path.stat().st_mtime_ns for path in house.results.glob("fits/*/*/*")}
    trained = [job for job in house.planned() if job.startswith(("train", "simulate"))]
    assert len(trained) == 1 and "coeff_mass_conservation~0.1+" in trained[0]
    assert house.snakemake("results/tiny/metrics.csv").returncode == 0
    table = pd.read_csv(house.results / "tiny/metrics.csv")
    assert set(table["param.coeff_mass_conservation"]) == {0.0, 0.03, 0.1} and table.fit_id.nunique() == 4
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_study_in_packs_has_the_same_tables_and_trains_only_what_is_new(finished, tmp_path):
    house = House.furnish(tmp_path)
    house.edit("study.yaml", "results_dir", "pack: auto\nresults_dir")
    shutil.copytree(finished.results / "data", house.results / "data")
    shown = house.snakemake("results/tiny/metrics.csv")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert len(re.findall(r"^Job \d+: train the 2-", shown.stdout + shown.stderr, re.MULTILINE)) == 1
    for name in ("metrics.csv", "baselines.csv"):
        assert (house.results / "tiny" / name).read_bytes() == (finished.results / "tiny" / name).read_bytes()
    assert house.planned("results/tiny/metrics.csv") == []
    house.edit("study.yaml", "[0.0, 0.03]", "[0.1, 0.0, 0.2, 0.03, 0.3]")
    planned = house.planned("results/tiny/metrics.csv")
    assert sorted(job.split()[0] for job in planned) == ["collect", "round", "round", "round", "train"]
    assert any(job.startswith("train the 3-") for job in planned)


def test_only_what_a_fit_depends_on_trains_it_again(house):
    house.edit("study.yaml", "name: tiny\n", "name: renamed\n")
    house.edit("study.yaml", "name: rates", "name: speeds")
    house.edit("regime.yaml", "# A network", "# Still a network")
    assert [job for job in house.planned() if job.startswith(("train", "simulate"))] == []
    house.edit("regime.yaml", "dt: 0.1", "dt: 0.2")
    again = [job.split()[0] for job in house.planned()]
    assert {rule: again.count(rule) for rule in ("simulate", "train")} == {"simulate": 1, "train": 3}


def test_another_decoder_rounds_and_trains_nothing(house):
    house.edit("study.yaml", "n_snapshots: 4", "n_snapshots: 4, decoder: nearest")
    assert [job.split()[0] for job in house.planned("results/tiny/metrics.csv")] == ["round"] * 3 + ["collect"]
    assert house.snakemake("results/tiny/metrics.csv").returncode == 0
    table = pd.read_csv(house.results / "tiny/metrics.csv")
    assert set(table.loc[table.is_answer, "method"]) == {"nearest"} and table.fit_id.nunique() == 3
    costs = pd.read_csv(house.results / "tiny/costs.csv")
    assert set(costs.fit_id) == set(table.fit_id) and (costs.wall_time_s > 0).all()
    assert len(list(house.results.glob("fits/*/*/fit.nc"))) == 3


def test_the_longest_fits_start_first(house):
    refined = "role_prior: true, refinement_rounds: 1, refinement_steps: 1, refinement_frames: 20"
    house.edit("study.yaml", "{diverging: {", f"{{refined: {{{refined}}}, diverging: {{batch_size: 32, ")
    house.edit("study.yaml", "[0.0, 0.03]", "[0.01, 0.02]")
    shown = house.snakemake("--cores", "1", "--until", "train")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    jobs = re.findall(r"Job \d+: (train .*)$", shown.stdout + shown.stderr, re.MULTILINE)
    assert len(jobs) == 4 and "refinement_rounds~1" in jobs[0]


def test_a_deleted_value_leaves_its_results(house):
    house.edit("study.yaml", "[0.0, 0.03]", "[0.03]")
    assert house.snakemake("results/tiny/metrics.csv").returncode == 0
    assert pd.read_csv(house.results / "tiny/metrics.csv").fit_id.nunique() == 2
    assert len(list(house.results.glob("fits/*/*/fit.nc"))) == 3


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("batch_size: 16", "batch_sise: 16", ["study.yaml", "batch_sise", "batch_size"]),
        ("n_epochs: 2", "n_epochs: 0", ["study.yaml", "n_epochs", "0"]),
        ("n_runs: 2", "n_runs: 3", ["study.yaml", "n_runs", "3", "1..2"]),
        ("regime.yaml", "nowhere.yaml", ["nowhere.yaml"]),
    ],
)
def test_a_wrong_study_ends_in_one_line(tmp_path, old, new, named):
    house = House.furnish(tmp_path)
    house.edit("study.yaml", old, new)
    shown = house.snakemake()
    lines = [line for line in shown.stderr.splitlines() if not line.startswith("Using workflow specific profile")]
    assert shown.returncode == 2 and shown.stdout == "" and len(lines) == 1
    assert all(word in lines[0] for word in ["error:", *named])
    assert not house.results.exists()


def test_one_run_per_directory(house):
    (house.results / "tiny/report.html").unlink()
    with FileLock(house.path / ".snakemake/running.lock"):
        shown = house.snakemake()
    assert shown.returncode != 0 and "another snakemake is running here" in shown.stdout + shown.stderr
    assert not (house.results / "tiny/report.html").exists()


def test_a_killed_run_goes_on_with_the_same_command(finished, tmp_path):
    house = House.furnish(tmp_path)
    run = house.start()  # in the environment of the finished one: BLAS kernels follow from it
    wait_for(lambda: list(house.results.glob("fits/*/*/fit.yaml")), run)
    kill_group(run)
    assert not list(house.results.glob("tiny/*"))
    shown = house.snakemake("results/tiny/metrics.csv")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert (house.results / "tiny/metrics.csv").read_bytes() == (finished.results / "tiny/metrics.csv").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="a process learns of its parent's end on Linux alone")
def test_jobs_end_with_a_snakemake_that_is_killed_alone(tmp_path):
    house = House.furnish(tmp_path)
    run = house.start()
    wait_for(lambda: list(house.results.glob("fits/*/*/fit.yaml")), run)
    run.kill()
    run.wait()
    end = time.monotonic() + 60
    while processes_of(run) and time.monotonic() < end:
        time.sleep(0.05)
    assert processes_of(run) == [] and not list(house.results.glob("fits/*/*/fit.nc"))
    parent = str(os.getpid() + 1)  # of a job whose own has ended already
    job = subprocess.run([sys.executable, "-m", "stoirec.job", parent, "stoirec", "--help"], capture_output=True)
    assert (job.returncode, job.stdout) == (-signal.SIGTERM, b"")


def processes_of(run: subprocess.Popen) -> list[psutil.Process]:
    """Those of its group that have not ended, itself aside."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            if os.getpgid(process.pid) == run.pid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def test_a_killed_training_ends_with_the_same_numbers(finished, tmp_path):
    data = finished.results / "data/tiny-seed7.nc"
    config = tmp_path / "fit.yaml"
    config.write_text(json.dumps({"n_runs": 2, "n_epochs": 3, "batch_size": 16, "n_snapshots": 5, "role_prior": True}))

    def command(output: str) -> list[str]:
        options = ["--config", str(config), "--threads", "1", "--checkpoint-seconds", "0.1", "--device", "cpu"]
        return [sys.executable, "-m", "stoirec", "train", str(data), *options, "-o", str(tmp_path / output)]

    subprocess.run(command("whole.nc"), check=True, capture_output=True)
    assert not (tmp_path / "whole.ckpt").exists()
    checkpoint = tmp_path / "killed.ckpt"
    for _ in range(2):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
        run = subprocess.Popen(command("killed.nc"), stderr=subprocess.DEVNULL, start_new_session=True)
        wait_for(lambda before=before: checkpoint.exists() and checkpoint.stat().st_mtime_ns != before, run)
        kill_group(run)
        assert not (tmp_path / "killed.nc").exists()
    shown = subprocess.run(command("killed.nc"), check=True, capture_output=True, text=True)
    assert re.search(r"resumed at step [1-9]", shown.stderr)
    with xr.open_dataset(tmp_path / "whole.nc") as whole, xr.open_dataset(tmp_path / "killed.nc") as killed:
        assert set(whole.variables) == set(killed.variables)
        for name in whole.variables:
            assert np.array_equal(whole[name], killed[name], equal_nan=True), name


def wait_for(condition, run: subprocess.Popen, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert run.poll() is None and time.monotonic() < end
        time.sleep(0.05)


def kill_group(run: subprocess.Popen) -> None:
    """SIGKILL to the process and its children: nobody can clean up."""
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
