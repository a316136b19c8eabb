"""The command line: a module for each command, named after it, beside what they share.

That is the `edge`, where mistakes end in one line and exit code 2; `options` that several commands have; `training` of
fits, for train and recover; `progress` on stderr and `printing` of answers.
"""

import typer

from stoirec.cli import (
    check,
    choose,
    collect,
    export,
    fits,
    import_,
    oracle,
    plan,
    recover,
    report,
    round,
    schema,
    score,
    simulate,
    train,
)
from stoirec.cli.edge import run

# as --help lists them
_OF_A_NETWORK = (simulate, import_, export, train, round, score, recover, check, oracle)
_OF_A_STUDY = (plan, schema, choose, fits, collect, report)

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Recover the stoichiometric matrix of a metabolic network, exactly, from its concentration dynamics.",
)
for command in (*_OF_A_NETWORK, *_OF_A_STUDY):
    app.add_typer(command.app)

_ROAD = """\
Your own network          stoirec import model.xml --table runs.csv -o data.nc    a model and what was measured
                          stoirec check data.nc                                   what these data can tell
                          stoirec recover data.nc -o recovery.nc                  the matrix, and a page on it
                          stoirec export recovery.nc -o recovered.xml             SBML, or S.csv, or equations.txt

To learn about learning   stoirec simulate REGIME.yaml -o data.nc                 a network whose matrix is known
                          stoirec train data.nc --config fit.yaml -o fit.nc       one fit, by a recipe of your own
                          stoirec round fit.nc -o recovery.nc                     its coefficients as integers
                          stoirec score recovery.nc --truth data.nc               how many are right

All commands: stoirec --help. One of them: stoirec recover --help."""


@app.callback(invoke_without_command=True)
def road(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(_ROAD)


def main() -> None:
    """Entry point."""
    run(app)
