"""The study's recipe (its base) on fewer runs, on noisier data and without its parts, all else equal."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from stoirec.config.fit import FitConfig
from stoirec.config.regime import Regime, load_regime
from stoirec.files import netcdf
from stoirec.files.contents import COSTS
from stoirec.report.differences import compared
from stoirec.report.results import REFERENCES, Results
from stoirec.score.references import comparable_method
from stoirec.study.identity import flatten, nested, recipe

_NAMES = {"n_runs": "the number of runs", "dcdt_noise": "the noise of dc/dt"}


@dataclass(frozen=True)
class Curve:
    """entry_exact as one property of the data changes, on the networks that every value of it was trained on.

    Attributes:
        points: one row per fit: value (of the property), entry_exact (0 if it diverged), network_seed.
        references: indexed by value: the better baseline, and oracles on the same runs of the same data.
    """

    points: pd.DataFrame
    references: pd.DataFrame

    @property
    def means(self) -> pd.Series:
        """Mean entry_exact of the fits by value."""
        return self.points.groupby("value")["entry_exact"].mean()


def base(results: Results) -> FitConfig:
    """The study's recipe."""
    return FitConfig.model_validate(nested(flatten(results.study.base)))


def curves(results: Results) -> dict[str, Curve]:
    """entry_exact against n_runs and against the regime's dcdt_noise, of fits with all else as in the study's recipe.

    One that the study did not vary is left out.
    """
    usual = {"n_runs": base(results).n_runs, "dcdt_noise": load_regime(results.study.regime).dcdt_noise}
    table = _recipe_fits(results)
    found = {}
    for name, other in (("n_runs", "dcdt_noise"), ("dcdt_noise", "n_runs")):
        points = _on_common_networks(
            table[table[other] == usual[other]].assign(value=lambda fits, name=name: fits[name])
        )
        if points["value"].nunique() > 1:
            references = {
                value: _references(results, sorted(set(group["data"])), int(group["n_runs"].iloc[0]), group["method"])
                for value, group in points.groupby("value")
            }
            found[name] = Curve(
                points[["value", "entry_exact", "network_seed"]], pd.DataFrame.from_dict(references, orient="index")
            )
    return found


def _recipe_fits(results: Results) -> pd.DataFrame:
    """The fits of the study's recipe whatever their number of runs and noise: those two, and the columns of _values."""
    own, regime = base(results), load_regime(results.study.regime)
    rows = []
    for fit in results.fits:
        data = results.regimes[fit.data]
        is_recipe = recipe(fit.config.model_copy(update={"n_runs": own.n_runs})) == recipe(own)
        if is_recipe and _but_noise(data) == _but_noise(regime):
            rows.append({"fit_id": fit.fit_id, "n_runs": fit.config.n_runs, "dcdt_noise": data.dcdt_noise})
    return pd.DataFrame(rows, columns=["fit_id", *_NAMES]).set_index("fit_id").join(_values(results))


def not_varied(found: dict[str, Curve]) -> str:
    """What `curves` left out, in a sentence; empty if nothing."""
    missing = [text for name, text in _NAMES.items() if name not in found]
    return (
        f"The study did not vary {' or '.join(missing)} with all else as in its base, on the same networks."
        if missing
        else ""
    )


def ablations(results: Results) -> pd.DataFrame:
    """Every variant of a stage beside the study's recipe on the same data sets and training seeds; empty without any.

    Returns:
        Per configuration: entry_exact (mean; a diverged fit counts as 0), that of the recipe, pairs, difference with
        its 95 % t interval over networks (from, to), verdict; wall time of a fit and of one of the recipe [s].
    """
    answers = (
        results.answers[["configuration", "data", "param.seed"]].join(_values(results)["entry_exact"]).reset_index()
    )
    own = recipe(base(results))
    is_recipe = answers["fit_id"].map(lambda fit: recipe(results.job(fit).config) == own)
    names = {name for stage in results.study.stages for name in stage.variants} - {"base"}
    is_variant = answers["fit_id"].map(lambda fit: results.job(fit).variant in names)
    keys, rows = ["data", "param.seed"], {}
    for name, group in answers[is_variant & ~is_recipe].groupby("configuration", sort=False):
        pairs = group.merge(answers[is_recipe], on=keys, suffixes=("", " of the recipe")).set_index(keys)
        if len(pairs):
            rows[name] = {
                "entry_exact": pairs["entry_exact"].mean(),
                "the recipe": pairs["entry_exact of the recipe"].mean(),
                **compared(pairs["entry_exact"] - pairs["entry_exact of the recipe"]),
                "wall time [s]": _wall_time(results, pairs["fit_id"]),
                "of the recipe [s]": _wall_time(results, pairs["fit_id of the recipe"]),
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def _values(results: Results) -> pd.DataFrame:
    """(fits) columns data, network_seed, method, entry_exact; a diverged fit counts as 0."""
    answers = results.answers
    return answers[["data", "network_seed", "method"]].assign(
        entry_exact=answers["entry_exact"].where(answers["status"] == "ok", 0.0)
    )


def _wall_time(results: Results, fits: pd.Series) -> float:
    """Mean over fits [s]."""
    return float(np.mean([float(netcdf.attributes(results.fit_path(fit), COSTS)["wall_time_s"]) for fit in fits]))


def _but_noise(regime: Regime) -> Regime:
    """The regime whatever its noise; seeds are the data set's."""
    return regime.model_copy(update={"name": "", "dcdt_noise": 0.0, "seeds": None})


def _on_common_networks(points: pd.DataFrame) -> pd.DataFrame:
    """The rows of networks that every `value` has: means of others do not compare."""
    common = points.groupby("network_seed")["value"].nunique() == points["value"].nunique()
    return points[points["network_seed"].map(common).astype(bool)]


def _references(results: Results, data: list[str], n_runs: int, methods: pd.Series) -> dict[str, float]:
    """The better baseline, and what oracles reach on `n_runs` runs of `data`, beside answers by `methods`."""
    method = comparable_method(methods.mode()[0])
    own, nearest = (results.references(by, data, n_runs)["entry_exact"] for by in (method, "nearest"))
    return {
        "better baseline": results.best_baseline(method, data),
        REFERENCES["oracle_scale_blind"]: own["oracle_scale_blind"],
        f"{REFERENCES['oracle_least_squares']}, nearest": nearest["oracle_least_squares"],
        f"{REFERENCES['oracle_least_squares']}, {method}": own["oracle_least_squares"],
    }
