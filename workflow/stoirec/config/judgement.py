"""What refinement takes for clear, exact, unlikely: the constants behind its choices and its confidence."""

from pydantic import Field

from stoirec.config.reading import Strict


class Judgement(Strict):
    """Constants of refinement.

    The defaults were found on development networks (seeds 1 to 20; docs/experiments); tests/benchmarks/judgement.py
    tells what each is worth. What only bounds rounding errors or time stays beside its use.
    """

    alike: float = Field(32.0, gt=0, description="residuals that say as much as one: neighbouring frames share errors")
    alike_at_first: float = Field(
        64.0, gt=0, description="the same while decoys are closed: coarse functions have errors that are more alike"
    )
    clear: float = Field(
        0.99, gt=0.5, lt=1, description="probability from which a reaction is tied to its likeliest column"
    )
    most: float = Field(
        0.97, gt=0, le=1, description="share of clear reactions from which all are tied: most guesses are right by then"
    )
    unlikely: float = Field(0.01, gt=0, lt=1, description="a candidate edge of less probability is closed")
    likely: float = Field(0.9, gt=0, lt=1, description="an edge of more probability should not be faint")
    faint: float = Field(0.5, gt=0, description="|S| of 1s, below which an edge is faint")
    run_away: float = Field(6.0, gt=1, description="|S| of 1s, above which the descent has released a reaction")
    unchanged: float = Field(0.25, gt=0, lt=1, description="largest change of an |S| in a column that stays the same")
    times_noise: float = Field(
        2.0, ge=1, description="times what noise leaves of the mean squared residual: less is noise"
    )
    exact: float = Field(
        1e-6, gt=0, description="mean squared residual from which more is left than exact columns and functions leave"
    )
    described: float = Field(
        1e-2, gt=0, description="mean squared residual above which the functions say nothing of columns"
    )
    none_right: float = Field(
        1e-3, gt=0, lt=1, description="probability, before any data, that a reaction has none of its columns"
    )
    function_error: float = Field(
        0.05, gt=0, description="relative error of a coefficient from functions that are not quite right"
    )
    same_rate: float = Field(
        0.003, gt=0, lt=1, description="relative difference of rates below which functions do not tell them apart"
    )
    suspected: float = Field(
        0.05, gt=0, lt=1, description="probability of no column, at fixed functions, that asks for a second look"
    )
    taken_for_none: float = Field(
        0.5, gt=0, lt=1, description="probability of no column from which a reaction is left real"
    )
    lost: float = Field(
        0.5, gt=0, lt=1, description="a reaction with no likelier column may have lost its own to another"
    )
    apart: float = Field(
        1.25, ge=1, description="times what stands for |S| = 1 in the functions, at least what stands for 2"
    )
    elsewhere: float = Field(
        1e-3, gt=0, lt=1, description="probability that functions do not hold for a reaction, but its present rate does"
    )
    near: float = Field(
        0.05, gt=0, description="half width of the log of its |S| about its column's then (Cauchy distribution)"
    )
    doubled_odds: float = Field(
        1.5, ge=1, description="odds of a doubled column over its half below which the half is the answer"
    )
    own_runs: float = Field(
        1.5, ge=1, description="with fewer runs that say something of their own functions are uncertain"
    )


DEFAULT = Judgement()
