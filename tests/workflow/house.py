"""A working directory with a tiny study of its own, in which the real workflow runs."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = ("HOME", "TMPDIR", "LANG", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class House:
    """A working directory with a regime, a study and a config.yaml of its own."""

    path: Path

    @classmethod
    def furnish(cls, path: Path, study: str = "study.yaml") -> "House":
        shutil.copy(ROOT / "tests/workflow/regime.yaml", path / "regime.yaml")
        shutil.copy(ROOT / "tests/workflow" / study, path / "study.yaml")
        (path / "config.yaml").write_text("study: study.yaml\n")
        return cls(path)

    @property
    def results(self) -> Path:
        return self.path / "results"

    @property
    def environment(self) -> dict[str, str]:
        """Without the developer's own: the workflow must find its Python by itself."""
        own = {name: os.environ[name] for name in ("HOME", "TMPDIR", "LANG") if name in os.environ}
        return own | {"PATH": os.defpath}

    def command(self, *arguments: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            f"{ROOT}/Snakefile",
            "--cores",
            "2",
            *arguments,
            "--configfile",
            "config.yaml",
        ]

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*arguments), cwd=self.path, capture_output=True, text=True, env=self.environment
        )

    def planned(self, *arguments: str) -> list[str]:
        """What a dry run would do, one message per job."""
        shown = self.snakemake("-n", *arguments)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        return re.findall(r"^Job \d+: (.*)$", shown.stdout, re.MULTILINE)

    def start(self, *arguments: str) -> subprocess.Popen:
        """The workflow in a session of its own, to be killed as a whole."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def edit(self, name: str, old: str, new: str) -> None:
        file = self.path / name
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
