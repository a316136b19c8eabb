"""The one door to Optuna: proposals in batches of fixed size, the same again for the same results."""

from typing import Any

from stoirec.config.study import Choice

_DIGITS = 3  # of a proposed real number: names stay readable, and no learning rate needs more


def propose(
    space: dict[str, Choice], told: list[list[float]], batch_sizes: list[int], sampler_seed: int
) -> list[dict[str, Any]]:
    """The proposals of the batch after those whose results are known.

    Earlier batches are asked for again and told their results in the order of their proposals, so that the sampler is
    where it was, whatever was killed or came first.

    Args:
        space: parameter -> what may be proposed.
        told: per finished batch, the cost of each proposal (lower is better, inf if it diverged).
        batch_sizes: of the finished batches and of the one to propose.

    Returns:
        Per proposal, parameter -> value.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # within a batch, proposals keep away from each other (constant_liar)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=sampler_seed, constant_liar=True))
    distributions = {key: _distribution(choice) for key, choice in space.items()}
    for costs, size in zip(told, batch_sizes):
        for trial, cost in zip([study.ask(distributions) for _ in range(size)], costs, strict=True):
            study.tell(trial, cost)
    trials = [study.ask(distributions) for _ in range(batch_sizes[len(told)])]
    return [{key: _rounded(trial.params[key], space[key]) for key in space} for trial in trials]


def _distribution(choice: Choice) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if choice.categorical is not None:
        return CategoricalDistribution(choice.categorical)
    if choice.int_ is not None:
        return IntDistribution(*choice.int_, log=choice.log)
    return FloatDistribution(*choice.float_, log=choice.log)


def _rounded(value: Any, choice: Choice) -> Any:
    return value if choice.float_ is None else float(f"{value:.{_DIGITS}g}")
