"""The workflow as a part of another."""

import io

import pandas as pd
import pytest

from house import ROOT, House


@pytest.fixture
def around(tmp_path) -> House:
    """A workflow around this one, with a key of its own in its configuration."""
    house = House.furnish(tmp_path)
    house.edit("config.yaml", "study:", f"clone: {ROOT}\nstudy:")
    return house


def around_it(*arguments: str) -> list[str]:
    return ["--snakefile", f"{ROOT}/tests/workflow/around.smk", *arguments]


def test_as_a_module_it_writes_where_it_is_told(around):
    shown = around.snakemake("--summary", *around_it())
    assert shown.returncode == 0, shown.stderr
    table = pd.read_csv(io.StringIO(shown.stdout), sep="\t")
    assert set(table.rule) == {f"recovery_{name}" for name in ("simulate", "train", "round", "collect")}
    others = table[~table.output_file.str.startswith("elsewhere/")].output_file  # the study's own results_dir
    assert set(others) == {f"results/tiny/{name}.csv" for name in ("metrics", "baselines", "costs")}


def test_as_a_module_it_ends_no_process(around):
    around.edit("study.yaml", "n_epochs: 2", "n_epochs: 0")
    shown = around.snakemake("-n", *around_it())
    assert shown.returncode == 1 and "WorkflowError" in shown.stdout
    assert any(line.startswith("study.yaml") and "n_epochs" in line for line in shown.stdout.splitlines())


def test_a_key_that_means_nothing_is_refused(tmp_path):
    shown = House.furnish(tmp_path).snakemake("-n", "--config", "studdy=study.yaml")
    assert shown.returncode == 2 and "error: config: studdy: found an unknown key" in shown.stderr
