"""What parameters, configurations and rounding methods are called."""

from typing import Any

import numpy as np
import pandas as pd

from stoirec.answer.decode import REFINED, ROLES
from stoirec.score.references import comparable_method

_SHORTER = {  # in labels of figures and tables; headers and lists of parameters have the full names
    "learning_rate_start": "lr",
    "learning_rate_S_start": "lr_S",
    "coeff_S_L1": "L1",
    "coeff_S_integer": "integer",
    "coeff_mass_conservation": "mass",
    "data_augmentation_loop": "augmentation",
}

# --- parameters -------------------------------------------------------------------------------------------------------


def short(parameter: str) -> str:
    """param.graph_model.hidden_dim -> hidden_dim."""
    return parameter.split(".")[-1]


def shown_value(value: Any) -> str:
    """A parameter's value as a reader writes it; a missing one is the default."""
    if isinstance(value, float | np.floating):
        return "default" if np.isnan(value) else f"{value:g}"
    return str(value)


def varied_parameters(answers: pd.DataFrame) -> list[str]:
    """Columns `param.<key>` of Results.answers that take more than one value, the learner's seed left out."""
    return [column for column in _parameters(answers) if answers[column].nunique(dropna=False) > 1]


def _parameters(answers: pd.DataFrame) -> list[str]:
    return [column for column in answers.columns if column.startswith("param.") and column != "param.seed"]


# --- configurations ---------------------------------------------------------------------------------------------------


def configuration_labels(answers: pd.DataFrame, grids: dict[str, list[str]]) -> pd.Series:
    """The variant's name, with the parameters its stage varies within it; the stage's name where that is not unique.

    `grids`: stage -> columns of its grid.
    """
    labels = pd.Series("", index=answers.index)
    for (stage, variant), group in answers.groupby(["stage", "variant"], sort=False):
        own = varied_parameters(group) or (grids.get(stage, []) if variant == "base" else [])
        for fit, row in group[own].iterrows():
            details = ", ".join(
                f"{_SHORTER.get(short(key), short(key))} {shown_value(value)}" for key, value in row.items()
            )
            named = variant != "base" or not details  # the name a study gives to a plain grid says nothing
            labels[fit] = " ".join([variant] * named + [f"({details})" if named else details] * bool(details))
    configuration = answers.groupby(_parameters(answers), dropna=False).ngroup()
    unique = len(set(zip(labels, configuration))) == labels.nunique()
    return labels if unique else answers["stage"] + ": " + labels


# --- methods ----------------------------------------------------------------------------------------------------------


def decided_by(method: str) -> str:
    """How an answer's integers came about: "decoded by mass balanced", "decided by refinement"."""
    named = {REFINED: "decided by refinement", ROLES: "from roles alone, because the fit describes nothing"}
    return named[method] if method in named else f"decoded by {method.replace('_', ' ')}"


def compared_by(method: str) -> str:
    """How the references beside an answer by `method` are decoded: "decoded by mass balanced"."""
    return decided_by(comparable_method(method))
