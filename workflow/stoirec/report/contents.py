"""The chapters of the report: a notebook each, numbered in their order. Adding one changes no list."""

from pathlib import Path

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"  # of this checkout


def chapter_names(folder: Path = NOTEBOOKS) -> list[str]:
    """Stems of the notebooks in `folder`: 1_data, 2_training, ..."""
    return sorted(path.stem for path in folder.glob("[0-9]_*.ipynb"))
