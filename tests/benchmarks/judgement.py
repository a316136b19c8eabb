"""What each constant behind refinement's choices is worth: half and twice of it, on small networks of several kinds.

    python tests/benchmarks/judgement.py [constant ...] > judgement.csv

Gradient descent is done once for each network; a line tells, summed over the networks, how many entries are right,
how many are sure (confidence 0.99) and how many of the sure ones are wrong. Of what is near 1 the distance from it is
halved and doubled; of what starts at 1, what is above.
"""

import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import yaml

from stoirec.answer.recovery import recover
from stoirec.config.fit import FitConfig
from stoirec.config.judgement import DEFAULT, Judgement
from stoirec.data.dataset import read_data
from stoirec.learn.training import Training
from stoirec.simulate.truth import read_truth

ROOT = Path(__file__).parents[2]

KINDS = {
    "default": {},
    "odd": {"odd_reactions": 0.12},
    "alike": {"initial_variation": 0.02},
    "noise": {"dcdt_noise": 0.02},
}
SEEDS = (2, 3)
FROM_ONE = ("clear", "most", "likely", "times_noise", "apart", "own_runs", "run_away")
RECIPE = {
    "n_runs": 3,
    "n_epochs": 5,
    "epoch_steps": 270,
    "learning_rate_start": 1e-2,
    "coeff_mass_conservation": 0.03,
    "role_prior": True,
    "refinement_rounds": 10,
    "graph_model": {"hidden_dim": 16, "output_size": 8},
}


class Network:
    """A data set with its truth, and a training that has come to the end of gradient descent."""

    def __init__(self, folder: Path, kind: str, seed: int) -> None:
        regime = yaml.safe_load((ROOT / "tests/workflow/regime.yaml").read_text()) | {"n_runs": 3} | KINDS[kind]
        source, self.path = folder / f"{kind}.yaml", folder / f"{kind}_{seed}.nc"
        source.write_text(yaml.safe_dump(regime))
        command = [sys.executable, "-m", "stoirec", "simulate", source, "--seed", str(seed), "-o", self.path]
        subprocess.run(command, check=True, capture_output=True)
        self.data = read_data(self.path)
        training = self.training(DEFAULT)
        while training.descent.step < training.descent.schedule.n_steps:
            training.descent.advance()
        self.descended = training.checkpoint()

    def training(self, judgement: Judgement) -> Training:
        return Training(self.data, FitConfig(**RECIPE, judgement=judgement), torch.device("cpu"))

    def recovered(self, judgement: Judgement) -> np.ndarray:
        """Entries, those that are right, those that are sure, those that are sure and wrong."""
        training, graph = self.training(judgement), self.data.graph
        training.resume(self.descended)
        while training.rounds.left():
            training.rounds.advance()
        training.snapshot()
        answer = recover(training.content(), "fit")
        at = graph.edge_metabolite, graph.edge_reaction
        right = answer.stoichiometry.values[at] == read_truth(self.path, graph).stoichiometry[at]
        sure = answer.confidence.values >= 0.99
        return np.array([len(right), right.sum(), sure.sum(), (sure & ~right).sum()])


def variants(names: list[str]) -> Iterator[tuple[str, float, Judgement]]:
    """The default, then half and twice of each constant."""
    yield "default", float("nan"), DEFAULT
    for name in names:
        value = getattr(DEFAULT, name)
        for factor in (0.5, 2.0):
            from_one = name in FROM_ONE
            changed = (
                1 + (value - 1) * factor if from_one else min(value * factor, 0.9 if value < 1 else value * factor)
            )
            yield name, changed, DEFAULT.model_copy(update={name: changed})


def main() -> None:
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        networks = {(kind, seed): Network(Path(folder), kind, seed) for kind in KINDS for seed in SEEDS}
        kinds = [f"{kind}_{of}" for kind in KINDS for of in ("entries", "right", "sure", "sure_wrong")]
        print("constant,value," + ",".join(kinds), flush=True)
        for name, value, judgement in variants(sys.argv[1:] or list(Judgement.model_fields)):
            counts = [sum(networks[kind, seed].recovered(judgement) for seed in SEEDS) for kind in KINDS]
            print(f"{name},{value:g}," + ",".join(map(str, np.concatenate(counts))), flush=True)


if __name__ == "__main__":
    main()
