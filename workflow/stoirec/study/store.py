"""Where files lie. Every other module, and every rule, asks here.

Names may be wildcards: `Store("results").data("{data}")` is the pattern of all data sets.
"""

from dataclasses import dataclass
from pathlib import Path


def checkpoint_of(fit: Path) -> Path:
    """The checkpoint of a training job, beside the fit.nc it will write."""
    return fit.with_suffix(".ckpt")


@dataclass(frozen=True)
class Store:
    """Data, fits and what their jobs said, shared by all studies.

    `fit_id` names an answer, `training_id` the training behind it: the same, unless the decoder is not the default one.
    Both are `<data>/<configuration>`.
    """

    root: str | Path

    @property
    def fits(self) -> Path:
        """Folder of all fits."""
        return Path(self.root, "fits")

    def data(self, name: str) -> Path:
        return Path(self.root, "data", f"{name}.nc")

    def config(self, training_id: str) -> Path:
        """What is trained."""
        return self.fits / training_id / "fit.yaml"

    def fit(self, training_id: str) -> Path:
        return self.fits / training_id / "fit.nc"

    def checkpoint(self, training_id: str) -> Path:
        return checkpoint_of(self.fit(training_id))

    def pack(self, name: str) -> Path:
        """A line for each fit of a pack: its training_id. Among the fits, because it has to last as long as they do."""
        return self.fits / f"{name}.txt"

    def recovery(self, fit_id: str) -> Path:
        return self.fits / fit_id / "recovery.nc"

    def log(self, rule: str, job: str) -> Path:
        return Path(self.root, "logs", rule, f"{job}.log")

    def benchmark(self, rule: str, job: str) -> Path:
        return Path(self.root, "benchmarks", rule, f"{job}.tsv")

    # --- what is there ------------------------------------------------------------------------------------------------

    def fit_ids(self) -> set[str]:
        """Names with a folder: what is being trained, is trained, or is rounded."""
        return {path.relative_to(self.fits).as_posix() for path in self.fits.glob("*/*") if path.is_dir()}

    def packed(self) -> dict[str, str]:
        """training_id -> the pack it was trained in, the last one."""
        found = {}
        for path in _by_age(self.fits.glob("*/*.txt")):
            name = path.relative_to(self.fits).as_posix().removesuffix(".txt")
            found |= dict.fromkeys(path.read_text(errors="replace").split("\n")[:-1], name)
        return found

    def trained(self) -> list[Path]:
        """Every fit.nc, the newest last."""
        return _by_age(self.fits.glob("*/*/fit.nc"))

    def logs(self, rule: str) -> dict[str, Path]:
        """The logs of a rule, by job."""
        return _named(Path(self.root, "logs", rule), ".log")

    def benchmarks(self) -> dict[str, dict[str, Path]]:
        """What was measured of the jobs of every rule, by job."""
        folders = sorted(path for path in Path(self.root, "benchmarks").glob("*") if path.is_dir())
        return {folder.name: _named(folder, ".tsv") for folder in folders}

    def metrics_tables(self) -> list[Path]:
        """metrics.csv of every study whose results_dir is this folder or lies in it, the newest last."""
        return _by_age([*Path(self.root).glob("metrics.csv"), *Path(self.root).glob("*/metrics.csv")])


@dataclass(frozen=True)
class StudyFolder:
    """What a study writes for itself, in its results_dir."""

    root: str | Path

    @property
    def metrics(self) -> Path:
        return Path(self.root, "metrics.csv")

    @property
    def baselines(self) -> Path:
        return Path(self.root, "baselines.csv")

    @property
    def costs(self) -> Path:
        return Path(self.root, "costs.csv")

    @property
    def report(self) -> Path:
        return Path(self.root, "report.html")

    def plan(self, wave: str) -> Path:
        """What a wave trains."""
        return Path(self.root, "waves", f"{wave}.json")

    def notebook(self, chapter: str) -> Path:
        """A chapter of the report, executed."""
        return Path(self.root, "notebooks", f"{chapter}.ipynb")


def _by_age(paths) -> list[Path]:
    return sorted(paths, key=lambda path: path.stat().st_mtime)


def _named(folder: Path, ending: str) -> dict[str, Path]:
    found = sorted(folder.rglob(f"*{ending}"))
    return {path.relative_to(folder).as_posix().removesuffix(ending): path for path in found}
