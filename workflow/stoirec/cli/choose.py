"""A wave of a staged study -> its plan."""

from pathlib import Path
from typing import Annotated

import typer

from stoirec.cli.options import RESULTS, StoreFolder, to_write
from stoirec.files import outputs
from stoirec.study.store import Store

app = typer.Typer()


@app.command(
    epilog="Example: stoirec choose config/studies/staged.yaml --wave regularisation --store results "
    "-o results/staged/waves/regularisation.json"
)
def choose(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="A study with select_by.")],
    wave: Annotated[str, typer.Option(help="A stage but the first, STAGE-BATCH of a search, or evaluation.")],
    output: Annotated[Path, to_write("PLAN.json", "Plan")],
    store: StoreFolder = RESULTS,
) -> None:
    """Plan a wave of a staged study: choose the winner of the waves before it, and the fits around it."""
    from stoirec.study import waves
    from stoirec.study.expansion import expand
    from stoirec.study.expansion import waves as planned_waves
    from stoirec.study.plans import plan_path, write_plan
    from stoirec.study.tables import metrics_table

    content, _ = expand(study)
    which = waves.wave_of(content, wave, study)
    others = [plan_path(content, each.name) for each in planned_waves(content) if each != which]
    outputs.check([study, *others], [outputs.Output(output, outputs.PLAN)])
    before = waves.fits_before(content, which, study)
    answers = None
    if before:
        answers = metrics_table(content.name, before, Store(store)).query("is_answer").set_index("fit_id")
    write_plan(output, waves.decide(content, which, answers, study))
