"""What a Python program calls: `stoirec.recover`."""

import tempfile
from pathlib import Path
from typing import Literal, get_args

import torch
import xarray as xr

from stoirec.answer.prediction import with_rollout_errors
from stoirec.answer.recovery import recover as decoded
from stoirec.config.fit import RecipeName
from stoirec.config.regime import RateLawName
from stoirec.data.dataset import Data, read_data
from stoirec.errors import BadInput, from_file
from stoirec.files import netcdf
from stoirec.learn import comparison
from stoirec.learn import recipe as recipes
from stoirec.learn.devices import device as held
from stoirec.learn.training import train


def recover(
    data: str | Path | xr.Dataset,
    *,
    recipe: RecipeName = "auto",
    rate_law: RateLawName | Literal["auto"] = "pde_m1",
    starts: int | None = None,
    device: str = "auto",
    threads: int = 1,
) -> xr.Dataset:
    """Recover the stoichiometric matrix of a network from its time courses, as `stoirec recover` does.

    Args:
        data: a data.nc, or its content: concentration(run, time, metabolite) [concentration unit], time(time)
            [time unit], the edges of the graph, and what else data.nc may hold. No /truth is read.
        recipe: a bundled recipe; auto: the one that the data call for.
        rate_law: how rates depend on concentrations; auto: the law that predicts the validation runs best.
        starts: fits from as many random starts, of which the best predicting one is taken; None: one, and while the
            best is contradicted by free columns or sure of nothing up to two more, or other rate laws where functions
            that all reactions share hold on no run, or on the training runs alone.
        device: auto (a free GPU, else the CPU), cpu, cuda or cuda:N.
        threads: of the CPU; a result repeats bit for bit for the same number.

    Returns:
        The content of recovery.nc: stoichiometry(metabolite, reaction), confidence(edge) in [0, 1], the next best
        columns, and the same by every rounding method.

    Raises:
        BadInput: data or arguments that cannot be used, in one line.

    Example:
        >>> recovery = stoirec.recover("data.nc")  # doctest: +SKIP
        >>> recovery["stoichiometry"].to_pandas()  # doctest: +SKIP
    """
    _check("recipe", recipe, get_args(RecipeName))
    _check("rate_law", rate_law, (*get_args(RateLawName), "auto"))
    if (starts is not None and starts < 1) or threads < 1:
        raise BadInput("recover", "starts, threads", (starts, threads), "at least 1")
    where, content = _read(data)
    name = recipes.choose(content)[0] if recipe == "auto" else recipe
    laws = [law for law in get_args(RateLawName) if rate_law in ("auto", law)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with held(device) as chosen, from_file(where):
            fits: dict[comparison.Start, xr.Dataset] = {}
            for law, seed in comparison.starts(laws, starts, fits):
                fits[law, seed] = train(content, recipes.configured(name, content, law, seed), chosen)
            best = fits[comparison.best_predicting(fits)]
            return with_rollout_errors(decoded(best, where, fall_back=True), best, content)
    finally:
        torch.set_num_threads(before)


def _check(key: str, found: str, allowed: tuple[str, ...]) -> None:
    if found not in allowed:
        raise BadInput("recover", key, found, ", ".join(allowed))


def _read(data: str | Path | xr.Dataset) -> tuple[str, Data]:
    """What messages call the data, and what a learner sees of them."""
    if not isinstance(data, xr.Dataset):
        return str(data), read_data(data)
    with tempfile.TemporaryDirectory() as folder:  # one reader, and what it checks, for files and for datasets
        path = Path(folder) / "data.nc"
        netcdf.write(path, data)
        try:
            return "dataset", read_data(path)
        except BadInput as error:
            error.args = (str(error).replace(str(path), "dataset"),)
            raise
