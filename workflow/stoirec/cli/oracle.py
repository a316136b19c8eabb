"""Ceilings on a simulated data.nc."""

from pathlib import Path
from typing import Annotated

import typer

from stoirec.cli.options import Json
from stoirec.cli.printing import print_json, print_table
from stoirec.errors import from_file

app = typer.Typer()


@app.command(epilog="Example: stoirec oracle data.nc --json")
def oracle(
    data: Annotated[Path, typer.Argument(metavar="DATA.nc", help="A simulated file, with its /truth group.")],
    json_: Json = False,
) -> None:
    """Ceilings on a simulated data set: least squares on the true fluxes, the scale-blind oracle, trivial baselines."""
    from stoirec.data.dataset import read_data
    from stoirec.score.oracle import diagnosis, true_frames
    from stoirec.score.references import reference_metrics
    from stoirec.simulate.truth import read_truth

    content = read_data(data)
    graph, truth = content.graph, read_truth(data, content.graph)
    with from_file(data):
        flux, dcdt = true_frames(content, truth)
    references = reference_metrics(content.space, truth, flux, dcdt)
    found = diagnosis(graph, flux)
    if json_:
        print_json(found | references)
        return
    print(
        f"condition number per metabolite: median {found['condition_median']:.3g}, "
        f"90th percentile {found['condition_p90']:.3g}"
    )
    groups = found["indistinguishable_reactions"]
    print(f"reactions whose fluxes are the same up to a factor: {sum(map(len, groups))} in {len(groups)} groups")
    print_table(
        {f"{name}, {method}": metrics for name, methods in references.items() for method, metrics in methods.items()}
    )
