"""Training: gradient descent, then refinement; resumed from a checkpoint if there is one. Never sees the truth."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from stoirec.config.fit import FitConfig
from stoirec.data.consistency import contradiction
from stoirec.data.dataset import Data
from stoirec.learn import checkpoint
from stoirec.learn.evaluation import val_loss
from stoirec.learn.fit_file import fit_content
from stoirec.learn.gradient_descent import GradientDescent
from stoirec.learn.history import History
from stoirec.learn.inferred import InferredCourses
from stoirec.learn.model import new_model
from stoirec.learn.observations import Observations, concentration_unit
from stoirec.learn.pack import packed
from stoirec.learn.refinement_rounds import RefinementRounds
from stoirec.signals import Stopped

_log = logging.getLogger(__name__)
_SNAPSHOT_FRAMES = 288  # validation frames for the curve; the final val_loss uses all
_NO_SIGNALS = nullcontext()  # that anybody waits for

# called after every step with (step, n_steps, loss components at snapshots, else None)
Progress = Callable[[int, int, dict[str, float] | None], None]


def train(
    data: Data,
    config: FitConfig,
    device: torch.device,
    checkpoint_path: Path | None = None,
    checkpoint_seconds: float = 30.0,
    progress: Progress = lambda *_: None,
    unbroken: AbstractContextManager = _NO_SIGNALS,
) -> xr.Dataset:
    """Train one configuration; returns the content of fit.nc, which the last checkpoint leads to without any step.

    What raises Stopped ends it: gradient descent with a checkpoint, a round of refinement with the one it began with.

    Args:
        data: what the learner may see.
        config: the training job.
        device: where tensors live; CPU results repeat bit for bit for a fixed number of threads.
        checkpoint_path: where to resume from and to save to; None: no checkpoints.
        checkpoint_seconds: least time between two checkpoints.
        progress: called after every step.
        unbroken: a block that is to end as a whole: a step of gradient descent, a checkpoint.

    Raises:
        Unsuitable: the data has fewer training runs than config.n_runs, or cannot serve the configuration otherwise.
    """
    (fit,) = train_all(data, [config], device, [checkpoint_path], checkpoint_seconds, progress, unbroken)
    return fit


def train_all(
    data: Data,
    configs: Sequence[FitConfig],
    device: torch.device,
    checkpoint_paths: Sequence[Path | None],
    checkpoint_seconds: float = 30.0,
    progress: Progress = lambda *_: None,
    unbroken: AbstractContextManager = _NO_SIGNALS,
) -> Iterator[xr.Dataset]:
    """`train` of configurations with the same `together`, each with a checkpoint of its own: the fits in their order.

    First gradient descent of all, as a pack; then refinement, one by one.
    """
    wrong = None if data.courses else contradiction(data)
    if wrong is not None:
        _log.warning("dcdt contradicts concentration and time: %s", wrong)
    jobs: list[_Job] = []
    for config, path in zip(configs, checkpoint_paths, strict=True):
        saves = _Saves(path, checkpoint.fingerprint(data, config), checkpoint_seconds, unbroken)
        jobs.append(_Job(_resumed(data, config, device, saves, [job.training for job in jobs]), saves))
    try:
        _descend(jobs, progress, unbroken)
    except Stopped:
        for job in jobs:
            job.save()
        raise
    for job in jobs:
        job.save()
    for job in jobs:
        training = job.training
        while not training.history.diverged and training.rounds.left():
            with _timed(training):
                training.refine()
                training.snapshot()
            job.save()
        yield training.content()


def _resumed(
    data: Data, config: FitConfig, device: torch.device, saves: "_Saves", beside: "Sequence[Training]"
) -> "Training":
    """A job that goes on from its checkpoint, or starts: without one, or where it cannot go on from it."""
    training, saved = Training(data, config, device, beside), saves.load()
    if saved is None:
        return training
    try:
        training.resume(saved)
    except Exception as error:  # a state of another form raises many kinds
        saves.set_aside(error)
        return Training(data, config, device, beside)
    return training


def _descend(jobs: "list[_Job]", progress: Progress, unbroken: AbstractContextManager) -> None:
    """The steps of gradient descent that are left; who has done all of them, or diverged, leaves the pack."""
    n_steps = max(job.training.descent.schedule.n_steps for job in jobs)
    for job in jobs:
        if not job.training.history.records:
            with unbroken, _timed(job.training):
                job.training.snapshot()
    going: list[_Job] = []
    while left := [job for job in jobs if job.training.steps_left()]:
        trainings = [job.training for job in left]
        if left != going:
            going, pack = left, packed([training.descent for training in trainings])
            sums = History.in_rows([training.history for training in trainings])
        with unbroken, _timed(*trainings):
            sums += pack.advance()
            for training in trainings:
                training.history.n_summed += 1
            records = [training.snapshot() for training in trainings if training.descent.step in training.snapshots]
        steps_left = max(training.steps_left() for training in trainings)
        progress(n_steps - steps_left, n_steps, records[-1] if records else None)
        for job in left:
            if job.training.steps_left() and job.saves.due():
                job.save()


@contextmanager
def _timed(*trainings: "Training") -> Iterator[None]:
    """Seconds of a block that several trainings share."""
    started = time.monotonic()
    yield
    share = (time.monotonic() - started) / len(trainings)
    for training in trainings:
        training.seconds += share


class Training:
    """A training job as far as it got: the model, and what moves it; `data` in the `unit` of the learner.

    Args:
        beside: trainings on the same data: what frames it has in common with one of them is held once.

    Attributes:
        snapshots: steps of gradient descent after which there is one.
        seconds: what it took, of steps with others its share.
    """

    def __init__(self, data: Data, config: FitConfig, device: torch.device, beside: "Sequence[Training]" = ()) -> None:
        seen = config.n_runs, config.refinement_frames, config.precision
        twin = next((each for each in beside if each.seen == seen), None)
        self.unit = concentration_unit(data) if twin is None else twin.unit
        data = data.in_unit(self.unit) if twin is None else twin.data
        self.data, self.config, self.device, self.seen = data, config, device, seen
        self.model = new_model(data, config).to(device)
        self.given = observed = Observations.of(data, config, device) if twin is None else twin.given
        inferred = InferredCourses(data, self.model.dtype, device) if len(data.unmeasured) else None
        self.descent = GradientDescent(data, config, self.model, observed, inferred)
        self.rounds = RefinementRounds(data, config, self.model, observed, self.descent.chance, inferred)
        self.history = History(device)
        self.snapshots = self.descent.schedule.snapshots()
        self.seconds = 0.0
        if twin is not None:
            self.descent.observed = twin.descent.observed

    @property
    def inferred(self) -> InferredCourses | None:
        """Courses of what nobody measured."""
        return self.rounds.inferred

    @property
    def observed(self) -> Observations:
        """What is fitted, with courses as they are inferred by now."""
        return self.rounds.observed

    @property
    def n_steps(self) -> int:
        """Steps done, of gradient descent and of refinement."""
        return self.descent.step + self.rounds.steps

    def steps_left(self) -> int:
        """Of gradient descent; none once it diverged, or val_loss was low enough."""
        over = self.history.diverged or self.history.least_val_loss < self.config.enough_val_loss
        return 0 if over else self.descent.schedule.n_steps - self.descent.step

    def refine(self) -> None:
        """A round of refinement, or its end; a fit whose equations have no solution in numbers diverged."""
        try:
            self.rounds.advance()
        except torch.linalg.LinAlgError as error:
            self.history.diverged = True
            _log.warning("diverged in round %d of refinement: %s", self.rounds.done + 1, error)

    def snapshot(self) -> dict[str, float]:
        """Record coefficients, losses and val_loss as they are."""
        validation = self.observed.validation
        loss = val_loss(self.model, validation, max(1, len(validation) // _SNAPSHOT_FRAMES))
        components = self.descent.current_losses(self.observed.training) if self.history.is_fresh() else None
        return self.history.snapshot(self.n_steps, self.model.coefficient, components, loss)

    def content(self) -> xr.Dataset:
        """Of fit.nc."""
        if self.rounds.state is None and not self.history.diverged:
            with _timed(self):
                self.rounds.infer()
        costs = {
            "n_steps": self.n_steps,
            "wall_time_s": round(self.seconds, 3),
            "threads": torch.get_num_threads(),
            "device": str(self.device),
        }
        parts = (self.model, self.observed, self.history, self.rounds)
        return fit_content(self.rounds.data, self.unit, self.config, *parts, costs)

    def checkpoint(self) -> dict[str, Any]:
        """All that a resumed job needs."""
        return {
            "model": {name: value.clone() for name, value in self.model.state_dict().items()},
            "descent": self.descent.state(),
            "rounds": self.rounds.checkpoint(),
            "history": self.history.state(),
            "inferred": None if self.inferred is None else self.inferred.state_dict(),
            "seconds": self.seconds,
        }

    def resume(self, saved: dict[str, Any]) -> None:
        """Go on from a checkpoint. Raises many kinds of errors if it is of another form."""
        self.descent.restore(saved["descent"])
        self.rounds.restore(saved["rounds"])
        self.history.restore(saved["history"])
        self.model.load_state_dict(saved["model"])
        if self.inferred is not None:
            self.inferred.load_state_dict(saved["inferred"])
            if self.rounds.state is not None:
                self.rounds.see(self.inferred)
        self.seconds += float(saved["seconds"])
        done = self.descent.step, self.descent.schedule.n_steps, self.rounds.done
        _log.info("resumed at step %d of %d, %d rounds of refinement done", *done)


@dataclass(frozen=True)
class _Job:
    """A training and its checkpoints."""

    training: Training
    saves: "_Saves"

    def save(self) -> None:
        self.saves.save(self.training.checkpoint())


class _Saves:
    """The checkpoints of a job: none without a path."""

    def __init__(self, path: Path | None, job: str, seconds: float, unbroken: AbstractContextManager) -> None:
        self.path, self.job, self.seconds, self.unbroken = path, job, seconds, unbroken
        self.last, self.failed = time.monotonic(), False

    def load(self) -> dict[str, Any] | None:
        return None if self.path is None else checkpoint.load(self.path, self.job)

    def set_aside(self, error: Exception) -> None:
        checkpoint.set_aside(self.path, f"no checkpoint of this version ({type(error).__name__})")

    def due(self) -> bool:
        return self.path is not None and time.monotonic() - self.last > self.seconds

    def save(self, state: dict[str, Any]) -> None:
        """A fit does not end where its checkpoint cannot be saved: that is said once."""
        if self.path is None:
            return
        try:
            with self.unbroken:
                checkpoint.save(self.path, self.job, state)
        except OSError as error:
            if not self.failed:
                _log.warning("%s: no checkpoint (%s); the fit goes on without", self.path, error.strerror)
            self.failed = True
        self.last = time.monotonic()
