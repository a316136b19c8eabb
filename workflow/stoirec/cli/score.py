"""recovery.nc beside the truth."""

from pathlib import Path
from typing import Annotated

import typer

from stoirec.cli.options import Json
from stoirec.cli.printing import print_json, print_table

app = typer.Typer()


@app.command(epilog="Example: stoirec score recovery.nc --truth data.nc --json")
def score(
    recovery: Annotated[Path, typer.Argument(metavar="RECOVERY.nc")],
    truth: Annotated[Path, typer.Option(metavar="DATA.nc", help="The simulated data, with its /truth group.")],
    json_: Json = False,
) -> None:
    """Compare a recovered matrix with the truth: shares of exact entries, reactions, signs (0-1), R2 = 1 - SSE/SST."""
    from stoirec.data.dataset import read_space
    from stoirec.data.graph_variables import check_same_graph
    from stoirec.score import scoring as scores
    from stoirec.simulate.truth import read_truth

    graph = read_space(truth).graph
    found = scores.read_recovery(recovery)
    check_same_graph(found, graph, recovery)
    result = scores.score(found, read_truth(truth, graph), graph)
    if json_:
        print_json(result)
        return
    print(f"status {result['status']}, answer by {result['method']}, val_loss {result['val_loss']:.3g}")
    print_table(result["methods"])
