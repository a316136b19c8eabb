"""The bundled recipes of `stoirec recover` (recipes/*.yaml), and which of them a data set calls for."""

from importlib.resources import as_file, files

import numpy as np

from stoirec.config.fit import FitConfig, load_fit_config
from stoirec.config.regime import RateLawName
from stoirec.data.dataset import Data
from stoirec.data.frames import ENOUGH_RUNS, effective_runs
from stoirec.errors import Unsuitable
from stoirec.network.columns import PER_SIDE

_USED_UP = 1e-6  # of the RMS of concentrations: a limited substrate ends below, 2e-12 and less on flux_limited
# RMS of what an Euler step leaves over that of the steps: 1e-14 on flux_limited (1e-5 in float32), 1e-3 on pde_m1
_EXPLICIT = 1e-4
# of the reactions: fewer with many candidates are large ones, as glutamine synthetase with four on each side
_CROWDED = 0.1
_ENOUGH = 0.02  # val_loss from which refinement is sooner than more gradient descent
# functions that take in what enzymes differ by: with 16 and 4, network 1 of pde_m1_enzymes is 0.987, with these 0.996
_WIDER = {"hidden_dim": 32, "output_size": 8}


def load(name: str) -> FitConfig:
    """The bundled recipe of that name."""
    with as_file(files("stoirec.learn") / "recipes" / f"{name}.yaml") as path:
        return load_fit_config(path)


def configured(name: str, data: Data, rate_law: RateLawName, seed: int) -> FitConfig:
    """The bundled recipe of that name for all training runs of `data`, with a rate law, from a random start.

    Gradient descent by `best` ends early for functions that all reactions share, where runs differ: else what was held
    out is like what was trained on. Constants of each reaction are to be found before columns are judged by them.
    """
    config = load(name).with_rate_law(rate_law)
    if config.graph_model.enzyme_dim:
        wider = config.graph_model.model_copy(update=_WIDER)
        rate = config.learning_rate_start  # numbers of reactions are learned as the functions are
        config = config.model_copy(update={"graph_model": wider, "learning_rate_embedding_start": rate})
    n_runs = data.n_training_runs
    early = name == "best" and rate_law == "pde_m1" and effective_runs(data.training_frames(n_runs)) >= ENOUGH_RUNS
    own = {"n_runs": n_runs, "seed": seed, "enough_val_loss": _ENOUGH if early else 0.0}
    return config.model_copy(update=own)


def choose(data: Data) -> tuple[str, str]:
    """(name of the recipe for `data`, why), from what a learner may see."""
    crowded, limited = n_crowded(data), euler_steps(data)
    unsigned = int(((data.space.sign == 0) & ~data.space.catalyses).sum())
    doubtful = 0 if data.space.real is None else int((~data.space.real & np.isnan(data.space.known)).sum())
    if doubtful:
        reason = f"{doubtful} of {data.graph.n_edges} edges may not be real"
        return "decoys", reason + ("; a flux limiter beside them is untested" if limited else "")
    of_signs = f"the signs of {unsigned} of {data.graph.n_edges} edges are not known"
    if crowded > _CROWDED * data.graph.n_reactions:
        reason = (
            f"{crowded} of {data.graph.n_reactions} reactions have more than {PER_SIDE} candidate substrates or "
            "products, which cannot all be real"
        )
        both = "; the frames are explicit Euler steps as well: decoys with a flux limiter are untested"
        return "decoys", reason + (f", and {of_signs}" if unsigned else "") + (both if limited else "")
    if unsigned:
        return "unsigned", of_signs + ("; a flux limiter with unknown signs is untested" if limited else "")
    if limited:
        return "flux_limited", "the frames are explicit Euler steps of dcdt, as with a flux limiter"
    reverse_of = data.space.reverse_of
    if reverse_of is not None and (reverse_of >= 0).any():
        return "reversible", f"{int((reverse_of >= 0).sum())} of the reactions run both ways"
    few = f"only {crowded} of {data.graph.n_reactions} reactions have" if crowded else "no reaction has"
    real = f"{few} more than {PER_SIDE} candidate substrates or products"
    no_limiter = "nobody measured dcdt" if data.courses else "the frames are no Euler steps with substrates used up"
    return "best", f"{no_limiter}, and {real}"


def n_crowded(data: Data) -> int:
    """Reactions with more candidates on a side than can be real, if nobody says that they are."""
    graph = data.graph
    if data.space.real is not None:
        return 0
    sides = (
        np.bincount(graph.edge_reaction[of & ~data.space.catalyses], minlength=graph.n_reactions)
        for of in (graph.edge_is_substrate, ~graph.edge_is_substrate)
    )
    return int((np.maximum(*sides) > PER_SIDE).sum())


def euler_steps(data: Data) -> bool:
    """Whether c[t+1] = c[t] + dt dcdt[t] at equal time steps: so a limited flux is simulated, no smooth trajectory.

    Where steps are so short that a smooth trajectory passes, no substrate is used up within one, and a limiter changes
    nothing. Nor does it where dcdt is a user's forward differences, but nothing is ever used up.
    """
    concentration = data.concentration
    if data.courses:  # nobody measured derivatives
        return False
    if concentration.min() > _USED_UP * np.sqrt(np.mean(concentration**2)):
        return False
    try:
        dt = data.dt
    except Unsuitable:  # unequal time steps, or one frame
        return False
    step = np.diff(concentration, axis=1)
    left = step - dt * data.dcdt[:, :-1]
    return bool(np.sqrt(np.mean(left**2)) < _EXPLICIT * np.sqrt(np.mean(step**2)))
