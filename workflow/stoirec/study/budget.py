"""What a study will take, counted before anything runs."""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from stoirec.config.fit import FitConfig, GraphModel
from stoirec.config.regime import load_regime
from stoirec.config.study import Study
from stoirec.errors import BadInput
from stoirec.files import contents, netcdf
from stoirec.study.expansion import Wave, fits_of, grid, recovery_criterion, training_seeds, waves
from stoirec.study.identity import Fit, flat, flatten
from stoirec.study.packs import packs as packs_of
from stoirec.study.store import Store

# Measured on one core of an Intel Xeon at 2.1 GHz, default regime and model (docs/benchmarks.md).
STEP_SECONDS = 5e-3  # 3 ms with functions of 213 weights, 6 with 1,201
REFINEMENT_SECONDS = 0.018  # of a round of refinement, for each weight of the functions: 22 s at 1,201, 4 s at 213
REFINEMENT_SECONDS_GATED = 0.05  # the same where candidate edges may be decoys
START_SECONDS = 10.0  # of a fit: two Python processes, reading, decoding; half of it for training, which a pack shares
PACKED_STEP = {8: 0.45, 32: 0.7}  # of a step alone, in a pack of fits with batches of up to so many frames
_MEASURED = 8  # finished fits the time of a step is taken from


@dataclass(frozen=True)
class Budget:
    """What a study needs in all, and what of it is still to be done.

    Attributes:
        fits, steps: in all; at_most: an upper bound, for later waves follow from results.
        left: fits without an answer; seconds: of processor time for them; packs: jobs that train several of them.
        measured: whether the time of a step is from fits of this store, not from a constant.
    """

    fits: int
    steps: int
    at_most: bool
    left: int
    seconds: float
    measured: bool
    packs: int


def budget(study: Study, path: str | Path, store: Store) -> Budget:
    """Count a study: known waves exactly, later ones from above.

    A later wave cannot have more fits than its candidates times seeds times networks, nor a fit of it more steps than
    the largest values any earlier stage could have left in its base.
    """
    n_frames = load_regime(study.regime).n_frames
    known, later = _known_and_later(study, path)
    n_later = sum(count for count, _ in later)
    later_steps = sum(count * longest.n_steps(n_frames) for count, longest in later)
    refinement = sum(count * _refinement_seconds(longest) for count, longest in later)

    done, left = [], []
    for fit in known:
        (done if store.recovery(fit.fit_id).exists() else left).append(fit)
    trainings = {fit.training_id: fit.config for fit in known}
    waiting = {fit.training_id: fit.config for fit in left if not store.fit(fit.training_id).exists()}
    packs = [pack for pack in packs_of(left, study.pack, store).values() if not waiting.keys().isdisjoint(pack)]
    packed = {name for pack in packs for name in pack}
    refinement += sum(_refinement_seconds(config) for config in waiting.values())
    per_step = _measured(store, done)
    step_seconds = sum(
        config.n_steps(n_frames) * (per_step or STEP_SECONDS * (_packed_step(config) if name in packed else 1))
        for name, config in waiting.items()
    )
    n_left = n_later + len(left)
    return Budget(
        fits=len(known) + n_later,
        steps=sum(config.n_steps(n_frames) for config in trainings.values()) + later_steps,
        at_most=bool(later),
        left=n_left,
        seconds=later_steps * (per_step or STEP_SECONDS)
        + step_seconds
        + refinement
        + (n_left - (len(packed) - len(packs)) / 2) * START_SECONDS,
        measured=per_step is not None,
        packs=len(packs),
    )


def summary(study: Study, path: str | Path, store: Store) -> str:
    """One line: what the study asks for, and what is left of it."""
    need = budget(study, path, store)
    most = "at most " if need.at_most else ""
    networks = len({seed for stage in study.stages for seed in stage.network_seeds or study.network_seeds})
    held_out = f" and {len(study.evaluation_seeds)} held-out network(s)" if study.evaluation_seeds else ""
    line = f"study {study.name}: {most}{need.fits} fits on {networks} network(s){held_out}, {most}{need.steps:,} steps"
    if not need.left:
        return f"{line}; all fits are done"
    source = "measured here" if need.measured else "assumed"
    done = f"; {need.fits - need.left} done" if need.left < need.fits else ""
    packs = f", {need.packs} pack(s)" if need.packs else ""
    return f"{line}{done}; {most}{need.seconds / 3600:.2f} core hours to go{packs} (time per step {source})"


def _packed_step(config: FitConfig) -> float:
    """Seconds of a step in a pack over those of one alone."""
    return next((share for frames, share in PACKED_STEP.items() if config.batch_size <= frames), 1.0)


