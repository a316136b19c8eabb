"""Checkpoints of a training job: written atomically, resumed only by the same job on the same data."""

import hashlib
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stoirec.config.fit import FitConfig
from stoirec.data.dataset import Data
from stoirec.files.atomic import replacing

_LAYOUT = 3  # of a checkpoint: one of another layout is started over
_log = logging.getLogger(__name__)


def fingerprint(data: Data, config: FitConfig) -> str:
    """Identity of a job: what it trains on and how, by what the keys mean and what a checkpoint holds today."""
    digest = hashlib.sha256(f"{_LAYOUT} {config.meaning} {config.trained.model_dump_json()}".encode())
    graph, space = data.graph, data.space
    measured = (data.noise, *(part for course in data.courses for part in (course.time, course.value, course.error)))
    observed = (data.time, data.concentration, data.dcdt, data.run_role, *(measured if data.courses else ()))
    edges = (graph.edge_metabolite, graph.edge_reaction, graph.edge_is_substrate)
    for array in (*observed, *edges, space.sign, space.bound, space.known, space.conserved, space.is_open):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def save(path: Path, job: str, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain Python values): all of it, or nothing. Raises OSError."""
    content = io.BytesIO()  # torch has errors of its own for a full disk
    torch.save({"job": job, "state": state}, content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load(path: Path, job: str) -> dict[str, Any] | None:
    """The state that the same job saved, on the CPU, or None: a damaged file, or another job's, is started over."""
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds on a damaged file
        _log.warning("%s: damaged checkpoint (%s); starting over", path, type(error).__name__)
        return None
    if content.get("job") != job:
        _log.warning("%s: checkpoint of another configuration or data set; starting over", path)
        return None
    return content["state"]
