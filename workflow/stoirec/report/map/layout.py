"""Where the nodes of a metabolic map lie.

As on a biochemist's map, a metabolite of many reactions (ATP, water) is copied to each of them, and what is left are
the ways of the carbon. Nodes keep the distances of the graph: Kamada and Kawai, Inf. Process. Lett. 31, 1989.
"""

from collections import Counter
from dataclasses import dataclass

import networkx as nx
import numpy as np
from scipy.spatial import cKDTree

from stoirec.report.map.reactions import RecoveredReaction

_MANY = 6  # reactions, above which a metabolite is copied where another one leads through the reaction
_SPACING = 78.0  # between a metabolite and its reaction [px]
_COMPACT = 0.7  # power of a distance in steps: below 1 a long pathway bends instead of leaving the page
_MARGIN = 72.0  # around a part of the network [px]
_SIDE = (0.42, 0.30)  # of the spacing: how far along and how far aside copies are
_BETWEEN = np.array([46.0, 15.0])  # copies of one side, whose names are wider than high [px]
_NEAR, _CROWDED = 34.0, 0.1  # what lies nearer to its neighbour [px], if it is more than so many, makes a part larger


@dataclass(frozen=True)
class Copy:
    """A metabolite drawn beside one reaction. `place`: (2,) [px]."""

    metabolite: int
    coefficient: float
    place: np.ndarray


@dataclass(frozen=True)
class Layout:
    """Places of everything [px], from the upper left corner.

    Attributes:
        metabolites: index -> (2,) of those drawn once.
        reactions: (reactions, 2); directions: (reactions, 2) unit vectors from substrates to products.
        copies: of each reaction, metabolites drawn beside it.
        size: (2,) width and height of all.
    """

    metabolites: dict[int, np.ndarray]
    reactions: np.ndarray
    directions: np.ndarray
    copies: list[list[Copy]]
    size: np.ndarray


def layout(reactions: list[RecoveredReaction]) -> Layout:
    """Places for a drawing of `reactions`; the same for the same reactions."""
    mains = _main_metabolites(reactions)
    network = nx.Graph()
    for j, metabolites in enumerate(mains):
        network.add_node(("reaction", j))
        network.add_edges_from((("reaction", j), ("metabolite", metabolite)) for metabolite in sorted(metabolites))
    places, size = _placed(network)
    at = {index: place for (kind, index), place in places.items() if kind == "metabolite"}
    centres = np.array([places["reaction", j] for j in range(len(reactions))])
    directions = np.array([_direction(reaction, centre, at) for reaction, centre in zip(reactions, centres)])
    copies = [
        _copies(reaction, set(reaction.metabolites.tolist()) - main, centre, direction)
        for reaction, main, centre, direction in zip(reactions, mains, centres, directions)
    ]
    return Layout(at, centres, directions, copies, size)


def _main_metabolites(reactions: list[RecoveredReaction]) -> list[set[int]]:
    """Of each reaction, those that it shares a node of: the rarest of each side, and all that are in few reactions."""
    taken = [reaction.metabolites[(reaction.coefficient != 0) | reaction.catalyses].tolist() for reaction in reactions]
    degree = Counter(metabolite for metabolites in taken for metabolite in metabolites)
    mains = []
    for reaction in reactions:
        main: set[int] = set()
        for side in (-1, 1):
            own = reaction.metabolites[np.sign(reaction.coefficient) == side].tolist()
            rarest = min(own, key=lambda metabolite: (degree[metabolite], metabolite), default=None)
            main |= {metabolite for metabolite in own if metabolite == rarest or degree[metabolite] <= _MANY}
        mains.append(main)
    return mains


