"""Time and memory by the size of a network, and the exponents they grow with.

python tests/benchmarks/scale.py [REACTIONS]..., by default 100 300 1000 2583: networks of the default regime with as
many metabolites a reaction, each in a process of its own, one thread. Processor time of

    simulate     a run of 600 frames
    Adam         a step of the recipe of `recover`, at batches of 8 and 32
    refine       a Levenberg-Marquardt step of 10, all coefficients free; and all columns tied
    evidence     of all columns, no reaction tied; and all tied

and the most memory that the process held until then.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
REACTIONS = (100, 300, 1000, 2583)
FRAMES, STEPS = 600, 50


def _measured(function: Callable[[], object], times: int = 1) -> dict[str, float]:
    started = time.process_time()
    for _ in range(times):
        function()
    seconds = (time.process_time() - started) / times
    return {"seconds": seconds, "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def parts(n_reactions: int, folder: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """What is measured at a size, in turn: each leads to the next."""
    import torch

    from stoirec.config.regime import load_regime
    from stoirec.data.dataset import read_data
    from stoirec.learn import recipe
    from stoirec.learn.memory import keep_freed
    from stoirec.learn.training import Training
    from stoirec.refine.descent import descend
    from stoirec.refine.evidence import weigh_beside
    from stoirec.simulate.trajectories import simulate
    from stoirec.simulate.truth import write_simulation

    keep_freed()
    torch.set_num_threads(1)
    regime = load_regime(ROOT / "config/regimes/pde_m1.yaml")
    sizes = {"n_metabolites": round(regime.n_metabolites / regime.n_reactions * n_reactions)}
    sizes |= {"n_reactions": n_reactions, "n_frames": FRAMES, "n_runs": 2}
    regime = regime.model_copy(update=sizes).with_master_seed(1)
    found: list = []
    simulated = _measured(lambda: found.append(simulate(regime)))
    yield "simulate", simulated | {"seconds": simulated["seconds"] / (regime.n_runs + 1)}
    write_simulation(folder / "data.nc", found.pop(), regime)
    data, config = read_data(folder / "data.nc"), recipe.load("best").model_copy(update={"n_runs": 2})
    for batch in (8, 32):
        training = Training(data, config.model_copy(update={"batch_size": batch}), torch.device("cpu"))
        _measured(training.descent.advance, STEPS)
        yield f"Adam, batch {batch}", _measured(training.descent.advance, STEPS)
    refinement = training.rounds.refinement()
    state, equations = training.rounds._trained(), refinement.equations
    tied = replace(state, tied=torch.ones_like(state.log_k, dtype=torch.bool))
    for name, own in (("tied", tied), ("free", state)):
        yield f"evidence, {name}", _measured(lambda own=own: weigh_beside(equations, own))
    for name, own in (("tied", tied), ("free", state)):
        yield f"refine, {name}", _measured(lambda own=own: descend(equations, own, 1))


def of(n_reactions: int) -> dict[str, dict[str, float]]:
    """The same in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow"), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--measure", str(n_reactions), folder]
        shown = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(json.loads(line) for line in shown.splitlines())


def main(sizes: list[int]) -> None:
    found = [of(size) for size in sizes]
    print(f"| | {' | '.join(f'{size:,} reactions' for size in sizes)} | exponent |")
    print("| --- |" + " --- |" * (len(sizes) + 1))
    for name in found[0]:
        seconds = [own[name]["seconds"] for own in found]
        exponent = np.polyfit(np.log(sizes), np.log(seconds), 1)[0] if len(sizes) > 1 else np.nan
        shown = " | ".join(f"{own[name]['seconds']:.3g} s, {own[name]['MB']:,.0f} MB" for own in found)
        print(f"| {name} | {shown} | {exponent:.2f} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        for each in parts(int(sys.argv[2]), Path(sys.argv[3])):
            print(json.dumps(each), flush=True)
    else:
        main([int(each) for each in sys.argv[1:]] or list(REACTIONS))
