"""The flux limiter of an explicit Euler step: no substrate is used up within one step."""

import numpy as np
import torch
from torch import Tensor, nn

from stoirec.kinetics.segments import segment_sum
from stoirec.network.graph import Graph


class FluxLimiter(nn.Module):
    """The share of its flux that each reaction keeps:

        share_j = min(1, min over substrates i of j: c_i / (dt sum_l |S-_il| v_l))

    Only products |S-_il| v_l matter: coefficients times rate constants may stand for the coefficients.

    Args:
        graph: candidate edges; only substrate edges consume.
        dt: the step [time unit].
    """

    metabolite: Tensor
    reaction: Tensor
    by_metabolite: Tensor
    metabolite_ptr: Tensor
    slot: Tensor

    def __init__(self, graph: Graph, dt: float) -> None:
        super().__init__()
        self.dt = dt
        substrates = graph.substrate_edges
        order = np.argsort(graph.edge_metabolite[substrates], kind="stable")
        slots = graph.substrate_slots.copy()
        slots[slots >= 0] = np.arange(len(substrates))
        buffers = {
            "metabolite": graph.edge_metabolite[substrates],
            "reaction": graph.edge_reaction[substrates],
            "by_metabolite": order,
            "metabolite_ptr": np.searchsorted(
                graph.edge_metabolite[substrates][order], np.arange(graph.n_metabolites + 1)
            ),
            "slot": np.where(
                slots >= 0, slots, len(substrates)
            ),  # of the substrate edges; one past the last for padding
        }
        for name, values in buffers.items():
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.int64), persistent=False)

    def demand(self, flux: Tensor, consumed: Tensor) -> Tensor:
        """(M, frames) consumption [concentration/time] at fluxes (R, frames) and |S-| (E_sub,) of substrate edges."""
        return segment_sum((consumed[:, None] * flux[self.reaction])[self.by_metabolite], self.metabolite_ptr)

    def forward(self, flux: Tensor, consumed: Tensor, concentration: Tensor) -> tuple[Tensor, Tensor]:
        """Shares (R, frames) for concentrations (frames, M), and the metabolite that limits: M where none does."""
        if not len(consumed):
            return torch.ones_like(flux), torch.full_like(flux, concentration.shape[1], dtype=torch.int64)
        demand = self.dt * self.demand(flux, consumed)
        share = (concentration.T / demand.clamp(min=torch.finfo(flux.dtype).tiny))[self.metabolite]
        by_edge = torch.where(consumed[:, None] > 0, share, 1.0)  # a decoy limits nothing
        least, slot = torch.cat([by_edge, by_edge.new_ones(1, by_edge.shape[1])])[self.slot].min(dim=1)
        edge = self.slot.gather(1, slot).clamp(max=len(consumed) - 1)
        return least.clamp(max=1), torch.where(least < 1, self.metabolite[edge], len(demand))
