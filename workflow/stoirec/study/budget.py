"""What a study will take, counted before anything runs."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from stoirec.config.fit import FitConfig, GraphModel
from stoirec.config.regime import load_regime
from stoirec.config.study import Study
from stoirec.errors import BadInput
from stoirec.files import netcdf
from stoirec.study.expansion import Fit, Wave, fits_of, flat, flatten, grid, recovery_criterion, training_seeds, waves

# Measured on one core of an Intel Xeon at 2.1 GHz, default regime and model (docs/benchmarks.md).
STEP_SECONDS = 7.5e-3
ROUND_SECONDS = 25.0  # of refinement
ROUND_SECONDS_GATED = 60.0  # the same where candidate edges may be decoys
START_SECONDS = 10.0  # of a job: two Python processes, reading, decoding
_MEASURED = 8  # finished fits the time of a step is taken from


@dataclass(frozen=True)
class Budget:
    """What a study needs in all, and what of it is still to be done.

    Attributes:
        fits, steps: in all; at_most: an upper bound, for later waves follow from results.
        left: fits to be done; seconds: of processor time for them; measured: from fits of this store, not from a constant.
    """

    fits: int
    steps: int
    at_most: bool
    left: int
    seconds: float
    measured: bool


def budget(study: Study, path: str | Path, store: Path) -> Budget:
    """Count a study: known waves exactly, later ones from above.

    A later wave cannot have more fits than its candidates times seeds times networks, nor a fit of it more steps than the
    largest values any earlier stage could have left in its base.
    """
    n_frames = load_regime(study.regime).n_frames
    known: dict[str, Fit] = {}
    n_more, steps_more, refinement = 0, 0, 0.0
    possible = _Possible(study)
    open_end = False
    for wave in waves(study):
        fits = None if open_end else fits_of(study, wave, path)
        possible.add(wave)
        if fits is not None:
            known |= {fit.fit_id: fit for fit in fits}
            continue
        open_end = True
        for count, most in possible.fits(wave):
            n_more, steps_more, refinement = (
                n_more + count,
                steps_more + count * most.n_steps(n_frames),
                refinement + count * _refinement_seconds(most),
            )
    done, todo = [], []
    for fit in known.values():
        (done if (store / "fits" / fit.fit_id / "recovery.nc").exists() else todo).append(fit)
    per_step = _measured(store, done)
    left_steps = steps_more + sum(fit.config.n_steps(n_frames) for fit in todo)
    refinement += sum(_refinement_seconds(fit.config) for fit in todo)
    left = n_more + len(todo)
    return Budget(
        fits=len(known) + n_more,
        steps=sum(fit.config.n_steps(n_frames) for fit in known.values()) + steps_more,
        at_most=open_end,
        left=left,
        seconds=left_steps * (per_step or STEP_SECONDS) + refinement + left * START_SECONDS,
        measured=per_step is not None,
    )


def _refinement_seconds(config: FitConfig) -> float:
    return config.refinement_rounds * (ROUND_SECONDS_GATED if config.graph_model.substrate_gate else ROUND_SECONDS)


def summary(study: Study, path: str | Path, store: Path) -> str:
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
    return f"{line}{done}; {most}{need.seconds / 3600:.2f} core hours to go (time per step {source})"


class _Possible:
    """The values that decide how long a fit takes, as far as a later wave could meet them."""

    _MORE = ("n_epochs", "data_augmentation_loop", "refinement_rounds", "graph_model.substrate_gate")
    _LESS = ("batch_size",)  # the smaller, the more steps

    def __init__(self, study: Study) -> None:
        self.study = study
        base = flat(FitConfig()) | flatten(study.base)
        self.values: dict[str, list[int]] = {key: [base[key]] for key in self._MORE + self._LESS}

    def add(self, wave: Wave) -> None:
        """A wave may leave any of its own values to those after it."""
        for candidate in self._candidates(wave):
            for key in self.values:
                self.values[key].append(candidate.get(key, self.values[key][0]))

    def _candidates(self, wave: Wave) -> list[dict[str, Any]]:
        stage = wave.stage
        if stage is None:
            return []
        overrides = [candidate.overrides for candidate in grid(stage)]
        ends = {key: choice.categorical or choice.int_ or choice.float_ for key, choice in stage.space.items()}
        return overrides + [{key: end} for key, values in ends.items() for end in values]

    def fits(self, wave: Wave) -> list[tuple[int, FitConfig]]:
        """(fits, the longest one there could be) of each candidate of a wave that is not known yet."""
        study, stage = self.study, wave.stage
        if stage is None:
            compared = [flatten(study.base) | flatten(overrides) for overrides in study.compare_with.values()]
            candidates = [{}] * len({study.select_by, "val_loss", recovery_criterion(study)}) + compared
            networks = study.evaluation_seeds
        else:
            networks = study.network_seeds
            if stage.search:
                candidates = [{}] * min(stage.batch_size, stage.n_trials - wave.batch * stage.batch_size)
            else:
                candidates = [candidate.overrides for candidate in grid(stage)]
            index = study.stages.index(stage)
            if (
                index
                and not wave.batch
                and training_seeds(study, stage) != training_seeds(study, study.stages[index - 1])
            ):
                candidates = [{}, *candidates]  # the winner before, with seeds it was not trained with
        count = len(training_seeds(study, stage) or [None]) * len(networks)
        return [(count, self._longest(overrides)) for overrides in candidates]

    def _longest(self, overrides: dict[str, Any]) -> FitConfig:
        """Not checked: the values may come from candidates that do not go together."""
        most = {key: max(self.values[key]) for key in self._MORE} | {key: min(self.values[key]) for key in self._LESS}
        most |= {key: value for key, value in overrides.items() if key in most}
        shape = GraphModel(substrate_gate=most.pop("graph_model.substrate_gate"))
        return FitConfig().model_copy(update=most | {"graph_model": shape})


def _measured(store: Path, done: list[Fit]) -> float | None:
    """Median seconds of a step over some finished fits: this study's, else the newest of the store; None without any."""
    paths = [store / "fits" / fit.fit_id / "fit.nc" for fit in done[-_MEASURED:]]
    if not paths:
        paths = sorted((store / "fits").glob("*/*/fit.nc"), key=lambda path: path.stat().st_mtime)[-_MEASURED:]
    found = []
    for path in paths:
        try:
            attributes = netcdf.attributes(path)
        except BadInput:
            continue  # being written, or removed
        if attributes.get("status") == "ok" and not json.loads(attributes["config"]).get("refinement_rounds"):
            found.append(float(attributes["wall_time_s"]) / max(int(attributes["n_steps"]), 1))
    return median(found) if found else None
