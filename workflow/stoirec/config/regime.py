"""A regime: everything a simulation depends on."""

import contextlib
import functools
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from stoirec.config.bounds import FARTHEST, MOST, WIDEST, Name, Seed
from stoirec.config.equations import parse_equation
from stoirec.config.reading import Strict, parse, read_yaml
from stoirec.errors import BadInput
from stoirec.streams import derived_seed

RateLawName = Literal["pde_m1", "pde_m1_enzymes", "mass_action", "convenience"]
_PowerOfTen = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST)]


class Seeds(Strict):
    """Separate seeds of the four random parts of a simulation."""

    network: Seed
    rate_constants: Seed
    mlps: Seed
    initial_concentrations: Seed


class Kinetics(Strict):
    """The rate law: frozen random MLPs of PDE_M1, or a textbook law, which has none of them.

    substrate_func is an MLP([2, hidden, out]), rate_func an MLP([out, hidden, 1]).
    """

    rate_law: RateLawName = "pde_m1"
    initialisation: Literal["monotone", "default"] = "monotone"
    hidden_dim: int = Field(32, ge=1, le=WIDEST)
    output_size: int = Field(16, ge=1, le=WIDEST)
    # standard normal numbers of each reaction, inputs of substrate_func as well: of pde_m1_enzymes
    reaction_embedding_dim: int = Field(1, ge=1, le=WIDEST)
    flux_limiter: bool = False


class Composition(Strict):
    """What a metabolite is made of."""

    formula: str
    charge: int = Field(ge=-MOST, le=MOST)


class Integration(Strict):
    """How the trajectories are computed: an adaptive SciPy solver, or explicit Euler with step dt."""

    method: Literal["DOP853", "RK45", "LSODA", "Radau", "BDF", "Euler"] = "DOP853"
    rtol: float = Field(1e-9, gt=0, le=1e-3)
    atol: float = Field(1e-11, gt=0, le=1e-3)


class Measured(Strict):
    """What a laboratory has of a trajectory: values at some of its frames, and no derivatives."""

    frames: int = Field(ge=5, le=MOST)  # of a run
    # drawn anew for each run, or as many between each two, or ever fewer; the first and the last are among them
    spacing: Literal["irregular", "even", "geometric"] = "irregular"
    noise: float = Field(0.0, ge=0, lt=1)  # Gaussian, of the size of the value; values below 0 are measured as 0
    missing: float = Field(0.0, ge=0, lt=1)  # share of the values
    unmeasured: int = Field(0, ge=0, le=MOST)  # metabolites without a value in any run


