"""How much sooner than another commit: both in turns, each time in a process of its own, one thread.

python tests/benchmarks/against.py REVISION [PAIRS], by default 5 pairs, on network 301 of the default regime. A line
for each measurement: medians of processor time, the median ratio of a pair, and how far ratios lie apart. Beside them
the bare products and logistic functions of a step of gradient descent, below which no step gets.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
STEPS = 100  # timed, after as many to warm up
BATCHES = (8, 32)


def _seconds(function: Callable[[], object], times: int = 1) -> float:
    started = time.process_time()
    for _ in range(times):
        function()
    return (time.process_time() - started) / times


def measured(path: str) -> dict[str, float]:
    """Seconds of the package that is imported: of a step by batch size, of a step's bare arithmetic, of `recover`."""
    import torch

    from stoirec.data.dataset import read_data
    from stoirec.learn import recipe
    from stoirec.learn.training import Training, train

    torch.set_num_threads(1)
    data, config, cpu, found = read_data(path), recipe.load("best"), torch.device("cpu"), {}
    for batch_size in BATCHES:
        descent = Training(data, config.model_copy(update={"batch_size": batch_size}), cpu).descent
        _seconds(descent.advance, STEPS)
        found[f"step, batch {batch_size}"] = _seconds(descent.advance, STEPS)
        shape, n_substrates = config.graph_model, len(data.graph.substrate_edges)
        maps = [
            (2, shape.hidden_dim, shape.output_size, n_substrates * batch_size),
            (shape.output_size, shape.hidden_dim, 1, data.graph.n_reactions * batch_size),
        ]
        found[f"bare arithmetic, batch {batch_size}"] = sum(_bare(*sizes) for sizes in maps)
    found["recover"] = _seconds(lambda: train(data, config, cpu))
    return found


def _bare(n_in: int, n_hidden: int, n_out: int, n: int) -> float:
    """Seconds of the products, forward and backward, and logistic functions of a network with one hidden layer."""
    import torch

    first, second, inputs = torch.randn(n_hidden, n_in), torch.randn(n_out, n_hidden), torch.randn(n_in, n)
    on_output = torch.randn(n_out, n)

    def once() -> None:
        hidden = torch.sigmoid(first @ inputs)
        _ = second @ hidden
        on_hidden = second.T @ on_output
        _ = on_output @ hidden.T, on_hidden @ inputs.T, first.T @ on_hidden

    _seconds(once, STEPS)
    return _seconds(once, STEPS)


def of(source: Path, path: Path) -> dict[str, float]:
    """The same of the package in `source`, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(source / "workflow"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure", path]
    return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def main(revision: str, pairs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        other, path = Path(folder) / "other", Path(folder) / "data.nc"
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--detach", other, revision], check=True)
        try:
            simulate = [sys.executable, "-m", "stoirec", "simulate", ROOT / "config/regimes/pde_m1.yaml"]
            subprocess.run([*simulate, "--seed", "301", "-o", path], check=True)
            found = [(of(other, path), of(ROOT, path)) for _ in range(pairs)]
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", other], check=True)
    for key in found[0][1]:
        before, after = ([pair[side][key] for pair in found] for side in (0, 1))
        ratios = sorted(a / b for a, b in zip(before, after))
        print(
            f"{key}: {statistics.median(before):.4g} s, after {statistics.median(after):.4g} s; "
            f"{statistics.median(ratios):.2f} times ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    if sys.argv[1] == "--measure":
        print(json.dumps(measured(sys.argv[2])))
    else:
        main(sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else 5)
