"""Configuration: the one place that parses YAML and says what is allowed.

Three kinds of file: a regime (a frozen simulation), a fit (one training job) and a study (grids of fits).
"""

import difflib
import math
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stoirec.errors import BadInput
from stoirec.streams import MAX_SEED, derived_seed


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


Seed = Field(ge=0, le=MAX_SEED)
MEANING = 7  # of a fit's keys; a changed default, or a change in what a key does or a checkpoint holds, raises it


# --- regime: everything the simulation depends on -----------------------------------------------------------------


class Seeds(_Strict):
    """Separate seeds of the four random parts of a simulation."""

    network: int = Seed
    rate_constants: int = Seed
    mlps: int = Seed
    initial_concentrations: int = Seed


class Kinetics(_Strict):
    """The frozen random MLPs of PDE_M1: substrate_func MLP([2, hidden, out]), rate_func MLP([out, hidden, 1])."""

    initialisation: Literal["monotone", "default"]
    hidden_dim: int = Field(32, ge=1)
    output_size: int = Field(16, ge=1)
    flux_limiter: bool = False


class Integration(_Strict):
    """How the trajectories are computed: an adaptive SciPy solver, or explicit Euler with step dt."""

    method: Literal["DOP853", "RK45", "LSODA", "Radau", "BDF", "Euler"] = "DOP853"
    rtol: float = Field(1e-9, gt=0, le=1e-3)
    atol: float = Field(1e-11, gt=0, le=1e-3)


class Regime(_Strict):
    """A frozen simulation. Learners and their parameters vary, the data does not."""

    name: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    n_metabolites: int = Field(ge=2)
    n_reactions: int = Field(ge=1)
    max_coefficient: int = Field(2, ge=1, le=2)
    # "substrates-products": weight; the sizes reactions are drawn from
    reaction_shapes: dict[str, float]
    decoy_edges: float = Field(0.0, ge=0)
    dcdt_noise: float = Field(0.0, ge=0)  # Gaussian noise on dc/dt, in units of each metabolite's std of dc/dt
    n_runs: int = Field(5, ge=1)
    n_frames: int = Field(ge=2)
    dt: float = Field(gt=0)
    log_k: tuple[float, float] = Field(strict=False)
    initial_concentration: tuple[float, float] = Field(strict=False)
    kinetics: Kinetics
    integration: Integration = Integration()
    seeds: Seeds

    @model_validator(mode="after")
    def _consistent(self) -> "Regime":
        for key in ("log_k", "initial_concentration"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"{key} must be [low, high] with low <= high")
        if self.initial_concentration[0] < 0:
            raise ValueError("initial_concentration must not be negative")
        for shape, weight in self.reaction_shapes.items():
            sizes = shape.split("-")
            if len(sizes) != 2 or not all(s in ("1", "2", "3") for s in sizes) or weight < 0:
                raise ValueError("reaction_shapes must map 'substrates-products' (1-3 each) to a weight >= 0")
        if not sum(self.reaction_shapes.values()) > 0:
            raise ValueError("reaction_shapes needs a positive weight")
        if (self.integration.method == "Euler") != self.kinetics.flux_limiter:
            raise ValueError("kinetics.flux_limiter needs integration.method Euler, and Euler needs the limiter")
        return self

    def with_master_seed(self, seed: int) -> "Regime":
        """The same regime with its four seeds derived from one (the command line's --seed)."""
        return self.model_copy(update={"seeds": Seeds(**{part: derived_seed(part, seed) for part in Seeds.model_fields})})


# --- fit: everything one training job depends on ---------------------------------------------------------------------


