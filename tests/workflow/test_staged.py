"""The real workflow on a tiny staged study: waves follow from each other, whenever it was killed."""

import json
import os
import random
import re
import shutil
import signal
import time

import pandas as pd
import pytest

from house import House

TABLES = ("metrics.csv", "baselines.csv", "waves/search-0.json", "waves/search-1.json", "waves/evaluation.json")


@pytest.fixture(scope="module")
def staged(tmp_path_factory) -> House:
    house = House.furnish(tmp_path_factory.mktemp("staged"), "staged.yaml")
    planned = house.planned()
    assert [job.split()[0] for job in planned].count("train") == 4  # what is known before anything ran
    shown = house.snakemake()
    assert shown.returncode == 0, shown.stdout + shown.stderr
    (house.path / "shown.txt").write_text(shown.stdout + shown.stderr)
    return house


@pytest.fixture(scope="module")
def metrics(staged):
    table = pd.read_csv(staged.results / "tinystaged/metrics.csv")
    return table[table["is_answer"]]


def plan(house: House, wave: str) -> dict:
    return json.loads((house.results / f"tinystaged/waves/{wave}.json").read_text())


def test_the_search_stands_around_the_winner_of_the_grid(staged, metrics):
    assert set(metrics["stage"]) == {"rates", "search", "evaluation"}
    assert (metrics.loc[metrics["param.learning_rate_start"] == 1e8, "status"] == "diverged").all()
    rest = metrics[metrics["stage"] != "rates"]
    assert len(rest) and (rest.loc[rest["stage"] == "search", "param.learning_rate_start"] == 5e-3).all()
    assert [winner["stage"] for winner in plan(staged, "search-0")["winners"]] == ["rates"]
    assert len(plan(staged, "search-0")["proposals"]) == 2 and len(plan(staged, "search-1")["proposals"]) == 1


def test_the_evaluation_is_on_the_held_out_network(staged, metrics):
    held_out = metrics[metrics["stage"] == "evaluation"]
    assert set(held_out["network_seed"]) == {8} and set(
        metrics.loc[metrics["stage"] != "evaluation", "network_seed"]
    ) == {7}
    names = {fit["variant"] for fit in plan(staged, "evaluation")["fits"]}
    assert names == {"selected_by_val_loss", "selected_by_entry_exact", "mass"}


def test_the_bound_is_said_once_and_holds(staged, metrics):
    (bound,) = re.findall(r"study tinystaged: at most (\d+) fits", (staged.path / "shown.txt").read_text())
    assert metrics["fit_id"].nunique() <= int(bound)
    costs = pd.read_csv(staged.results / "tinystaged/costs.csv")
    assert set(costs["fit_id"]) == set(metrics["fit_id"]) and (costs["wall_time_s"] > 0).all()


def test_the_report_shows_stages_and_held_out_figures(staged, metrics):
    text = " ".join(re.sub(r"<[^>]*>", " ", (staged.results / "tinystaged/report.html").read_text()).split())
    exact = metrics.loc[metrics["stage"] == "evaluation"].set_index("fit_id")["entry_exact"]
    assert "selected by val_loss recovers" in text and any(f"{value:.3f}" in text for value in exact)
    assert "held-out networks" in text and "winner of each stage" in text
    costs = pd.read_csv(staged.results / "tinystaged/costs.csv")
    assert f"Training took {len(costs)} fits, {costs['n_steps'].sum():,} steps" in text


def test_nothing_is_done_twice(staged):
    assert staged.planned() == []


def test_growing_a_stage_trains_only_what_is_new(staged, tmp_path):
    shutil.copytree(staged.path, tmp_path / "copy", symlinks=True)
    house = House(tmp_path / "copy")
    before = {path: path.stat().st_mtime_ns for path in house.results.glob("fits/*/*/*")}
    house.edit("study.yaml", "[5e-3, 1e8]", "[5e-3, 1e7, 1e8]")
    planned = house.planned()
    assert sorted(job.split()[0] for job in planned if job.startswith(("train", "choose"))) == [
        "choose",
        "train",
        "train",
    ]
    assert all("learning_rate_start~10000000.0" in job for job in planned if job.startswith("train"))
    shown = house.snakemake("results/tinystaged/metrics.csv")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (
        pd.read_csv(house.results / "tinystaged/metrics.csv").fit_id.nunique()
        == pd.read_csv(staged.results / "tinystaged/metrics.csv").fit_id.nunique() + 2
    )


def test_three_kills_at_random_moments_change_nothing(staged, tmp_path):
    """metrics.csv, baselines.csv and the plans are the same byte for byte; times stand in costs.csv, not compared."""
    seed = time.time_ns()
    print(f"seed of the moments: {seed}")  # shown if the test fails
    moments = random.Random(seed)
    house = House.furnish(tmp_path, "staged.yaml")
    target = "results/tinystaged/metrics.csv"
    for _ in range(3):
        run = house.start(target)
        time.sleep(moments.uniform(2, 11))
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    shown = house.snakemake(target)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    for name in TABLES:
        assert (house.results / "tinystaged" / name).read_bytes() == (
            staged.results / "tinystaged" / name
        ).read_bytes(), name
