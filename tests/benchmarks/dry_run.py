"""Time and memory of planning a large study.

python tests/benchmarks/dry_run.py [FITS ...], by default 1000 and 5000.
"""

import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
NETWORKS = [101, 102, 103, 104, 105]


def dry_run(n_fits: int, folder: Path) -> None:
    """Plan a study of `n_fits` fits of which none exists yet."""
    study = folder / "study.yaml"
    study.write_text(
        f"{{name: large, regime: {ROOT}/config/regimes/pde_m1.yaml, network_seeds: {NETWORKS},"
        f" stages: [{{name: seeds, grid: {{seed: {list(range(n_fits // len(NETWORKS)))}}}}}]}}"
    )
    config = folder / "config.yaml"
    config.write_text(f"study: {study}")
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-n",
        "--snakefile",
        ROOT / "Snakefile",
        "--directory",
        folder,
        "--configfile",
        config,
    ]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = subprocess.run(command, capture_output=True, text=True)
    seconds, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    planned = re.search(r"^train +(\d+)$", shown.stdout, re.MULTILINE)
    if shown.returncode or not planned:
        sys.exit(shown.stdout[-2000:] + shown.stderr)
    print(
        f"{planned[1]} fits: {seconds:.1f} s (processor: {used.ru_utime - before.ru_utime:.1f} s), "
        f"at most {used.ru_maxrss / 1024:.0f} MB"
    )


if __name__ == "__main__":
    for count in map(int, sys.argv[1:] or ["1000", "5000"]):
        with tempfile.TemporaryDirectory() as name:
            dry_run(count, Path(name))
