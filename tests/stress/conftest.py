"""A folder with good files of every kind that a command reads, each as a command makes it."""

import json
import signal
import time
from pathlib import Path

import nbformat.v4
import pandas as pd
import pytest

from processes import there
from stoirec.report.contents import chapter_names
from stoirec.study.expansion import expand, fits_of, waves
from stoirec.study.store import Store

FIT = {"n_runs": 2, "n_epochs": 1, "batch_size": 16, "data_augmentation_loop": 5, "n_snapshots": 2}
STUDY = {
    "name": "s",
    "regime": "regime.yaml",
    "network_seeds": [1],
    "select_by": "val_loss",
    "pack": 2,
    "base": FIT,
    "stages": [{"name": "a"}, {"name": "b", "grid": {"seed": [1, 2]}}],
}
MODEL = "reaction,equation,candidates\nR1,A + 2 B -> C\nR2,C <-> D\nR3,D -> A,B\n"
RUNS = "run,time [min],A [mM],B,C,D\n" + "".join(
    f"{run},{time},{1 + run / (1 + time)},{2 - time / 9},{time / 7},0.{time}\n"
    for run in (1, 2, 3)
    for time in range(8)
)
ROAD = [
    "simulate regime.yaml -o data.nc",
    "train data.nc --config fit.yaml -o fit.nc",
    "round fit.nc -o recovery.nc",
    "export recovery.nc -o model.xml",
    "import model.csv --table runs.csv -o own.nc",
    "simulate regime.yaml --seed 1 -o results/data/tiny-seed1.nc",
]


@pytest.fixture(scope="session")
def good(tiny_regime, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("good")
    for name, content in (
        ("regime.yaml", tiny_regime.model_dump_json(indent=1)),
        ("fit.yaml", json.dumps(FIT, indent=1)),
        ("long.yaml", json.dumps(FIT | {"epoch_steps": 100}, indent=1)),
        ("study.yaml", json.dumps(STUDY, indent=1)),
        ("model.csv", MODEL),
        ("species.csv", "species,formula,charge\nA,CO2,0\nB,O,-1\nC,CO4,-2\nD,CO4,-2\n"),
        ("runs.csv", RUNS),
    ):
        (path / name).write_text(content)
    with pd.ExcelWriter(path / "runs.xlsx") as book:
        for run, rows in pd.read_csv(path / "runs.csv").groupby("run"):
            rows.drop(columns="run").to_excel(book, sheet_name=f"run {run}", index=False)
    for command in ROAD:
        done(path, command)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        studied(path)
    half_trained(path)
    return path


def done(folder: Path, command: str) -> None:
    code, said = there(folder, command.split()).ended()
    assert code == 0, said


def studied(folder: Path) -> None:
    """The study, as its workflow leaves it; the folder is the working directory."""
    store = Store("results")
    study, _ = expand("study.yaml")
    for wave in waves(study):
        if wave.planned:
            done(folder, f"choose study.yaml --wave {wave.name} -o results/waves/{wave.name}.json")
        for fit in fits_of(study, wave, "study.yaml"):
            config, path = store.config(fit.fit_id), store.fit(fit.fit_id)
            if not path.exists():
                config.parent.mkdir(parents=True)
                config.write_text(fit.config.model_dump_json(exclude_defaults=True))
                done(folder, f"train {store.data(fit.data)} --config {config} -o {path}")
                done(folder, f"round {path} -o {store.recovery(fit.fit_id)}")
    store.pack("tiny-seed1/2-0123456789").write_text("".join(f"{fit.fit_id}\n" for fit in expand("study.yaml")[1]))
    store.benchmark("collect", "s").parent.mkdir(parents=True)
    store.benchmark("collect", "s").write_text("s\tmax_rss\n1.0\t100.0\n")
    done(folder, "collect study.yaml -o results/metrics.csv --baselines results/baselines.csv")
    Path("notebooks").mkdir()
    for name in chapter_names():
        cells = [nbformat.v4.new_markdown_cell(f"# {name}\n## One"), nbformat.v4.new_code_cell("1", execution_count=1)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), f"notebooks/{name}.ipynb")


def half_trained(folder: Path) -> None:
    """whole.nc, and kept.ckpt of the same training half way."""
    command = "train data.nc --config long.yaml -o kept.nc --checkpoint-seconds 0"
    done(folder, command)
    (folder / "kept.nc").rename(folder / "whole.nc")
    process = there(folder, command.split())
    while not (folder / "kept.ckpt").exists():
        time.sleep(0.001)
    process.kill(signal.SIGTERM)
    code, said = process.ended()
    assert code == 128 + signal.SIGTERM and (folder / "kept.ckpt").exists(), said
