"""Checkpoints of a training job: written atomically, resumed only by the same job on the same data."""

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import torch

from stoirec.config.fit import MEANING, FitConfig
from stoirec.data.dataset import Data

_log = logging.getLogger(__name__)


def fingerprint(data: Data, config: FitConfig) -> str:
    """Identity of a job: what it trains on and how, by what the keys mean today."""
    digest = hashlib.sha256(f"{MEANING} {config.model_dump_json()}".encode())
    for array in (
        data.concentration,
        data.dcdt,
        data.run_role,
        data.graph.edge_metabolite,
        data.graph.edge_reaction,
        data.graph.edge_is_substrate,
    ):
        digest.update(array.tobytes())
    return digest.hexdigest()


def save(path: Path, job: str, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain Python values) to a temporary name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        torch.save({"job": job, "state": state}, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path, job: str, device: torch.device) -> dict[str, Any] | None:
    """The state saved by the same job, or None: no file, a damaged file or another job's are started over."""
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch.load raises many kinds on a damaged file
        _log.warning("%s: damaged checkpoint (%s); starting over", path, type(error).__name__)
        return None
    if content.get("job") != job:
        _log.warning("%s: checkpoint of another configuration or data set; starting over", path)
        return None
    return content["state"]
