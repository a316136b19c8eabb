"""A finished study: its tables and files, and which fit or configuration is best by what."""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from stoirec.answer.decode import METHODS
from stoirec.config.fit import FitConfig
from stoirec.config.regime import Regime, load_regime
from stoirec.config.study import Study
from stoirec.data.dataset import Data, read_data, read_n_frames, read_space
from stoirec.errors import BadInput, from_file
from stoirec.files import netcdf
from stoirec.files.contents import COSTS, FIT, ORIGIN, WRITTEN
from stoirec.files.schema import check, required
from stoirec.learn.losses import COMPONENTS
from stoirec.network.columns import ColumnSpace
from stoirec.report.naming import configuration_labels, shown_value, varied_parameters
from stoirec.report.reading import read_baselines, read_metrics
from stoirec.score.metrics import NAMES
from stoirec.score.references import comparable_method
from stoirec.score.scoring import read_recovery, score_history
from stoirec.simulate.truth import Truth, read_truth
from stoirec.study.expansion import data_sets, expand, fits_of, waves
from stoirec.study.identity import Fit, flat
from stoirec.study.plans import plan_path, read_plan
from stoirec.study.store import Store

# What the references of baselines.csv know; the order in which every table shows them.
REFERENCES = {
    "baseline_unit": "baseline: −1 / +1 by role",
    "baseline_balanced": "baseline: roles and mass balance",
    "oracle_scale_blind": "oracle: fluxes up to a factor, scaled",
    "oracle_least_squares": "oracle: true fluxes",
    "oracle_balanced": "oracle: true fluxes, mass balance",
}
_SCALED = {"nearest": "scaled", "mass_balanced": "scaled_mass_balanced"}
_TRAINING = ("status", "n_steps", "wall_time_s", "threads", "device", "git_commit")
# Metrics that are shares of entries or reactions.
SHARES = tuple(name for name in NAMES if name not in ("r2", "log_k_r2"))


