"""The rate laws a fit can have, by the names a configuration gives them."""

from stoirec.config.fit import GraphModel
from stoirec.kinetics.mechanistic import ConvenienceKinetics, MassAction
from stoirec.kinetics.pde_m1 import PdeM1
from stoirec.kinetics.rate_law import LearnableLaw
from stoirec.network.columns import ColumnSpace

LAWS: dict[str, type[LearnableLaw]] = {
    "pde_m1": PdeM1,
    "pde_m1_enzymes": PdeM1,
    "mass_action": MassAction,
    "convenience": ConvenienceKinetics,
}


def rate_law(space: ColumnSpace, shape: GraphModel) -> LearnableLaw:
    """The law `shape` names, on the graph of `space`."""
    return LAWS[shape.rate_law].of(space, shape)
