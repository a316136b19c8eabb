"""The real workflow recovers a small network exactly: from its regime to the tables."""

import pandas as pd
import xarray as xr

from house import House

# where the regime of tests/unit/test_exactness.py, which the recipe recovers, differs from the tiny study's
REGIME = {
    "reaction_shapes: {1-1: 0.2, 1-2: 0.2, 2-1: 0.3, 2-2: 0.3}": "reaction_shapes: "
    "{1-1: 0.25, 2-1: 0.25, 2-2: 0.25, 3-2: 0.25}",
    "n_runs: 2": "n_runs: 3",
    "n_frames: 300": "n_frames: 400",
    "{initialisation: monotone}": "{initialisation: monotone, hidden_dim: 12, output_size: 6}",
}


def test_the_workflow_ends_with_the_exact_matrix(tmp_path):
    house = House.furnish(tmp_path, "exact_study.yaml")
    for old, new in REGIME.items():
        house.edit("regime.yaml", old, new)
    shown = house.snakemake("results/exact/metrics.csv")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    table = pd.read_csv(house.results / "exact/metrics.csv")
    answer = table[table.is_answer].iloc[0]
    assert (answer.method, answer.entry_exact, answer.reaction_exact) == ("refined", 1.0, 1.0)
    assert sorted(table.method) == ["mass_balanced", "nearest", "refined", "scaled", "scaled_mass_balanced"]
    with xr.open_dataset(house.results / "fits" / answer.fit_id / "recovery.nc") as recovery:
        assert recovery["confidence"].values.min() > 0.99
        found = recovery["stoichiometry"].values
    with xr.open_dataset(house.results / "data/tiny-seed2.nc", group="truth") as truth:
        assert (truth["stoichiometry"].values == found).all()
    baselines = pd.read_csv(house.results / "exact/baselines.csv")
    assert baselines[baselines.variant.str.startswith("baseline")].entry_exact.max() < 0.8
