"""What a fit keeps of its way: coefficients, losses and val_loss at snapshots; whether it diverged."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stoirec.files.schema import LARGEST
from stoirec.learn import losses

_log = logging.getLogger(__name__)
VAL_LOSS = "val_loss"


class History:
    """Snapshots of a fit.

    Attributes:
        records: by snapshot: step, coefficient (E,) in single precision, each loss component, val_loss.
        diverged: whether one of them was not finite, or larger than any number in a file.
        least_val_loss: of all snapshots.
        sums, n_summed: losses since the last snapshot, and of how many steps.
    """

    def __init__(self, device: torch.device) -> None:
        self.records: list[dict[str, Any]] = []
        self.diverged = False
        self.least_val_loss = math.inf
        self.sums = torch.zeros(len(losses.COMPONENTS), dtype=torch.float64, device=device)
        self.n_summed = 0

    def add(self, components: Tensor) -> None:
        """Losses (components,) of a step; a snapshot records their mean."""
        self.sums += components
        self.n_summed += 1

    def snapshot(self, step: int, sto_all: Tensor, components: Tensor | None, val_loss: float) -> dict[str, float]:
        """Record the mean loss components since the last snapshot, or `components` where there were no steps."""
        means = (self.sums / self.n_summed if self.n_summed else components).tolist()
        record = dict(zip(losses.COMPONENTS, means)) | {VAL_LOSS: val_loss}
        record = {name: math.inf if value > LARGEST else value for name, value in record.items()}
        coefficient = sto_all.detach().to("cpu", torch.float32, copy=True)
        self.least_val_loss = min(self.least_val_loss, val_loss)
        self.records.append({"step": step, "coefficient": coefficient, **record})
        self.sums.zero_()
        self.n_summed = 0
        if not (all(map(math.isfinite, record.values())) and torch.isfinite(coefficient).all()):
            self.diverged = True
            _log.warning("diverged before step %d", step)
        return record

    @staticmethod
    def in_rows(histories: "Sequence[History]") -> Tensor:
        """(fits, components) the sums of several, which from now on lie in it."""
        rows = torch.stack([each.sums for each in histories])
        for each, row in zip(histories, rows):
            each.sums = row
        return rows

    def is_fresh(self) -> bool:
        """Whether there were no steps since the last snapshot."""
        return self.n_summed == 0

    def state(self) -> dict[str, Any]:
        return {
            "records": self.records,
            "diverged": self.diverged,
            "sums": self.sums.clone(),
            "n_summed": self.n_summed,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises many kinds of errors if `state` is of another form."""
        self.records, self.diverged, self.n_summed = state["records"], bool(state["diverged"]), int(state["n_summed"])
        self.least_val_loss = min((record[VAL_LOSS] for record in self.records), default=math.inf)
        self.sums.copy_(state["sums"].view_as(self.sums))
        if any(record.keys() != {"step", "coefficient", *losses.COMPONENTS, VAL_LOSS} for record in self.records):
            raise ValueError("records of other losses")