class Regime(Strict):
    """A frozen simulation. Learners and their parameters vary, the data does not."""

    name: Name
    # a network of its own: "A + 2 B -> C" by the name of the reaction, "A <-> B" where it runs both ways, "A -> " where
    # it is open, "A + E -> B + E" where E activates or inhibits; else one is drawn, of the sizes below
    reactions: dict[str, str] = {}
    known: list[str] = []  # names of `reactions` whose columns a learner is told; they may be fractional, or unbalanced
    both_ways: bool = False  # whether all `reactions` run both ways
    # what a learner is told; of `reactions`, those that do not conserve mass are left out
    conserved: Literal["mass", "nothing", "elements"] = "mass"
    species: dict[str, Composition] = {}  # formulas of the metabolites of `reactions`, for conserved: elements
    # the candidate edges: the true ones and decoys, or every metabolite of every reaction, in a role that is not told
    candidates: Literal["true", "all"] = "true"
    signs: Literal["roles", "unknown"] = "roles"  # those that a learner is told; else only who drives a rate
    n_metabolites: int | None = Field(None, ge=2, le=MOST)
    n_reactions: int | None = Field(None, ge=1, le=MOST)
    max_coefficient: int = Field(2, ge=1, le=2)
    # "substrates-products": weight; the sizes reactions are drawn from
    reaction_shapes: dict[str, float] = {}
    # share of reactions whose columns are not of the kind a learner expects: simulate.network.ODD, in turn
    odd_reactions: float = Field(0.0, ge=0, le=1)
    decoy_edges: float = Field(0.0, ge=0, le=MOST)
    dcdt_noise: float = Field(0.0, ge=0)  # Gaussian noise on dc/dt, in units of each metabolite's std of dc/dt
    measured: Measured | None = None  # what a learner gets, instead of all frames with their derivatives
    n_runs: int = Field(5, ge=1, le=MOST)
    n_frames: int = Field(ge=2, le=MOST)
    dt: float = Field(gt=0)
    log_k: tuple[_PowerOfTen, _PowerOfTen] = Field(strict=False)
    initial_concentration: tuple[float, float] = Field(strict=False)
    # runs start within this share of common concentrations; None: each anywhere in initial_concentration
    initial_variation: float | None = Field(None, gt=0, le=1)
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
        if self.candidates == "all" and (self.decoy_edges or self.known or self.runs_both_ways):
            raise ValueError("candidates: all leaves no place for decoy_edges, known and reversible reactions")
        if (self.conserved == "elements") != bool(self.species):
            raise ValueError("species are the formulas of conserved: elements, which needs them")
        if self.reactions:
            self._own_network()
        elif self.known or self.both_ways:
            raise ValueError("known and both_ways are of reactions, which are not given")
        elif None in (self.n_metabolites, self.n_reactions) or not sum(self.reaction_shapes.values()) > 0:
            raise ValueError("reactions, or n_metabolites, n_reactions and reaction_shapes with a positive weight")
        if self.measured is not None:
            if self.measured.frames > self.n_frames:
                raise ValueError(f"measured: frames must be at most n_frames, {self.n_frames}")
            if self.dcdt_noise or self.kinetics.flux_limiter:
                raise ValueError("measured has no dcdt, and courses of a flux_limiter are not smooth")
        if (self.integration.method == "Euler") != self.kinetics.flux_limiter:
            raise ValueError("kinetics.flux_limiter needs integration.method Euler, and Euler needs the limiter")
        return self

    @property
    def runs_both_ways(self) -> bool:
        """Whether some of its own reactions do."""
        return self.both_ways or any("<" in equation for equation in self.reactions.values())

    def _own_network(self) -> None:
        for key in ("n_metabolites", "n_reactions", "reaction_shapes", "odd_reactions"):
            if getattr(self, key):
                raise ValueError(f"{key} has no meaning where reactions are given")
        for name, equation in self.reactions.items():
            try:
                column, _ = parse_equation(equation)
            except ValueError as error:
                raise ValueError(f"reactions: {name}: {error}") from None
            if not any(column.values()):
                raise ValueError(f"reactions: {name}: {equation!r} changes no metabolite")
            if self.candidates == "all" and 0 in column.values():
                raise ValueError(f"reactions: {name}: candidates: all leaves no place for catalysts")
            if name not in self.known and any(size != round(size) for size in column.values()):
                raise ValueError(f"reactions: {name}: coefficients are whole numbers, but of `known` reactions")
        for name in self.known:
            if name not in self.reactions:
                raise ValueError(f"known: {name} is none of the reactions")

    def with_master_seed(self, seed: int) -> "Regime":
        """The same regime with its four seeds derived from one (the command line's --seed)."""
        return self.model_copy(
            update={"seeds": Seeds(**{part: derived_seed(part, seed) for part in Seeds.model_fields})}
        )


def load_regime(path: str | Path) -> Regime:
    """The regime in `path`. Raises BadInput.

    One that is `like` another file beside it has that file's keys, and its own over them.
    """
    return parse(Regime, _content(Path(path), ()), path)


def _edition(path: Path) -> tuple[int, ...] | None:
    with contextlib.suppress(OSError, ValueError):
        found = path.stat()
        return found.st_ino, found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=64)
def _read(path: Path, edition: tuple[int, ...] | None) -> dict:
    """The keys of one edition of a file: a study asks for the same regime with every stage and every network."""
    return read_yaml(path)


def _content(path: Path, likes: tuple[Path, ...]) -> dict:
    """The keys of a file; `likes`: those that are like it, one like the next."""
    content = dict(_read(path, _edition(path)))
    if "like" not in content:
        return content
    like = path.parent / str(content.pop("like"))
    if like.resolve() in (path.resolve(), *likes):
        raise BadInput(path, "like", like, "a regime that is not like this one")
    return _content(like, (path.resolve(), *likes)) | content
