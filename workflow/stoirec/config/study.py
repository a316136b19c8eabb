"""A study: which fits are trained on which data."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from stoirec.config.bounds import MOST, MOST_FITS, FilePath, FolderPath, Label, Name, PackSize, Seed
from stoirec.config.reading import Strict, parse, read_yaml

_Whole = Annotated[int, Field(ge=-MOST, le=MOST)]


class Choice(Strict):
    """What a search may propose for one parameter: exactly one of the three."""

    float_: tuple[float, float] | None = Field(None, alias="float", strict=False, description="[low, high]")
    int_: tuple[_Whole, _Whole] | None = Field(
        None, alias="int", strict=False, description="[low, high], both included"
    )
    categorical: list[bool | _Whole | float | str | None] | None = Field(None, min_length=1)
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

    @property
    def ends(self) -> list[Any]:
        """The outermost values it may propose: if these are possible, so are the others."""
        return list(self.categorical or self.float_ or self.int_)


class Stage(Strict):
    """A set of fits around a base: the product of `grid` for each of `variants`, or what a search proposes."""

    name: Name
    regime: FilePath | None = Field(None, description="the stage's own regime; default: the study's")
    network_seeds: list[Seed] | None = Field(
        None, min_length=1, description="the stage's own networks; default: the study's"
    )
    seeds: list[Seed] | None = Field(
        None, min_length=1, description="training seeds, every configuration with each; default: the study's"
    )
    variants: dict[Label, dict[str, Any]] = Field({"base": {}}, min_length=1)
    grid: dict[str, list[Any]] = {}
    search: Literal["optuna"] | None = None
    space: dict[str, Choice] = {}
    n_trials: int | None = Field(None, ge=1, le=MOST_FITS, description="configurations the search tries")
    batch_size: int = Field(
        8, ge=1, le=MOST_FITS, description="proposals that are trained side by side, before the search learns of any"
    )
    sampler_seed: int = Field(1, ge=0, le=2**32 - 1)  # of NumPy's RandomState

    @model_validator(mode="after")
    def _consistent(self) -> "Stage":
        if self.search and (not self.space or self.n_trials is None or self.grid or len(self.variants) > 1):
            raise ValueError("a stage with search needs space and n_trials, and has no grid and at most one variant")
        if not self.search and (self.space or self.n_trials is not None):
            raise ValueError("space and n_trials need search: optuna")
        return self

    @property
    def batch_sizes(self) -> list[int]:
        """How many proposals each batch of the search has: n_trials in all."""
        return [min(self.batch_size, self.n_trials - start) for start in range(0, self.n_trials, self.batch_size)]


# Larger is better in all of them but val_loss.
Criterion = Literal[
    "val_loss",
    "entry_exact",
    "entry_exact_true_edges",
    "reaction_exact",
    "sign_accuracy",
    "support_f1",
    "r2",
    "log_k_r2",
]


class Study(Strict):
    """Stages of fits.

    Without `select_by` all stages stand around `base`. With it they follow each other: a stage stands around the
    winner of the stage before it, and the winner of the last is trained on the networks of `evaluation_seeds`.
    """

    name: Name
    regime: FilePath
    network_seeds: list[Seed] = Field(min_length=1)
    seeds: list[Seed] | None = Field(
        None, min_length=1, description="training seeds of every stage and of the evaluation"
    )
    results_dir: FolderPath = "results"
    pack: PackSize = Field(
        1, description="fits that one job trains at most, their steps at once; auto: as many as gain from it"
    )
    base: dict[str, Any] = {}
    stages: list[Stage] = Field(min_length=1)
    select_by: Criterion | None = None
    evaluation_seeds: list[Seed] = Field([], description="networks nothing is selected on")
    compare_with: dict[Label, dict[str, Any]] = Field(
        {}, description="variants of base that are evaluated beside the winner"
    )
    compare_study: FilePath | None = Field(
        None, description="another study, whose result the report shows beside this one's"
    )

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
            raise ValueError(
                "a stage's own regime or network_seeds need a study without select_by: "
                "winners are compared on the same data"
            )
        if self.compare_with and not self.evaluation_seeds:
            raise ValueError("compare_with needs evaluation_seeds")
        reserved = [name for name in self.compare_with if name.startswith("selected_by_")]
        if reserved:
            raise ValueError("names in compare_with must not start with selected_by_")
        return self


class Workflow(Strict):
    """config/config.yaml: what Snakemake was told."""

    study: FilePath
    results: FolderPath = "results"  # data and fits, shared by studies


def workflow_settings(config: dict[str, Any], is_module: bool = False) -> Workflow:
    """The workflow's configuration; a module may be given the keys of others as well. Raises BadInput."""
    given = {key: value for key, value in config.items() if key in Workflow.model_fields or not is_module}
    return parse(Workflow, given, "config")


def load_study(path: str | Path) -> Study:
    """The study in `path`. Raises BadInput."""
    return parse(Study, read_yaml(path), path)
