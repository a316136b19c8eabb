"""A regime -> data.nc."""

from pathlib import Path
from typing import Annotated

import typer

from stoirec.cli.options import Output, Quiet
from stoirec.cli.progress import Bar
from stoirec.errors import BadInput
from stoirec.files import outputs
from stoirec.streams import MAX_SEED

app = typer.Typer()


@app.command(epilog="Example: stoirec simulate config/regimes/pde_m1.yaml --seed 101 -o data.nc")
def simulate(
    regime: Annotated[
        Path, typer.Argument(metavar="REGIME.yaml", help="The frozen simulation; the only source of its parameters.")
    ],
    output: Output,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Derives the regime's separate seeds (network, rate constants, MLPs, initial c).", min=0, max=MAX_SEED
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Simulate a regime: concentrations [concentration unit] and dc/dt [per time unit] over time, truth in /truth."""
    from stoirec.config.regime import load_regime
    from stoirec.simulate import trajectories as simulation
    from stoirec.simulate.truth import write_simulation

    outputs.check([regime], [outputs.Output(output, outputs.DATA)])
    settings = load_regime(regime)
    if seed is not None:
        settings = settings.with_master_seed(seed)
    with Bar(settings.n_runs + 1, "simulate", "run") as bar:
        try:
            result = simulation.simulate(settings, progress=lambda _: bar.update(1))
        except ValueError as error:
            key, _, reason = str(error).partition(": ")
            raise BadInput(regime, key, reason, "a regime that can be simulated") from None
    write_simulation(output, result, settings, seed)