@dataclass(frozen=True)
class Results:
    """A study with everything the workflow computed for it.

    Attributes:
        study, fits: what was asked for, and what the study selects from: the evaluation is no part of it.
        store: folder with data/ and fits/.
        metrics: metrics.csv, the rows of this study's fits.
        baselines: baselines.csv.
        evaluation: fits on the held-out networks, under every name they were asked for.
        plans: of the waves that follow from others: how their winners were chosen.
    """

    study: Study
    fits: list[Fit]
    store: Path
    metrics: pd.DataFrame
    baselines: pd.DataFrame
    evaluation: list[Fit] = field(default_factory=list)
    plans: dict[str, dict[str, Any]] = field(default_factory=dict)

    @cached_property
    def data_names(self) -> list[str]:
        """The data sets the study selects on, in its order."""
        return list(dict.fromkeys(fit.data for fit in self.fits))

    @cached_property
    def held_out_names(self) -> list[str]:
        """The data sets nothing was selected on."""
        return list(dict.fromkeys(fit.data for fit in self.evaluation))

    @cached_property
    def all_fits(self) -> list[Fit]:
        """Everything that was trained, each fit once."""
        return list(self._by_id.values())

    @cached_property
    def answers(self) -> pd.DataFrame:
        """One row per fit, indexed by fit_id: the metrics of the fit's own answer, its data set, and short labels.

        `configuration` names what was trained, whatever the network and the learner's seed; `label` names the fit.
        """
        answers = self.metrics[self.metrics["is_answer"]].set_index("fit_id").loc[[fit.fit_id for fit in self.fits]]
        data = [fit.data for fit in self.fits]
        grids = {stage.name: [f"param.{key}" for key in stage.grid] for stage in self.study.stages}
        configuration = configuration_labels(answers, grids)
        regime = pd.Series([name.rsplit("-seed", 1)[0] for name in data], index=answers.index)
        if regime.nunique() > 1:
            configuration += ", on " + regime
        label = configuration.copy()
        for column, word in (("network_seed", "network"), ("param.seed", "seed")):
            if answers[column].nunique() > 1:
                label += f", {word} " + answers[column].astype(str)
        return answers.assign(data=data, configuration=configuration, label=label)

    @cached_property
    def methods(self) -> list[str]:
        """The methods that any fit was decoded by: rounding methods first, then what else there is (refinement's)."""
        found = list(dict.fromkeys(self.metrics["method"]))
        return [*(name for name in METHODS if name in found), *(name for name in found if name not in METHODS)]

    @cached_property
    def has_decoys(self) -> bool:
        """Whether some candidate edges are of zero: only then do metrics of the support tell anything."""
        return bool((self.baselines["entry_exact"] != self.baselines["entry_exact_true_edges"]).any())

    @cached_property
    def usual_method(self) -> str:
        """The method of most answers."""
        return self.answers["method"].mode()[0]

    @cached_property
    def configurations(self) -> pd.DataFrame:
        """One row per configuration, best first: means over networks and learner seeds.

        A diverged fit recovers nothing: it counts as 0 in every share, and its configuration has val_loss inf. R2 means
        are over the fits that ended; val_loss is a geometric mean, for it spans orders of magnitude.
        """
        rows = []
        for name, group in self.answers.groupby("configuration", sort=False):
            ended = group["status"] == "ok"
            shares = group[list(SHARES)].where(ended, 0.0)
            rows.append(
                {
                    "configuration": name,
                    "n_fits": len(group),
                    "n_diverged": int((~ended).sum()),
                    "method": (group[ended] if ended.any() else group)["method"].mode()[0],
                    "role_prior": bool(group["param.role_prior"].iloc[0]),
                    **shares.mean(),
                    "entry_exact_min": shares["entry_exact"].min(),
                    "entry_exact_max": shares["entry_exact"].max(),
                    **group.loc[ended, ["r2", "log_k_r2"]].mean(),
                    "val_loss": float(np.exp(np.log(group["val_loss"]).mean())) if ended.all() else np.inf,
                }
            )
        return (
            pd.DataFrame(rows)
            .set_index("configuration")
            .sort_values(["entry_exact", "val_loss"], ascending=[False, True], kind="stable")
        )

    # --- selection --------------------------------------------------------------------------------------------------

    @cached_property
    def best_configuration(self) -> str | None:
        """By mean entry_exact, which needs the truth; None if every fit diverged."""
        ended = self.configurations[self.configurations["n_diverged"] < self.configurations["n_fits"]]
        return None if ended.empty else ended.index[0]

    @cached_property
    def val_loss_configuration(self) -> str | None:
        """By val_loss, which needs no truth, on the best one's data; None if none ended on every network."""
        same = [self.seen_by(name)[0] == self.seen_by(self.best_configuration)[0] for name in self.configurations.index]
        val_loss = self.configurations["val_loss"][same]
        return val_loss.idxmin() if np.isfinite(val_loss).any() else None

    @cached_property
    def best_fit(self) -> str | None:
        """fit_id with the highest entry_exact; of equals, the one with the lower val_loss."""
        ended = self.ended.sort_values(["entry_exact", "val_loss"], ascending=[False, True], kind="stable")
        return None if ended.empty else ended.index[0]

    @cached_property
    def val_loss_fit(self) -> str | None:
        """fit_id with the lowest val_loss, on the best fit's network: losses of different networks do not compare."""
        if self.best_fit is None:
            return None
        same = self.ended[self.ended["data"] == self.answers.at[self.best_fit, "data"]]
        return same["val_loss"].idxmin()

    @cached_property
    def ended(self) -> pd.DataFrame:
        """The rows of `answers` that did not diverge."""
        return self.answers[self.answers["status"] == "ok"]

    def seen_by(self, configuration: str | None) -> tuple[list[str], int | None]:
        """The data sets of a configuration's fits, and how many training runs they see; all of both for None."""
        if configuration is None:
            return self.data_names, None
        own = self.answers[self.answers["configuration"] == configuration]
        return sorted(set(own["data"])), int(own["param.n_runs"].iloc[0])

    @cached_property
    def varied(self) -> list[str]:
        """Columns `param.<key>` that take more than one value, the learner's seed left out."""
        return varied_parameters(self.answers)

    def by_network(self, values: pd.Series) -> pd.Series:
        """Values of fits, indexed by fit_id, under their data set and training seed: what intervals count by."""
        return pd.Series(
            values.to_numpy(), pd.MultiIndex.from_frame(self.answers.loc[values.index, ["data", "param.seed"]])
        )

    def description(self, configuration: str) -> str:
        """The parameters of a configuration that are not the defaults: learning_rate_start 0.005, role_prior True."""
        config = self.job(self.answers.index[self.answers["configuration"] == configuration][0]).config
        defaults = flat(FitConfig())
        return ", ".join(
            f"{key} {shown_value(value)}"
            for key, value in flat(config).items()
            if value != defaults[key] and key != "seed"
        )

    # --- references -------------------------------------------------------------------------------------------------

    def references(self, method: str, data: list[str] | None = None, n_runs: int | None = None) -> pd.DataFrame:
        """Metrics of baselines and oracles decoded by `method`, means over data sets (default: the study's).

        Beside an answer that refinement decided they are decoded by what is comparable. The oracles see the first
        `n_runs` training runs of each data set (default: all). The scale-blind oracle has no scale to decode at; it is
        always decoded by the scaled form of the method.
        """
        method = comparable_method(method)
        blind = self.baselines["variant"] == "oracle_scale_blind"
        rows = self.baselines[self.baselines["method"] == np.where(blind, _SCALED.get(method, method), method)]
        of = rows["fit_id"].str.split("/").str[0]
        fewer = rows["param.n_runs"] == n_runs
        rows = rows[of.isin(data or self.data_names) & (fewer | (rows["param.n_runs"].isna() & ~of.isin(of[fewer])))]
        means = rows.groupby("variant", sort=False)[list(NAMES)].mean()
        return means.loc[[name for name in REFERENCES if name in means.index]]

    def best_baseline(self, method: str, data: list[str] | None = None, metric: str = "entry_exact") -> float:
        """What the better of the two baselines reaches."""
        return float(self.references(method, data).filter(like="baseline", axis=0)[metric].max())

    # --- data ---------------------------------------------------------------------------------------------------------

    @cached_property
    def regimes(self) -> dict[str, Regime]:
        """The regime of every data set the study may ask for."""
        return _regimes(self.study)

    # --- files --------------------------------------------------------------------------------------------------------

    def data(self, name: str) -> Data:
        return _data(self.store, name)

    def space(self, name: str) -> ColumnSpace:
        """Graph and columns of a data set, where its time courses are not asked for."""
        return _space(self.store, name)

    def n_frames(self, name: str) -> int:
        """Frames of a run of a data set."""
        return _n_frames(self.store, name)

    def truth(self, name: str) -> Truth:
        return _truth(self.store, name)

    def data_attributes(self, name: str) -> dict[str, Any]:
        """Regime, its configuration and seeds, version and commit of data.nc: of the file and of its /truth."""
        path = Store(self.store).data(name)
        found = netcdf.attributes(path, WRITTEN) | netcdf.read(path, group="truth").attrs  # old files have all outside
        with from_file(path):
            check(xr.Dataset(attrs=found), ORIGIN)
        return found

    def fit(self, fit_id: str) -> xr.Dataset:
        """fit.nc."""
        curves = ("val_loss_history", *(f"loss_{name}" for name in COMPONENTS))
        return netcdf.read(self.fit_path(fit_id), required((*FIT, *COSTS, *WRITTEN), *curves))

    def fit_path(self, fit_id: str) -> Path:
        return Store(self.store).fit(self.job(fit_id).training_id)

    def recovery(self, fit_id: str) -> xr.Dataset:
        """recovery.nc."""
        return read_recovery(Store(self.store).recovery(fit_id))

    def history(self, fit_id: str, most: int = 15) -> pd.DataFrame:
        """Recovery over steps, as score.score_history, at about `most` snapshots, the first and the last among them."""
        fit, data = self.fit(fit_id), self.job(fit_id).data
        some = np.unique(np.linspace(0, fit.sizes["snapshot"] - 1, most).round().astype(int))
        return score_history(fit.isel(snapshot=some), self.truth(data), self.space(data))

    def job(self, fit_id: str) -> Fit:
        """What was asked for: data set, configuration, stage."""
        return self._by_id[fit_id]

    @cached_property
    def _by_id(self) -> dict[str, Fit]:
        return {fit.fit_id: fit for fit in (*self.fits, *self.evaluation)}

    @cached_property
    def training(self) -> pd.DataFrame:
        """One row per fit, indexed by fit_id: status, steps, wall time [s], threads, device, commit, val_loss curve."""
        rows = {}
        for fit in self.all_fits:  # each file is opened once: a study may have a thousand
            content = self.fit(fit.fit_id)
            curve = {"step": content["step"].values, "val_loss_history": content["val_loss_history"].values}
            rows[fit.fit_id] = {key: content.attrs[key] for key in _TRAINING} | curve
        return pd.DataFrame.from_dict(rows, orient="index")

    def examples(self, most: int = 8) -> list[str]:
        """The fits a figure shows one by one, best first: all that ended, or the best and the worst of them."""
        order = list(self.ended.sort_values(["entry_exact", "val_loss"], ascending=[False, True], kind="stable").index)
        worst = most * 3 // 8
        return order if len(order) <= most else order[: most - worst] + order[-worst:]


