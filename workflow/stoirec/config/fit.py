"""A fit: everything one training job depends on."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from stoirec.config.bounds import DEEPEST, MOST, WIDEST, Seed
from stoirec.config.judgement import Judgement
from stoirec.config.reading import Strict, parse, read_yaml
from stoirec.config.regime import Integration, Kinetics, RateLawName, Regime

# What the same keys mean today. Names of fits follow from the first two: raise the one whose results change.
TRAINING_MEANING = 13  # a changed default, another descent or another checkpoint: all fits are trained anew
REFINEMENT_MEANING = 16  # a refinement that ends elsewhere: fits with refinement_rounds are trained anew
ROUNDING_MEANING = 5  # another decoder or confidence: all fits are rounded anew, none is trained

Decoder = Literal["auto", "nearest", "scaled", "mass_balanced", "scaled_mass_balanced"]
# the files in learn/recipes/, and the choice among them
RecipeName = Literal["auto", "best", "flux_limited", "decoys", "unsigned", "reversible"]


class GraphModel(Strict):
    """Architecture of the graph neural network."""

    rate_law: RateLawName = Field(
        "pde_m1",
        description="how rates depend on concentrations and |S|: two networks that all reactions share; the same with "
        "numbers of each reaction, for enzymes that differ; mass action; or convenience kinetics with a "
        "half-saturation constant for each substrate, and each product of a reaction that runs both ways",
    )
    hidden_dim: int = Field(32, ge=1, le=WIDEST, description="width of the hidden layers")
    output_size: int = Field(16, ge=1, le=WIDEST, description="message dimension")
    n_layers: int = Field(
        3, ge=2, le=DEEPEST, description="layers of units, input and output counted: 3 = two Linear layers"
    )
    embedding_dim: int = Field(
        0, ge=0, le=WIDEST, description="learnable numbers per metabolite, appended to substrate_func's input"
    )
    reaction_embedding_dim: int = Field(
        1, ge=1, le=WIDEST, description="learnable numbers per reaction of pde_m1_enzymes, appended to it as well"
    )
    flux_limiter: bool = Field(
        False, description="limit fluxes so that no substrate is used up within one time step of the data"
    )
    substrate_gate: bool = Field(
        False, description="multiply each message by g(|S|), g(0)=0, g(>=1)=1: a zero silences an edge"
    )

    @property
    def enzyme_dim(self) -> int:
        """Numbers by which the functions of reactions differ."""
        return self.reaction_embedding_dim if self.rate_law == "pde_m1_enzymes" else 0


class FitConfig(Strict):
    """One training job. The defaults are the plain recipe; everything can be swept."""

    belongs_elsewhere: ClassVar[dict[str, tuple[str, str]]] = {
        key: ("a simulation parameter", "training parameters only; the regime file alone sets the simulation")
        for part in (Regime, Kinetics, Integration)
        for key in part.model_fields
    }

    learning_rate_start: float = Field(1e-3, gt=0, description="both MLPs and log_k")
    learning_rate_embedding_start: float = Field(1e-3, gt=0, description="embeddings")
    learning_rate_S_start: float = Field(0.0, ge=0, description="sto_all; 0 = learning_rate_start")
    coeff_S_L1: float = Field(0.0, ge=0, description="weight of ||sto_all||_1")
    coeff_S_integer: float = Field(0.0, ge=0, description="weight of mean sin^2(pi sto_all)")
    coeff_mass_conservation: float = Field(0.0, ge=0, description="weight of the mean squared column sum")
    n_epochs: int = Field(10, ge=1, le=MOST)
    batch_size: int = Field(32, ge=1, le=MOST, description="frames per step")
    data_augmentation_loop: int = Field(
        45, ge=1, le=MOST, description="steps per epoch = n_frames * this / batch_size * 0.2"
    )
    epoch_steps: int | None = Field(
        None, ge=1, le=MOST, description="steps per epoch, whatever the data (default: as above)"
    )
    enough_val_loss: float = Field(
        0.0,
        ge=0,
        description="gradient descent ends at the first snapshot whose val_loss is below; 0: after all epochs",
    )
    n_runs: int = Field(5, ge=1, le=MOST, description="how many of the training trajectories are used")
    seed: Seed = Field(1, description="initial weights and batches")
    n_epochs_init: int = Field(0, ge=0, le=MOST, description="epochs of the first phase, counted within n_epochs")
    first_coeff_L1: float | None = Field(None, ge=0, description="coeff_S_L1 in the first phase (default: the same)")
    graph_model: GraphModel = GraphModel()

    # code-level parameters
    role_prior: bool = Field(
        False,
        description="tell the fit the signs of the candidate roles: sto_all starts at -/+ initial_magnitude, and "
        "refinement seeks columns of these signs; else of any",
    )
    role_signs: bool = Field(
        False, description="hold every entry of sto_all to the sign of its candidate role in every step"
    )
    initial_magnitude: float = Field(
        1.4, gt=0, le=2, description="|sto_all| at the start; its std where the sign is not told"
    )
    frame_sampling: Literal["uniform", "activity"] = Field(
        "uniform", description="chance of a frame: equal, or as the RMS of its scaled dc/dt"
    )
    optimiser: Literal["adam", "nadam", "radam"] = "adam"
    schedule: Literal["constant", "cosine"] = Field("cosine", description="learning rates over the steps")
    residual_scaling: Literal["none", "std"] = Field(
        "std", description="divide residuals by each metabolite's std of dc/dt"
    )
    precision: Literal["float32", "float64"] = "float32"
    refinement_rounds: int = Field(
        0,
        ge=0,
        le=MOST,
        description="after the last epoch, at most: times all columns are weighed and the model is fitted with what is "
        "clear of them; the last two fifths take the likeliest columns of all reactions for known",
    )
    refinement_steps: int = Field(10, ge=1, le=MOST, description="Levenberg-Marquardt steps per round")
    refinement_frames: int = Field(
        120, ge=1, le=MOST, description="training frames, or windows of frames, the refinement fits"
    )
    judgement: Judgement = Judgement()
    n_snapshots: int = Field(40, ge=1, le=MOST, description="coefficient snapshots and loss records kept in fit.nc")
    decoder: Decoder = Field(
        "auto", description="the rounding method of the answer; auto: what refinement decided, else mass_balanced"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "FitConfig":
        if self.n_epochs_init > self.n_epochs:
            raise ValueError("n_epochs_init must not exceed n_epochs")
        if self.role_signs and not self.role_prior:
            raise ValueError("role_signs needs role_prior: without it a fit is told no signs to hold")
        if self.refinement_rounds and self.graph_model.substrate_gate and not self.role_signs:
            raise ValueError(
                "refinement_rounds with graph_model.substrate_gate needs role_signs: refinement holds them too"
            )
        return self

    def with_rate_law(self, name: RateLawName) -> "FitConfig":
        """The same with another rate law."""
        return self.model_copy(update={"graph_model": self.graph_model.model_copy(update={"rate_law": name})})

    @property
    def meaning(self) -> int | tuple[int, int]:
        """What its keys mean today: part of its name, and of its checkpoint's."""
        return (TRAINING_MEANING, REFINEMENT_MEANING) if self.refinement_rounds else TRAINING_MEANING

    @property
    def trained(self) -> "FitConfig":
        """What of it training depends on: the decoder only rounds, and is the default one here."""
        default = type(self).model_fields["decoder"].default
        return self if self.decoder == default else self.model_copy(update={"decoder": default})

    @property
    def together(self) -> dict[str, Any]:
        """What fits have in common that are trained as a pack: what shapes depend on, and what they are told."""
        keys = ("batch_size", "n_runs", "precision", "optimiser", "role_prior", "role_signs")
        own = {f"graph_model.{key}": value for key, value in self.graph_model}
        return own | {key: getattr(self, key) for key in keys}

    def steps_per_epoch(self, n_frames: int) -> int:
        """Optimiser steps in one epoch; `n_frames` is per trajectory."""
        if self.epoch_steps is not None:
            return self.epoch_steps
        return max(1, round(n_frames * self.data_augmentation_loop / self.batch_size * 0.2))

    def n_steps(self, n_frames: int) -> int:
        return self.n_epochs * self.steps_per_epoch(n_frames)


def load_fit_config(path: str | Path) -> FitConfig:
    """The training configuration in `path`. Raises BadInput."""
    return parse(FitConfig, read_yaml(path), path)
