"""Checkpoints of a training job: written atomically, resumed only by the same job on the same data, unchanged."""

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

_LAYOUT = 4  # of a checkpoint: one of another layout is started over
_HEADER = b"stoirec checkpoint\n"  # then a checksum, then what it is of
_START = len(_HEADER) + hashlib.sha256().digest_size
_log = logging.getLogger(__name__)


def fingerprint(data: Data, config: FitConfig) -> str:
    """Identity of a job: what it trains on and how, by what the keys mean and what a checkpoint holds today."""
    graph, space = data.graph, data.space
    asked = (_LAYOUT, config.meaning, config.trained.model_dump_json(), space.allows_zero, space.per_side)
    digest = hashlib.sha256(repr(asked).encode())
    measured = (part for course in data.courses for part in (course.time, course.value, course.error))
    observed = (data.time, data.concentration, data.dcdt, data.run_role, data.noise, data.unmeasured, *measured)
    edges = (graph.edge_metabolite, graph.edge_reaction, graph.edge_is_substrate)
    columns = (space.sign, space.bound, space.known, space.conserved, space.is_open, space.reverse_of, space.real)
    for array in (*observed, *edges, *columns):
        digest.update(b"none" if array is None else repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def save(path: Path, job: str, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain Python values): all of it, or nothing. Raises OSError."""
    buffer = io.BytesIO()  # torch has errors of its own for a full disk
    torch.save({"job": job, "state": state}, buffer)
    payload = buffer.getvalue()
    with replacing(path) as temporary:
        temporary.write_bytes(_HEADER + hashlib.sha256(payload).digest() + payload)


def load(path: Path, job: str) -> dict[str, Any] | None:
    """The state that the same job saved, on the CPU, or None: where there is none, or it had to be set aside."""
    if not path.is_file():
        return None
    try:
        return _state(path.read_bytes(), job)
    except (OSError, ValueError) as error:
        set_aside(path, str(error))
        return None


def set_aside(path: Path, reason: str) -> None:
    """Rename a checkpoint that nobody can go on from; it may be all that is left of a long fit."""
    number = 1
    while (aside := path.with_name(f"{path.name}.aside{number}")).exists():
        number += 1
    path.rename(aside)
    _log.warning("%s: %s; set aside as %s, starting over", path, reason, aside.name)


def _state(content: bytes, job: str) -> dict[str, Any]:
    """Raises ValueError, which says why there is none."""
    if not content.startswith(_HEADER):
        raise ValueError("no checkpoint of this version")
    checksum, payload = content[len(_HEADER) : _START], content[_START:]
    if checksum != hashlib.sha256(payload).digest():
        raise ValueError("damaged checkpoint")
    try:
        saved = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        if saved["job"] == job:
            return saved["state"]
    except Exception as error:  # torch.load raises many kinds
        raise ValueError(f"no checkpoint ({type(error).__name__})") from None
    raise ValueError("checkpoint of another configuration or data set")