@lru_cache(maxsize=4)  # a data set takes tens of megabytes
def _data(store: Path, name: str) -> Data:
    return read_data(Store(store).data(name))


@lru_cache(maxsize=64)
def _space(store: Path, name: str) -> ColumnSpace:
    return read_space(Store(store).data(name))


@lru_cache(maxsize=64)
def _n_frames(store: Path, name: str) -> int:
    return read_n_frames(Store(store).data(name))


@lru_cache(maxsize=64)
def _truth(store: Path, name: str) -> Truth:
    return read_truth(Store(store).data(name), _space(store, name).graph)


def load(study: str | Path, store: str | Path, metrics: str | Path, baselines: str | Path) -> Results:
    """The results of a study whose waves are all done.

    Args:
        study: the study file; store: folder with data/ and fits/; metrics, baselines: the two tables.

    Raises:
        BadInput: a file is missing, is not such a table, or lacks a fit or a data set of the study.
    """
    content, fits = expand(study)
    for wave in waves(content):
        if fits_of(content, wave, study) is None:
            raise BadInput(
                plan_path(content, wave.name),
                "file",
                "nothing that fits the study",
                "the plan of a wave: the study is not finished, or was changed since",
            )
    evaluation = next((fits_of(content, wave, study) for wave in waves(content) if wave.stage is None), None) or []
    held_out = {fit.fit_id for fit in evaluation}
    table = read_metrics(metrics, fits, study)
    regimes = _regimes(content)
    asked = [(fit.data, fit.config.n_runs if fit.config.n_runs < regimes[fit.data].n_runs else None) for fit in fits]
    return Results(
        content,
        [fit for fit in fits if fit.fit_id not in held_out],
        Path(store),
        table,
        read_baselines(baselines, asked, study, REFERENCES),
        evaluation,
        {wave.name: read_plan(plan_path(content, wave.name)) for wave in waves(content) if wave.planned},
    )


def _regimes(study: Study) -> dict[str, Regime]:
    sets = data_sets(study)
    loaded = {file: load_regime(file) for file in dict.fromkeys(file for file, _ in sets.values())}
    return {name: loaded[file] for name, (file, _) in sets.items()}
