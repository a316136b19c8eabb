"""The CUDA path: agreement with the CPU, steps per second, refinement, and fits side by side against one by one.

python tests/benchmarks/on_cuda.py [SEED ...]: networks of the default regime, by default 301 to 304.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from stoirec.answer.recovery import recover
from stoirec.config.regime import load_regime
from stoirec.data.dataset import Data, read_data
from stoirec.learn import recipe
from stoirec.learn.training import Training
from stoirec.score.scoring import score
from stoirec.simulate.trajectories import simulate
from stoirec.simulate.truth import read_truth, write_simulation

ROOT = Path(__file__).parents[2]
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
STEPS = 100  # timed, after as many to warm up


def simulated(folder: str, seed: int) -> str:
    torch.set_num_threads(1)
    settings = load_regime(ROOT / "config/regimes/pde_m1.yaml").with_master_seed(seed)
    path = f"{folder}/{seed}.nc"
    write_simulation(path, simulate(settings), settings, seed)
    return path


def agreement(data: Data, steps: int) -> float:
    """Largest difference of sto_all in double precision after some steps, over their largest change."""
    config = recipe.load("best").model_copy(update={"precision": "float64"})
    found = []
    for device in (CPU, CUDA):
        descent = Training(data, config, device).descent
        before = descent.model.sto_all.detach().cpu().clone()
        for _ in range(steps):
            descent.advance()
        found.append(descent.model.sto_all.detach().cpu() - before)
    return float((found[0] - found[1]).abs().max() / found[0].abs().max())


def steps_per_second(data: Data, device: torch.device, batch_size: int) -> float:
    config = recipe.load("best").model_copy(update={"batch_size": batch_size})
    descent = Training(data, config, device).descent
    for _ in range(STEPS):
        descent.advance()
    seconds = []
    for _ in range(3):
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(STEPS):
            descent.advance()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return STEPS / sorted(seconds)[1]


def recovered(path: str, device: str) -> dict[str, object]:
    """A fit by the bundled recipe: its seconds, and what it found."""
    torch.set_num_threads(1)
    data, config, started = read_data(path), recipe.load("best"), time.perf_counter()
    training = Training(data, config, torch.device(device))
    training.snapshot()
    for _ in range(training.descent.schedule.n_steps):
        training.history.add(training.descent.advance())
    training.snapshot()
    trained = time.perf_counter()
    while training.rounds.left():
        training.rounds.advance()
        training.snapshot()
    fit, ended = training.content(), time.perf_counter()
    found = score(recover(fit, path), read_truth(path, data.graph), data.graph)
    return {
        "seed": Path(path).stem,
        "descent_s": round(trained - started, 1),
        "refinement_s": round(ended - trained, 1),
        "rounds": training.rounds.done,
        "entry_exact": found["entry_exact"],
        "val_loss": found["val_loss"],
    }


def side_by_side(paths: list[str], device: str) -> float:
    """Seconds until all fits, each a process, have ended on one device."""
    started = time.perf_counter()
    jobs = [
        subprocess.Popen([sys.executable, __file__, "--recover", path, device], stdout=subprocess.PIPE, text=True)
        for path in paths
    ]
    for job in jobs:
        print(job.communicate()[0].strip(), flush=True)
    return time.perf_counter() - started


def main(seeds: list[int]) -> None:
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name(0)}, {os.cpu_count()} CPU cores", flush=True)
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor() as pool:
        paths = list(pool.map(simulated, [folder] * len(seeds), seeds))
        data = read_data(paths[0])
        for steps in (1, 20):  # the first are launched, the others repeat a recorded one
            print(f"after {steps} steps S on CUDA and CPU differ by {agreement(data, steps):.1e} of its largest change")
        torch.set_num_threads(1)
        for batch_size in (8, 32, 512):
            cuda, cpu = (steps_per_second(data, device, batch_size) for device in (CUDA, CPU))
            print(f"batch {batch_size}: {cuda:.0f} steps/s, on one CPU core {cpu:.0f}", flush=True)
        alone = side_by_side(paths[:1], "cuda:0")
        together = side_by_side(paths, "cuda:0")
        gain = len(paths) * alone / together
        print(
            f"one fit {alone:.0f} s; {len(paths)} side by side {together:.0f} s: {gain:.1f} times as many", flush=True
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--recover"]:
        print(json.dumps(recovered(*sys.argv[2:])))
    else:
        main([int(seed) for seed in sys.argv[1:]] or [301, 302, 303, 304])
