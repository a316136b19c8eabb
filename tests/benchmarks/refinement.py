"""Time and memory of the refinement, with freed memory kept and given back.

python tests/benchmarks/refinement.py [PAIRS], by default 2. Both in turns on the default regime: a short training, a
round in which all columns are tied, and the fit with integers in the functions.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIT = """
import resource, sys, time
import torch
from stoirec.config.fit import FitConfig
from stoirec.data.dataset import read_data
from stoirec.learn.memory import keep_freed
from stoirec.learn.training import train
if sys.argv[2] == "kept":
    keep_freed()
torch.set_num_threads(1)
config = FitConfig(n_epochs=1, data_augmentation_loop=5, role_prior=True, refinement_rounds=1, refinement_steps=4)
data, started = read_data(sys.argv[1]), time.perf_counter()
train(data, config, torch.device("cpu"))
used = resource.getrusage(resource.RUSAGE_SELF)
print(time.perf_counter() - started, used.ru_utime, used.ru_stime, used.ru_maxrss / 1024)
"""


def run(data: Path, memory: str) -> float:
    """Seconds of a fit, with memory `kept` or `given back`."""
    shown = subprocess.run([sys.executable, "-c", FIT, data, memory], capture_output=True, text=True, check=True).stdout
    seconds, user, system, most = map(float, shown.split())
    print(
        f"{memory}: {seconds:.1f} s (processor: {user:.1f} s, and the kernel's {system:.1f} s), at most {most:.0f} MB",
        flush=True,
    )
    return seconds


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.nc"
        subprocess.run(
            [
                sys.executable,
                "-m",
                "stoirec",
                "simulate",
                ROOT / "config/regimes/pde_m1.yaml",
                "--seed",
                "1",
                "-o",
                data,
            ],
            check=True,
        )
        for _ in range(int(sys.argv[1]) if sys.argv[1:] else 2):
            print(f"ratio {run(data, 'given back') / run(data, 'kept'):.2f}")