def _refinement_seconds(config: FitConfig) -> float:
    per_weight = REFINEMENT_SECONDS_GATED if config.graph_model.substrate_gate else REFINEMENT_SECONDS
    return config.refinement_rounds * per_weight * _n_weights(config.graph_model)


def _n_weights(shape: GraphModel) -> int:
    """Weights and biases of both functions."""
    hidden = [shape.hidden_dim] * (shape.n_layers - 2)
    ends = ((2 + shape.embedding_dim + shape.enzyme_dim, shape.output_size), (shape.output_size, 1))
    layers = (itertools.pairwise([n_in, *hidden, n_out]) for n_in, n_out in ends)
    return sum((n_in + 1) * n_out for own in layers for n_in, n_out in own)


def _measured(store: Store, done: list[Fit]) -> float | None:
    """Median seconds of a step over some finished fits: this study's, else the store's newest; None without any."""
    paths = [store.fit(fit.training_id) for fit in done] or store.trained()
    found = []
    for path in paths[-_MEASURED:]:
        try:
            attributes = netcdf.attributes(path, (*contents.ENDED, *contents.COSTS))
        except BadInput:
            continue  # being written, or removed
        if attributes["status"] == "ok" and not json.loads(attributes["config"]).get("refinement_rounds"):
            found.append(attributes["wall_time_s"] / max(attributes["n_steps"], 1))
    return median(found) if found else None


# --- waves whose fits are not known yet -------------------------------------------------------------------------------


def _known_and_later(study: Study, path: str | Path) -> tuple[list[Fit], list[tuple[int, FitConfig]]]:
    """The fits known by now, each once, and of each candidate of a later wave (fits, the longest it could be)."""
    known: dict[str, Fit] = {}
    later: list[tuple[int, FitConfig]] = []
    possible = _Possible(study)
    for wave in waves(study):
        fits = None if later else fits_of(study, wave, path)
        possible.add(wave)
        if fits is None:
            later += possible.fits(wave)
        else:
            known |= {fit.fit_id: fit for fit in fits}
    return list(known.values()), later


class _Possible:
    """The values that decide how long a fit takes, as far as a later wave could meet them."""

    _SHAPE = ("substrate_gate", "hidden_dim", "output_size", "n_layers", "embedding_dim", "reaction_embedding_dim")
    _MORE: tuple[str, ...] = ("n_epochs", "data_augmentation_loop", "epoch_steps", "refinement_rounds")
    _MORE += tuple(map("graph_model.{}".format, _SHAPE))
    _LESS = ("batch_size",)  # the smaller, the more steps

    def __init__(self, study: Study) -> None:
        self.study = study
        base = flat(FitConfig()) | flatten(study.base)
        self.longest: dict[str, int | None] = {key: base[key] for key in self._MORE + self._LESS}

    def add(self, wave: Wave) -> None:
        """A wave may leave any of its own values to those after it."""
        if wave.stage is None:
            return
        changes = [candidate.overrides for candidate in grid(wave.stage)]
        changes += [{key: end} for key, choice in wave.stage.space.items() for end in choice.ends]
        for change in changes:
            for key in self.longest.keys() & change.keys():
                values = [value for value in (self.longest[key], change[key]) if value is not None]
                self.longest[key] = (min if key in self._LESS else max)(values, default=None)

    def fits(self, wave: Wave) -> list[tuple[int, FitConfig]]:
        """(fits, the longest one there could be) of each candidate of a wave that is not known yet."""
        networks = self.study.evaluation_seeds if wave.stage is None else self.study.network_seeds
        count = len(training_seeds(self.study, wave.stage) or [None]) * len(networks)
        return [(count, self._longest(overrides)) for overrides in self._candidates(wave)]

    def _candidates(self, wave: Wave) -> list[dict[str, Any]]:
        """What each candidate of a wave is sure to set; {} where that follows from results."""
        study, stage = self.study, wave.stage
        if stage is None:
            compared = [flatten(study.base) | flatten(overrides) for overrides in study.compare_with.values()]
            return [{}] * len({study.select_by, "val_loss", recovery_criterion(study)}) + compared
        if stage.search:
            candidates = [{}] * stage.batch_sizes[wave.batch]
        else:
            candidates = [candidate.overrides for candidate in grid(stage)]
        before = study.stages[: study.stages.index(stage)]
        if before and not wave.batch and training_seeds(study, stage) != training_seeds(study, before[-1]):
            candidates.append({})  # the winner before, with seeds it was not trained with
        return candidates

    def _longest(self, overrides: dict[str, Any]) -> FitConfig:
        """Not checked: the values may come from candidates that do not go together."""
        longest = self.longest | {key: value for key, value in overrides.items() if key in self.longest}
        shape = GraphModel(**{key: longest.pop(f"graph_model.{key}") for key in self._SHAPE})
        return FitConfig().model_copy(update=longest | {"graph_model": shape})