def _placed(network: nx.Graph) -> tuple[dict[tuple[str, int], np.ndarray], np.ndarray]:
    """Each part of the network by its distances, its longer side across; parts in rows, the largest first."""
    parts = sorted(nx.connected_components(network), key=lambda part: (-len(part), min(part)))
    drawn = []
    for part in parts:
        nodes = sorted(part)
        own = nx.Graph()  # of sorted nodes: the order of a set, which subgraph takes, changes from run to run
        own.add_nodes_from(nodes)
        own.add_edges_from(network.edges(nodes))
        apart = {
            one: {other: steps**_COMPACT for other, steps in others.items()}
            for one, others in nx.all_pairs_shortest_path_length(own)
        }
        found = nx.kamada_kawai_layout(own, apart, _scaled(nodes, apart)) if len(nodes) > 2 else nx.circular_layout(own)
        places = np.array([found[node] for node in nodes], float)
        places -= places.mean(axis=0)
        places = places @ np.linalg.svd(places, full_matrices=False)[2].T if len(nodes) > 2 else places
        lengths = [np.linalg.norm(places[nodes.index(one)] - places[nodes.index(other)]) for one, other in own.edges]
        places *= _SPACING / np.median(lengths) if lengths else 1.0
        places *= max(1.0, _NEAR / np.quantile(_nearest(places), _CROWDED)) if lengths else 1.0
        drawn.append((nodes, places - places.min(axis=0) + _MARGIN))
    width = max(places[:, 0].max() for _, places in drawn) + _MARGIN
    result, corner, height = {}, np.zeros(2), 0.0
    for nodes, places in drawn:
        room = places.max(axis=0) + _MARGIN
        if corner[0] + room[0] > width:
            corner, height = np.array([0.0, corner[1] + height]), 0.0
        result |= {node: corner + place for node, place in zip(nodes, places)}
        corner, height = corner + [room[0], 0.0], max(height, room[1])
    return result, np.array([width, corner[1] + height])


def _scaled(
    nodes: list[tuple[str, int]], apart: dict[tuple[str, int], dict[tuple[str, int], float]]
) -> dict[tuple[str, int], np.ndarray]:
    """Where to start from: classical scaling of the distances, Torgerson, Psychometrika 17, 1952."""
    distance = np.array([[apart[one][other] for other in nodes] for one in nodes])
    centre = np.eye(len(nodes)) - 1 / len(nodes)
    size, direction = np.linalg.eigh(-0.5 * centre @ distance**2 @ centre)
    return dict(zip(nodes, direction[:, -2:] * np.sqrt(np.maximum(size[-2:], 0.0))))


def _nearest(places: np.ndarray) -> np.ndarray:
    """(n,) distance of each from its neighbour."""
    return cKDTree(places).query(places, k=2)[0][:, 1]


def _direction(reaction: RecoveredReaction, centre: np.ndarray, at: dict[int, np.ndarray]) -> np.ndarray:
    """From the substrates' middle to the products', seen from the reaction; (2,) of length 1."""
    towards = np.zeros(2)
    for metabolite, value in zip(reaction.metabolites.tolist(), reaction.coefficient):
        if metabolite in at and value:
            away = at[metabolite] - centre
            towards += np.sign(value) * away / max(float(np.linalg.norm(away)), 1e-9)
    length = float(np.linalg.norm(towards))
    return towards / length if length > 1e-6 else np.array([1.0, 0.0])


def _copies(
    reaction: RecoveredReaction, metabolites: set[int], centre: np.ndarray, direction: np.ndarray
) -> list[Copy]:
    """Copies beside a reaction: what it takes before it, what it makes behind it, what only drives it across."""
    along, aside = (_SPACING * share for share in _SIDE)
    normal = np.array([-direction[1], direction[0]])
    between = float(np.linalg.norm(normal * _BETWEEN))
    number: Counter[int] = Counter()
    found = []
    for metabolite, value, catalyses in zip(reaction.metabolites.tolist(), reaction.coefficient, reaction.catalyses):
        side = int(np.sign(value))
        if metabolite not in metabolites or not (side or catalyses):
            continue
        step = aside + between * number[side]
        place = centre + (side * along * direction + step * normal if side else -step * normal)
        found.append(Copy(metabolite, float(value), place))
        number[side] += 1
    return found
