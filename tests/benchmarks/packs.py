"""What packs save: a grid of 64 fits as jobs that train 16 each, and as jobs of one, two side by side on two cores.

python tests/benchmarks/packs.py [BATCH_SIZE ...], by default 8 and 32, on network 301 of the default regime with
functions of 16/4, 2,000 steps a fit. A pack and one in four of its fits alone come in turns, each a `stoirec train`, so
that both meet the same load; a job alone counts four times. Beside it the step itself, in one process.
"""

import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACK, SAMPLED, STEPS = 16, 4, 2000
GRID = {
    "learning_rate_start": [2e-3, 5e-3, 1e-2, 2e-2],
    "learning_rate_S_start": [0, 2e-3, 5e-3, 1e-2],
    "coeff_mass_conservation": [0, 0.01, 0.03, 0.1],
}


def fits(batch_size: int, steps: int = STEPS) -> list[dict]:
    shared = {"role_prior": True, "graph_model": {"hidden_dim": 16, "output_size": 4}}
    shared |= {"batch_size": batch_size, "n_epochs": 1, "epoch_steps": steps}
    return [shared | dict(zip(GRID, values)) for values in itertools.product(*GRID.values())]


def job(data: Path, configs: list[dict]) -> tuple[float, float]:
    """Seconds of processor time and by the wall of one `stoirec train`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "stoirec", "train", data, "--device", "cpu", "--quiet"]
        for place, config in enumerate(configs):
            path = Path(folder, f"{place}.yaml")
            path.write_text(json.dumps(config))
            command += ["--config", path, "-o", path.with_suffix(".nc")]
        started = time.monotonic()
        process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
        _, status, used = os.wait4(process.pid, 0)
        assert status == 0
    return used.ru_utime + used.ru_stime, time.monotonic() - started


def turn(data: Path, pack: list[dict]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Seconds (processor, wall) of a pack's fits: together, and one by one."""
    together = job(data, pack)
    alone = [job(data, [config]) for config in pack[:: PACK // SAMPLED]]
    processor, wall = (PACK / SAMPLED * sum(seconds) for seconds in zip(*alone))
    return together, (processor, wall)


def step_ratios(data: Path, batch_size: int, pairs: int = 7) -> list[float]:
    """Processor time of a step alone over that of a fit's step in a pack."""
    import torch

    from stoirec.config.fit import FitConfig
    from stoirec.data.dataset import read_data
    from stoirec.learn.memory import keep_freed
    from stoirec.learn.pack import Pack
    from stoirec.learn.training import Training

    keep_freed()
    torch.set_num_threads(1)
    content, trainings = read_data(data), []
    for config in fits(batch_size, 100_000)[: PACK + 1]:
        trainings.append(Training(content, FitConfig(**config), torch.device("cpu"), trainings))
    alone, pack = trainings[-1].descent.pack, Pack([training.descent for training in trainings[:PACK]])

    def seconds(one: Pack, steps: int) -> float:
        started = time.process_time()
        for _ in range(steps):
            one.advance()
        return (time.process_time() - started) / steps / len(one.fits)

    seconds(alone, 50), seconds(pack, 10)  # to warm up
    return sorted(seconds(alone, 80) / seconds(pack, 20) for _ in range(pairs))


def main(batch_sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as cores:
        data = Path(folder, "data.nc")
        simulate = [sys.executable, "-m", "stoirec", "simulate", ROOT / "config/regimes/pde_m1.yaml", "-q"]
        subprocess.run([*simulate, "--seed", "301", "-o", data], check=True)
        for batch_size in batch_sizes:
            ratios = step_ratios(data, batch_size)
            print(
                f"batch {batch_size}, a step: {statistics.median(ratios):.2f} times",
                f"({ratios[0]:.2f} to {ratios[-1]:.2f})",
            )
            asked = fits(batch_size)
            packs = [asked[start : start + PACK] for start in range(0, len(asked), PACK)]
            found = list(cores.map(partial(turn, data), packs))
            for place, kind in enumerate(("processor time", "the wall, on both cores")):
                together, alone = (sum(pair[way][place] for pair in found) for way in (0, 1))
                ratio = f"{alone:.0f} s one by one, {together:.0f} s in packs: {alone / together:.2f} times"
                print(f"{len(asked)} fits, seconds of {kind}: {ratio}", flush=True)
            most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
            print(f"load {os.getloadavg()[0]:.1f}; a pack takes at most {most:.0f} MB", flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [8, 32])