class GraphModel(_Strict):
    """Architecture of the graph neural network."""

    hidden_dim: int = Field(32, ge=1, description="width of the hidden layers")
    output_size: int = Field(16, ge=1, description="message dimension")
    n_layers: int = Field(3, ge=2, description="layers of units, input and output counted: 3 = two Linear layers")
    embedding_dim: int = Field(0, ge=0, description="learnable numbers per metabolite, appended to substrate_func's input")
    flux_limiter: bool = Field(False, description="limit fluxes so that no substrate is used up within one time step of the data")
    substrate_gate: bool = Field(False, description="multiply each message by g(|S|), g(0)=0, g(>=1)=1: a zero silences an edge")


class FitConfig(_Strict):
    """One training job. The defaults are the plain recipe; everything can be swept."""

    learning_rate_start: float = Field(1e-3, gt=0, description="both MLPs and log_k")
    learning_rate_embedding_start: float = Field(1e-3, gt=0, description="metabolite embeddings")
    learning_rate_S_start: float = Field(0.0, ge=0, description="sto_all; 0 = learning_rate_start")
    coeff_S_L1: float = Field(0.0, ge=0, description="weight of ||sto_all||_1")
    coeff_S_integer: float = Field(0.0, ge=0, description="weight of mean sin^2(pi sto_all)")
    coeff_mass_conservation: float = Field(0.0, ge=0, description="weight of the mean squared column sum")
    n_epochs: int = Field(10, ge=1)
    batch_size: int = Field(32, ge=1, description="frames per step")
    data_augmentation_loop: int = Field(45, ge=1, description="steps per epoch = n_frames * this / batch_size * 0.2")
    n_runs: int = Field(5, ge=1, description="how many of the training trajectories are used")
    seed: int = Field(1, ge=0, le=MAX_SEED, description="initial weights and batches")
    n_epochs_init: int = Field(0, ge=0, description="epochs of the first phase, counted within n_epochs")
    first_coeff_L1: float | None = Field(None, ge=0, description="coeff_S_L1 in the first phase (default: the same)")
    graph_model: GraphModel = GraphModel()

    # code-level parameters
    role_prior: bool = Field(False, description="start sto_all at -/+ initial_magnitude by candidate role")
    role_signs: bool = Field(False, description="hold every entry of sto_all to the sign of its candidate role in every step")
    initial_magnitude: float = Field(1.4, gt=0, le=2, description="|sto_all| at the start; without role_prior its std")
    frame_sampling: Literal["uniform", "activity"] = Field("uniform", description="chance of a frame: equal, or as the RMS of its scaled dc/dt")
    optimiser: Literal["adam", "nadam", "radam"] = "adam"
    schedule: Literal["constant", "cosine"] = Field("cosine", description="learning rates over the steps")
    residual_scaling: Literal["none", "std"] = Field("std", description="divide residuals by each metabolite's std of dc/dt")
    precision: Literal["float32", "float64"] = "float32"
    refinement_rounds: int = Field(0, ge=0, description="after the last epoch: times all columns are weighed and the model is fitted with what is clear of them, at most; the last quarter takes the likeliest columns of all reactions for known")
    refinement_steps: int = Field(10, ge=1, description="Levenberg-Marquardt steps per round")
    refinement_frames: int = Field(120, ge=1, description="training frames, or windows of frames, the refinement fits")
    n_snapshots: int = Field(40, ge=1, description="coefficient snapshots and loss records kept in fit.nc")
    decoder: Literal["nearest", "scaled", "mass_balanced", "scaled_mass_balanced"] = Field(
        "mass_balanced", description="the rounding method that gives the answer"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "FitConfig":
        if self.n_epochs_init > self.n_epochs:
            raise ValueError("n_epochs_init must not exceed n_epochs")
        if self.refinement_rounds and not self.role_prior:
            raise ValueError("refinement_rounds needs role_prior: columns are sought among those with the signs of the roles")
        if self.refinement_rounds and self.graph_model.substrate_gate and not self.role_signs:
            raise ValueError("refinement_rounds with graph_model.substrate_gate needs role_signs: refinement holds them too")
        if self.refinement_rounds and self.graph_model.embedding_dim:
            raise ValueError("refinement_rounds needs graph_model.embedding_dim 0")
        return self

    def steps_per_epoch(self, n_frames: int) -> int:
        """Optimiser steps in one epoch; `n_frames` is per trajectory."""
        return max(1, round(n_frames * self.data_augmentation_loop / self.batch_size * 0.2))

    def n_steps(self, n_frames: int) -> int:
        return self.n_epochs * self.steps_per_epoch(n_frames)


# --- study: grids of fits ---------------------------------------------------------------------------------------------


class Choice(_Strict):
    """What a search may propose for one parameter: exactly one of the three."""

    float_: tuple[float, float] | None = Field(None, alias="float", strict=False, description="[low, high]")
    int_: tuple[int, int] | None = Field(None, alias="int", strict=False, description="[low, high], both included")
    categorical: list[bool | int | float | str | None] | None = Field(None, min_length=1)
    log: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> "Choice":
        ranges = [pair for pair in (self.float_, self.int_) if pair is not None]
        if len(ranges) + (self.categorical is not None) != 1:
            raise ValueError("exactly one of float, int and categorical")
        if self.categorical is not None and self.log:
            raise ValueError("log goes with float or int")
        for low, high in ranges:
            if not low < high or (self.log and low <= 0):
                raise ValueError("[low, high] with low < high, and with log 0 < low")
        return self


class Stage(_Strict):
    """A set of fits around a base: the product of `grid` for each of `variants`, or what a search proposes."""

    name: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    regime: str | None = Field(None, description="the stage's own regime; default: the study's")
    network_seeds: list[int] | None = Field(None, min_length=1, description="the stage's own networks; default: the study's")
    seeds: list[int] | None = Field(None, min_length=1, description="training seeds, every configuration with each; default: the study's")
    variants: dict[str, dict[str, Any]] = Field({"base": {}}, min_length=1)
    grid: dict[str, list[Any]] = {}
    search: Literal["optuna"] | None = None
    space: dict[str, Choice] = {}
    n_trials: int | None = Field(None, ge=1, description="configurations the search tries")
    batch_size: int = Field(8, ge=1, description="proposals that are trained side by side, before the search learns of any")
    sampler_seed: int = Field(1, ge=0, le=MAX_SEED)

    @model_validator(mode="after")
    def _consistent(self) -> "Stage":
        if self.search and (not self.space or self.n_trials is None or self.grid or len(self.variants) > 1):
            raise ValueError("a stage with search needs space and n_trials, and has no grid and at most one variant")
        if not self.search and (self.space or self.n_trials is not None):
            raise ValueError("space and n_trials need search: optuna")
        return self


# Larger is better in all of them but val_loss.
Criterion = Literal["val_loss", "entry_exact", "entry_exact_true_edges", "reaction_exact", "sign_accuracy", "support_f1", "r2", "log_k_r2"]


class Study(_Strict):
    """Which fits are trained on which data.

    Without `select_by` all stages stand around `base`. With it they follow each other: a stage stands around the
    winner of the stage before it, and the winner of the last is trained on the networks of `evaluation_seeds`.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    regime: str
    network_seeds: list[int] = Field(min_length=1)
    seeds: list[int] | None = Field(None, min_length=1, description="training seeds of every stage and of the evaluation")
    results_dir: str = "results"
    base: dict[str, Any] = {}
    stages: list[Stage] = Field(min_length=1)
    select_by: Criterion | None = None
    evaluation_seeds: list[int] = Field([], description="networks nothing is selected on")
    compare_with: dict[str, dict[str, Any]] = Field({}, description="variants of base that are evaluated beside the winner")
    compare_study: str | None = Field(None, description="another study, whose result the report shows beside this one's")

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names) or "evaluation" in names:
            raise ValueError("stages need different names, and none may be called evaluation")
        if set(self.network_seeds) & set(self.evaluation_seeds):
            raise ValueError("evaluation_seeds must share no seed with network_seeds: nothing may be selected on them")
        if self.select_by is None and (self.evaluation_seeds or any(stage.search for stage in self.stages)):
            raise ValueError("evaluation_seeds and search need select_by")
        if self.select_by is not None and any(stage.regime or stage.network_seeds for stage in self.stages):
            raise ValueError("a stage's own regime or network_seeds need a study without select_by: winners are compared on the same data")
        if self.compare_with and not self.evaluation_seeds:
            raise ValueError("compare_with needs evaluation_seeds")
        reserved = [name for name in self.compare_with if name.startswith("selected_by_")]
        if reserved:
            raise ValueError("names in compare_with must not start with selected_by_")
        return self


# --- reading --------------------------------------------------------------------------------------------------------


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML 1.2 mapping. Raises BadInput if the file is missing, unreadable or not a mapping."""
    try:
        with open(path) as handle:
            content = YAML(typ="safe", pure=True).load(handle)
    except FileNotFoundError:
        raise BadInput(path, "file", "nothing", "an existing YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(path, "file", str(error), "a readable YAML file") from None
    except YAMLError as error:
        raise BadInput(path, "syntax", str(error), "YAML 1.2") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise BadInput(path, "content", type(content).__name__, "a mapping of keys to values")
    return content


def _keys_at(model: type[BaseModel], location: tuple) -> list[str]:
    """The keys allowed beside the last element of `location`."""
    for part in location[:-1]:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is None:
            continue
        inner = [t for t in (field.annotation, *get_args(field.annotation)) if isinstance(t, type) and issubclass(t, BaseModel)]
        if inner:
            model = inner[0]
    return [field.alias or name for name, field in model.model_fields.items()]


def parse(model: type[BaseModel], content: dict[str, Any], where: str | Path, prefix: str = "") -> Any:
    """`content` as a `model`; BadInput names the first wrong key if it does not fit."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        location = first["loc"]
        key = prefix + ".".join(str(part) for part in location)
        found = first["input"]
        if first["type"] == "extra_forbidden":
            raise _unknown_key(model, where, key, location) from None
        if first["type"] == "missing":
            raise BadInput(where, key, "nothing", "a value: this key is required") from None
        if isinstance(found, float) and not math.isfinite(found):
            raise BadInput(where, key, found, "a finite number") from None
        allowed = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if first["type"] == "value_error":  # a rule across keys: the message names them
            raise BadInput(where, key or "keys together", "a contradiction", allowed) from None
        raise BadInput(where, key, repr(found), allowed) from None


def _unknown_key(model: type[BaseModel], where: str | Path, key: str, location: tuple) -> BadInput:
    name = str(location[-1])
    if model is FitConfig and name in (*Regime.model_fields, *Kinetics.model_fields, *Integration.model_fields):
        return BadInput(where, key, "a simulation parameter", "training parameters only; the regime file alone sets the simulation")
    keys = _keys_at(model, location)
    close = difflib.get_close_matches(name, keys, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return BadInput(where, key, "an unknown key", ", ".join(keys) + hint)


def load_regime(path: str | Path) -> Regime:
    """The regime in `path`; one that is `like` another file beside it has that file's keys, and its own over them. Raises BadInput."""
    content = read_yaml(path)
    if "like" in content:
        own = {key: value for key, value in content.items() if key != "like"}
        like = Path(path).parent / str(content["like"])
        content = read_yaml(like)
        if "like" in content:
            raise BadInput(path, "like", like, "a regime that is not itself like another")
        content |= own
    return parse(Regime, content, path)


def load_fit_config(path: str | Path) -> FitConfig:
    """The training configuration in `path`. Raises BadInput."""
    return parse(FitConfig, read_yaml(path), path)


def load_study(path: str | Path) -> Study:
    """The study in `path`. Raises BadInput."""
    return parse(Study, read_yaml(path), path)
