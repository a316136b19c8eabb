"""Trajectories of an SBML model by its own kinetic laws, which libroadrunner integrates (CVODE).

Source: Welsh et al., libRoadRunner 2.0: a high performance SBML simulation and analysis library, Bioinformatics 2023.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from stoirec.data.data_file import with_trajectories
from stoirec.errors import BadInput
from stoirec.models.model import Model, listing
from stoirec.models.posed import Posed
from stoirec.models.sbml import sbml_text
from stoirec.simulate.truth import recorded_truth
from stoirec.streams import generator_stream

if TYPE_CHECKING:
    import roadrunner

_RELATIVE, _ABSOLUTE = 1e-10, 1e-13  # tolerances of the integration; absolute: of the largest amount
_MAX_STEPS = 100_000  # between two frames
_RESTING = 1e-9  # of the largest: rates below are rounding


@dataclass(frozen=True)
class Trajectories:
    """Runs of a model, the last one for validation.

    Attributes:
        species, reactions: ids.
        time: (T,) in the model's unit.
        amount: (runs, T, M) of its species, over the volume of the largest compartment.
        flux: (runs, T, R) of its reactions, net, amount over the same volume per time.
    """

    species: tuple[str, ...]
    reactions: tuple[str, ...]
    time: np.ndarray
    amount: np.ndarray
    flux: np.ndarray

    def both_ways(self, model: Model) -> Model:
        """`model` with all reactions reversible that run backward, and a remark where it says otherwise."""
        net = self.flux.reshape(-1, len(self.reactions))
        backward = net.min(0) < -_RESTING * np.abs(net).max(0)
        found = {id_ for id_, of in zip(self.reactions, backward) if of}
        against = [each.id for each in model.reactions if each.id in found and not each.reversible]
        remark = (f"run backward, though the file says they do not: {listing(against)}",) if against else ()
        reactions = tuple(replace(each, reversible=each.reversible or each.id in found) for each in model.reactions)
        return replace(model, reactions=reactions, remarks=model.remarks + remark)

    def of(self, posed: Posed) -> tuple[np.ndarray, np.ndarray]:
        """(runs, T, M) amounts and (runs, T, R) fluxes of the species and directions of a question."""
        graph = posed.space.graph
        flux = np.empty((*self.flux.shape[:2], graph.n_reactions))
        none = np.full(graph.n_reactions, -1)
        reverse_of = none if posed.space.reverse_of is None else posed.space.reverse_of
        for j, (name, forward) in enumerate(zip(graph.reaction_names, reverse_of)):
            net = self.flux[:, :, self.reactions.index(graph.reaction_names[forward] if forward >= 0 else name)]
            if forward >= 0:
                flux[:, :, j], flux[:, :, forward] = np.maximum(-net, 0.0), np.maximum(net, 0.0)
            else:
                flux[:, :, j] = net
        return self.amount[:, :, [self.species.index(name) for name in graph.metabolite_names]], flux

    def beside(self, network: xr.Dataset, posed: Posed) -> tuple[xr.Dataset, dict[str, xr.Dataset]]:
        """The content of data.nc: `network` with the runs of a question, and the group that holds the truth."""
        amount, flux = self.of(posed)
        matrix = posed.space.graph.matrix(posed.coefficient)
        roles = [0] * (len(amount) - 1) + [1]
        truth = recorded_truth(matrix, posed.coefficient != 0, flux)
        return with_trajectories(network, self.time, amount, flux @ matrix.T, roles), {"truth": truth}


def integrate(
    path: str | Path,
    model: Model,
    times: np.ndarray,
    n_runs: int,
    variation: float,
    seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Trajectories:
    """`n_runs` runs of the `model` in an SBML file, each from initial amounts of its own.

    Amounts are those of the file times factors, log-uniform within 1 + `variation`; one that is 0 there starts within
    the smallest of the others. They hold a step before the first of `times`, which start at 0: fast reactions relax at
    once from amounts that were set by hand, and one such frame would outweigh all others.

    Raises:
        BadInput: no kinetic laws, or amounts that get negative or out of bounds.
    """
    runner = _runner(path, sbml_text(path))
    species = [each.id for each in model.species if each.followed]
    reactions = [each.id for each in model.reactions]
    volume = max(runner.model.getCompartmentVolumes(), default=1.0)
    floating = list(runner.model.getFloatingSpeciesIds())
    missing = [id_ for id_ in species if id_ not in floating]
    if missing:
        raise BadInput(path, f"species {missing[0]}", "set by a rule", "species that reactions change, for --simulate")
    start = np.array(runner.model.getFloatingSpeciesAmounts(), float)
    rng = generator_stream("initial concentrations", seed)
    runs = []
    for run in range(n_runs):
        runner.resetAll()
        runner.model.setFloatingSpeciesAmounts(_varied(start, variation, rng))
        runner.timeCourseSelections = ["time", *species, *reactions]
        try:
            runs.append(np.array(runner.simulate(times=[0.0, *(times + times[1])]))[1:])
        except RuntimeError as error:
            raise BadInput(path, "kineticLaw", f"run {run}: {error}", "laws that can be integrated") from None
        progress(run)
    found = np.array(runs)
    if not np.isfinite(found).all():
        raise BadInput(path, "kineticLaw", "amounts or rates that are not finite", "laws that can be integrated")
    amount, flux = found[:, :, 1 : 1 + len(species)] / volume, found[:, :, 1 + len(species) :] / volume
    if amount.min() < -_RESTING * amount.max():
        name = species[int(np.unravel_index(amount.argmin(), amount.shape)[2])]
        raise BadInput(path, f"species {name}", f"{amount.min():.3g} in a run", "amounts >= 0: a smaller --variation")
    return Trajectories(tuple(species), tuple(reactions), times, amount.clip(min=0), flux)


def _runner(path: str | Path, sbml: str) -> "roadrunner.RoadRunner":
    try:
        import roadrunner  # its wheel wants Python's shared library, which not every Python has
    except ImportError as error:
        found = f"libroadrunner, which does not load here ({error})"
        raise BadInput(path, "--simulate", found, "a Python with its shared library (Debian: libpython3-dev)") from None
    roadrunner.Logger.setLevel(roadrunner.Logger.LOG_FATAL)
    try:
        runner = roadrunner.RoadRunner(sbml)
    except RuntimeError as error:
        raise BadInput(path, "kineticLaw", str(error), "a model that can be simulated") from None
    integrator = runner.getIntegrator()
    integrator.setValue("relative_tolerance", _RELATIVE)
    integrator.setValue("absolute_tolerance", _ABSOLUTE * max(1e-30, *runner.model.getFloatingSpeciesAmounts()))
    integrator.setValue("maximum_num_steps", _MAX_STEPS)
    return runner


def _varied(start: np.ndarray, variation: float, rng: np.random.Generator) -> np.ndarray:
    factor = (1 + variation) ** rng.uniform(-1, 1, len(start))
    least = start[start > 0].min(initial=np.inf)
    return np.where(start > 0, start * factor, least * rng.uniform(0, 1, len(start)) if np.isfinite(least) else 0.0)
