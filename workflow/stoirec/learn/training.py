"""Training: fit a MetabolismPropagation to concentrations and derivatives. Never sees the truth."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from stoirec.config.fit import FitConfig
from stoirec.data.dataset import Data
from stoirec.data.graph_variables import graph_variables
from stoirec.learn import checkpoint, losses
from stoirec.learn.model import MetabolismPropagation
from stoirec.learn.uncertainty import coefficient_se
from stoirec.refine import Evidence, Refinement, Stage, State
from stoirec.refine.frames import spread
from stoirec.streams import learner_stream

_log = logging.getLogger(__name__)
_OPTIMISERS = {"adam": torch.optim.Adam, "nadam": torch.optim.NAdam, "radam": torch.optim.RAdam}
_CHUNK = 720  # frames per evaluation call: bounds memory
_SNAPSHOT_FRAMES = 288  # validation frames for the curve; the final val_loss uses all


# called after every step with (step, n_steps, loss components at snapshots, else None)
Progress = Callable[[int, int, dict[str, float] | None], None]


def train(
    data: Data,
    config: FitConfig,
    device: torch.device,
    checkpoint_path: Path | None = None,
    checkpoint_seconds: float = 30.0,
    progress: Progress = lambda *_: None,
) -> xr.Dataset:
    """Train one configuration; returns the content of fit.nc.

    Args:
        data: what the learner may see.
        config: the training job.
        device: where tensors live; CPU results repeat bit for bit for a fixed number of threads.
        checkpoint_path: where to resume from and to save to; None: no checkpoints.
        checkpoint_seconds: least time between two checkpoints.
        progress: called after every step.

    Raises:
        BadInput: the data has fewer training runs than config.n_runs.
    """
    job = _Job(data, config, device)
    if checkpoint_path is not None:
        identity = checkpoint.fingerprint(data, config)
        saved = checkpoint.load(checkpoint_path, identity, device)
        if saved is not None:
            job.restore(saved)
            _log.info("resumed at step %d of %d", job.step, job.n_steps)

    if job.step == 0:
        job.snapshot()
    last_saved = time.monotonic()
    while job.step < job.n_steps and job.status == "ok":
        job.advance()
        record = job.snapshot() if job.step in job.snapshot_steps else None
        progress(job.step, job.n_steps, record)
        if (
            checkpoint_path is not None
            and time.monotonic() - last_saved > checkpoint_seconds
            and job.step < job.n_steps
        ):
            checkpoint.save(checkpoint_path, identity, job.state())
            last_saved = time.monotonic()
    while job.status == "ok" and job.refinement_left():
        if checkpoint_path is not None:
            checkpoint.save(checkpoint_path, identity, job.state())
        job.refine()
    return job.result()


class _Job:
    """The moving parts of one training job: model, optimiser, random batches, history."""

    def __init__(self, data: Data, config: FitConfig, device: torch.device) -> None:
        self.data, self.config, self.device = data, config, device
        self.model = new_model(data, config).to(device)
        self.concentration, self.dcdt = (self._tensor(x) for x in data.training_frames(config.n_runs))
        self.validation = tuple(self._tensor(x) for x in data.validation_frames())
        self.scale = _std(self.dcdt) if config.residual_scaling == "std" else torch.ones_like(self.dcdt[0])
        self.rng = learner_stream("batches", config.seed)
        # chance of each frame; None: equal
        self.chance = None if config.frame_sampling == "uniform" else _activity(self.dcdt, self.scale).cpu().numpy()

        # sign each coefficient is held to; None: free
        self.role_sign = self._tensor(np.where(data.graph.edge_is_substrate, -1, 1)) if config.role_signs else None

        start, on_s = config.learning_rate_start, config.learning_rate_S_start
        groups = [
            {
                "params": [
                    *self.model.substrate_func.parameters(),
                    *self.model.rate_func.parameters(),
                    self.model.log_k,
                ],
                "start": start,
            },
            {"params": [self.model.sto_all], "start": on_s or start},
        ]
        if self.model.embedding is not None:
            groups.append({"params": [self.model.embedding], "start": config.learning_rate_embedding_start})
        self.optimiser = _OPTIMISERS[config.optimiser](groups, lr=start)

        self.steps_per_epoch = config.steps_per_epoch(data.n_frames)
        self.n_steps = config.n_steps(data.n_frames)
        self.snapshot_steps = set(np.linspace(0, self.n_steps, config.n_snapshots + 1).round().astype(int).tolist())
        self.step = 0
        self.status = "ok"
        self.round = 0
        self.refined: State | None = None
        self.evidence: Evidence | None = None  # at the end of the rounds
        self.history: list[dict[str, Any]] = []
        self.sums = torch.zeros(len(losses.COMPONENTS), dtype=torch.float64, device=device)
        self.summed_steps = 0
        self.earlier_seconds, self.started = 0.0, time.monotonic()

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array, dtype=self.model.sto_all.dtype, device=self.device)

    # --- one step ---------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """One optimiser step on a random batch of frames."""
        frames = torch.as_tensor(self._draw(self.config.batch_size)).to(self.device)
        for group in self.optimiser.param_groups:
            group["lr"] = group["start"] * self._schedule()
        components = self._components(self.concentration[frames], self.dcdt[frames])
        weights = self._weights()
        loss = sum(weight * part for weight, part in zip(weights, components) if weight)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        if self.role_sign is not None:
            with torch.no_grad():
                self.model.sto_all.copy_(self.role_sign * (self.role_sign * self.model.sto_all).clamp(min=0))
        self.sums += torch.stack(components).detach()
        self.summed_steps += 1
        self.step += 1

    def _draw(self, size: int) -> np.ndarray:
        """(size,) random frames."""
        if self.chance is None:
            return self.rng.integers(len(self.concentration), size=size)
        return self.rng.choice(len(self.chance), size=size, p=self.chance)

    def _components(self, concentration: torch.Tensor, dcdt: torch.Tensor) -> list[torch.Tensor]:
        s = self.model.sto_all
        return [
            losses.prediction(self.model(concentration), dcdt, self.scale),
            losses.l1(s),
            losses.integer(s),
            losses.mass(s, self.model.all_ptr),
        ]

    def _weights(self) -> tuple[float, ...]:
        config = self.config
        first_phase = self.step < config.n_epochs_init * self.steps_per_epoch
        l1 = config.first_coeff_L1 if first_phase and config.first_coeff_L1 is not None else config.coeff_S_L1
        return 1.0, l1, config.coeff_S_integer, config.coeff_mass_conservation

    def _schedule(self) -> float:
        """Factor on every learning rate: cosine decay to 1 % of the start."""
        if self.config.schedule == "constant":
            return 1.0
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.step / self.n_steps))

    # --- refinement ---------------------------------------------------------------------------------------------

    def refinement_left(self) -> bool:
        """Whether there is refinement still to be done: asked for, and not finished."""
        return self.config.refinement_rounds > 0 and (self.refined is None or self.refined.pattern is None)

    def refine(self) -> None:
        """A round of refinement, or the end of it, in double precision; the model then holds its result."""
        refinement, rounds, steps = self._refinement(), self.config.refinement_rounds, self.config.refinement_steps
        state = self.refined or self._trained_state()
        if self.round < rounds and not refinement.settled(state):
            self.refined = state = refinement.round(state, steps, self._stage())
            self.round += 1
            progress = int(state.tied.sum()), len(state.tied), int(state.closed.sum()), state.cost
            _log.info(
                "refinement round %d of at most %d: %d of %d reactions tied, %d edges closed, mean squared residual %.1e",
                self.round,
                rounds,
                *progress,
            )
        else:
            self.evidence = refinement.evidence(state)
            self.refined = state = refinement.finish(state, steps)
            _log.info("refinement: integer columns, mean squared residual %.1e", state.cost)
        self.step += steps
        self._take(refinement, state)
        self.snapshot()

    def _stage(self) -> Stage:
        """Of the next round: where edges may be decoys a quarter close them; the last quarter, at least the last, commits."""
        done = (self.round + 0.5) / self.config.refinement_rounds
        if done > 0.75 or self.round + 1 == self.config.refinement_rounds:
            return "commit"
        return "close" if done < 0.25 and self.model.gated else "tie"

    def _refinement(self) -> Refinement:
        """On some training frames, in double precision; from then on everything is."""
        self.model.double()
        self.concentration, self.dcdt, self.scale = self.concentration.double(), self.dcdt.double(), self.scale.double()
        self.validation = tuple(part.double() for part in self.validation)
        graph = self.data.graph
        sign = np.where(graph.edge_is_substrate, -1, 1)
        chance = None if self.chance is None else torch.as_tensor(self.chance, device=self.device)
        frames = spread(self.concentration, self.dcdt, self.scale, self.config.refinement_frames, chance)
        model = self.model
        return Refinement(graph, sign, model.substrate_func, model.rate_func, frames, model.gated, model.limiter)

    def _trained_state(self) -> State:
        """The model as gradient descent left it."""
        model = self.model
        weights = torch.cat(
            [p.detach().flatten() for p in (*model.substrate_func.parameters(), *model.rate_func.parameters())]
        )
        coefficient, log_k = model.sto_all.detach(), model.log_k.detach()
        return State(weights, coefficient * 10 ** log_k[model.rxn_all], log_k)

    @torch.no_grad()
    def _take(self, refinement: Refinement, state: State) -> None:
        torch.nn.utils.vector_to_parameters(
            state.weights, [*self.model.substrate_func.parameters(), *self.model.rate_func.parameters()]
        )
        self.model.sto_all.copy_(refinement.coefficient(state))
        self.model.log_k.copy_(state.log_k)

    # --- evaluation -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _residual_square(self, concentration: torch.Tensor, dcdt: torch.Tensor) -> torch.Tensor:
        """(M,) mean squared residual, in double precision."""
        total = sum(
            (self.model(c) - d).double().square().sum(0)
            for c, d in zip(concentration.split(_CHUNK), dcdt.split(_CHUNK))
        )
        return total / len(concentration)

    def _val_loss(self, stride: int) -> float:
        """Mean squared residual on the validation frames, each metabolite divided by its variance of dc/dt."""
        concentration, dcdt = self.validation
        variance = _std(dcdt).double().square()
        return float((self._residual_square(concentration[::stride], dcdt[::stride]) / variance).mean())

    def snapshot(self) -> dict[str, float]:
        """Record the coefficients and the mean loss components since the last snapshot; notice divergence."""
        if self.summed_steps:
            means = (self.sums / self.summed_steps).tolist()
        else:
            with torch.no_grad():
                means = torch.stack(self._components(self.concentration[:_CHUNK], self.dcdt[:_CHUNK])).tolist()
        record = dict(zip(losses.COMPONENTS, means))
        record["val_loss"] = self._val_loss(max(1, len(self.validation[0]) // _SNAPSHOT_FRAMES))
        coefficient = self.model.sto_all.detach().to("cpu", torch.float32, copy=True)
        self.history.append({"step": self.step, "coefficient": coefficient, **record})
        self.sums.zero_()
        self.summed_steps = 0
        if not (all(map(math.isfinite, record.values())) and torch.isfinite(coefficient).all()):
            self.status = "diverged"
            _log.warning("diverged before step %d of %d", self.step, self.n_steps)
        return record

    # --- checkpoint ---------------------------------------------------------------------------------------------

    def _seconds(self) -> float:
        return self.earlier_seconds + time.monotonic() - self.started

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "status": self.status,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rng": self.rng.bit_generator.state,
            "history": self.history,
            "sums": self.sums,
            "summed_steps": self.summed_steps,
            "seconds": self._seconds(),
            "round": self.round,
            "refined": None if self.refined is None else asdict(self.refined),
            "evidence": None if self.evidence is None else asdict(self.evidence),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.step, self.status = state["step"], state["status"]
        self.round = state["round"]
        if state["refined"] is not None:
            self.refined = State(**state["refined"])
            self._refinement()  # to double precision
        if state["evidence"] is not None:
            self.evidence = Evidence(**state["evidence"])
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.rng.bit_generator.state = state["rng"]
        self.history = [{**record, "coefficient": record["coefficient"].cpu()} for record in state["history"]]
        self.sums, self.summed_steps = state["sums"], state["summed_steps"]
        self.earlier_seconds = state["seconds"]

    # --- fit.nc ---------------------------------------------------------------------------------------------------

    def result(self) -> xr.Dataset:
        """The content of fit.nc; values of a diverged run are whatever it reached, NaN included."""
        graph, model = self.data.graph, self.model
        with torch.no_grad():
            gram = sum(v @ v.T for v in (model.flux(c).double() for c in self.concentration.split(_CHUNK)))
        columns = {}
        if self.status == "ok" and self.refined is not None:
            se, columns = (
                self._refinement().coefficient_se(self.refined).cpu().numpy(),
                _column_variables(self.evidence),
            )
            val_loss = self._val_loss(1)
        elif self.status == "ok":
            se = coefficient_se(
                graph, gram.cpu().numpy(), self._residual_square(self.concentration, self.dcdt).cpu().numpy()
            )
            val_loss = self._val_loss(1)
        else:
            se, val_loss = np.full(graph.n_edges, np.nan), math.nan

        def curve(name: str, long_name: str) -> tuple:
            return (
                "snapshot",
                np.array([record[name] for record in self.history]),
                {"long_name": long_name, "units": "1"},
            )

        def learned(parameter: torch.Tensor) -> np.ndarray:
            return parameter.detach().cpu().double().numpy()

        return xr.Dataset(
            {
                **graph_variables(graph),
                "coefficient": (
                    "edge",
                    learned(model.sto_all),
                    {"long_name": "learned stoichiometric coefficient", "units": "1"},
                ),
                "coefficient_se": ("edge", se, {"long_name": "standard error given the learned fluxes", "units": "1"}),
                "log_k": (
                    "reaction",
                    learned(model.log_k),
                    {"long_name": "learned log10 rate constant", "units": "log10(1 / time unit)"},
                ),
                "step": (
                    "snapshot",
                    np.array([record["step"] for record in self.history]),
                    {"long_name": "optimiser steps done", "units": "1"},
                ),
                "coefficient_history": (
                    ("snapshot", "edge"),
                    torch.stack([record["coefficient"] for record in self.history]).numpy(),
                    {"long_name": "learned coefficient at the snapshot", "units": "1"},
                ),
                "loss_prediction": curve("prediction", "L_pred, mean since the last snapshot"),
                "loss_L1": curve("L1", "||sto_all||_1, unweighted"),
                "loss_integer": curve("integer", "mean sin^2(pi sto_all), unweighted"),
                "loss_mass": curve("mass", "mean squared column sum, unweighted"),
                "val_loss_history": curve("val_loss", "val_loss on a subset of the validation frames"),
                "val_loss": (
                    (),
                    val_loss,
                    {"long_name": "mean squared residual over variance of dc/dt, validation", "units": "1"},
                ),
                **columns,
                **{
                    variable_name(name): (
                        tuple(f"{variable_name(name)}_{axis}" for axis in range(parameter.ndim)),
                        learned(parameter),
                        {"long_name": f"learned {name}", "units": "1"},
                    )
                    for name, parameter in model.named_parameters()
                    if name not in ("sto_all", "log_k")
                },
            },
            attrs={
                "title": "trained graph neural network",
                "status": self.status,
                "config": self.config.model_dump_json(),
                "network_seed": str(self.data.network_seed),
                "n_steps": self.step,
                "wall_time_s": round(self._seconds(), 3),
                "threads": torch.get_num_threads(),
                "device": str(self.device),
            },
        )


def new_model(data: Data, config: FitConfig) -> MetabolismPropagation:
    """The untrained model of a job. Raises BadInput if it has the limiter and the frames are not equally spaced."""
    return MetabolismPropagation(data.graph, config, data.dt if config.graph_model.flux_limiter else None)


def _column_variables(evidence: Evidence) -> dict[str, tuple]:
    """The likeliest columns, as variables of fit.nc."""
    return {
        "column": (
            ("rank", "edge"),
            evidence.columns.round().to("cpu", torch.int8).numpy(),
            {"long_name": "integer columns, likeliest first", "units": "1"},
        ),
        "column_probability": (
            ("rank", "reaction"),
            evidence.chances.cpu().numpy(),
            {"long_name": "probability of the column, given the others", "units": "1"},
        ),
    }


def variable_name(parameter: str) -> str:
    """substrate_func.0.weight -> learned_substrate_func_0_weight."""
    return "learned_" + parameter.replace(".", "_")


def _std(dcdt: torch.Tensor) -> torch.Tensor:
    """(M,) standard deviation of each metabolite's dc/dt, with a floor for metabolites that hardly move."""
    std = dcdt.std(0)
    return std.clamp(min=max(1e-3 * float(std.median()), torch.finfo(std.dtype).tiny))


def _activity(dcdt: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """(frames,) RMS over metabolites of dc/dt (frames, M) over `scale`; they sum to 1."""
    size = (dcdt / scale).double().square().mean(1).sqrt()
    return size / size.sum()
