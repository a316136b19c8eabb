from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoirec.config.equations import parse_equation
from stoirec.config.regime import Regime, load_regime
from stoirec.data.dataset import read_data
from stoirec.errors import BadInput
from stoirec.simulate.kinetics import random_kinetics
from stoirec.simulate.network import (
    balanced_columns,
    candidate_graph,
    candidate_space,
    own_network,
    random_stoichiometry,
)
from stoirec.simulate.trajectories import simulate
from stoirec.simulate.truth import write_simulation


@given(st.integers(0, 2**40))
@settings(max_examples=10, deadline=None)
def test_invariants_of_the_default_regime(seed):
    matrix = random_stoichiometry(load_regime("config/regimes/pde_m1.yaml").with_master_seed(seed))
    assert matrix.shape == (100, 256)
    assert (matrix.sum(axis=0) == 0).all()
    assert set(np.unique(matrix)) == {-2, -1, 0, 1, 2}
    n_substrates, n_products = (matrix < 0).sum(axis=0), (matrix > 0).sum(axis=0)
    assert n_substrates.min() == n_products.min() == 1
    assert n_substrates.max() == n_products.max() == 3
    assert 570 <= n_substrates.sum() <= 630 and 475 <= n_products.sum() <= 525
    assert (matrix != 0).any(axis=1).all()
    assert len({tuple(np.sign(column)) for column in matrix.T}) == 256  # no two (substrate set, product set) alike


def test_same_seed_same_network(tiny_regime):
    assert np.array_equal(random_stoichiometry(tiny_regime), random_stoichiometry(tiny_regime))
    assert not np.array_equal(random_stoichiometry(tiny_regime), random_stoichiometry(tiny_regime.with_master_seed(9)))


def test_balanced_columns_by_hand():
    assert balanced_columns(1, 2, 2).tolist() == [[-2, 1, 1]]
    assert set(map(tuple, balanced_columns(2, 2, 2).tolist())) == {
        (-1, -1, 1, 1), (-1, -2, 1, 2), (-1, -2, 2, 1), (-2, -1, 1, 2), (-2, -1, 2, 1), (-2, -2, 2, 2),
    }  # fmt: skip
    assert len(balanced_columns(3, 1, 2)) == 0


def test_impossible_networks_are_refused(tiny_regime):
    with pytest.raises(ValueError, match="3-1 has no zero-sum column"):
        random_stoichiometry(tiny_regime.model_copy(update={"reaction_shapes": {"3-1": 1.0}}))
    with pytest.raises(ValueError, match="no network"):
        random_stoichiometry(
            tiny_regime.model_copy(update={"n_metabolites": 2, "n_reactions": 9, "reaction_shapes": {"1-1": 1.0}})
        )


@given(st.floats(0, 2), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_decoys_have_the_role_mix_of_the_true_edges(ratio, seed):
    matrix = np.zeros((20, 10), int)
    matrix[:3, :5], matrix[3, :5], matrix[5, 5:], matrix[9, 5:] = -1, 2, -1, 1
    graph, is_true = candidate_graph(matrix, ratio, seed)
    n_true = (matrix != 0).sum()
    assert is_true.sum() == n_true and len(is_true) == n_true + round(ratio * n_true)
    assert np.array_equal(graph.on_edges(matrix) != 0, is_true)
    assert np.array_equal(graph.edge_is_substrate[is_true], graph.on_edges(matrix)[is_true] < 0)
    share = (matrix < 0).sum() / n_true
    assert graph.edge_is_substrate[~is_true].sum() == round((~is_true).sum() * share)


def test_a_reaction_that_is_known_has_no_decoys():
    """Its zeros are known: one that drives would be taken for a catalyst, in the simulation and by a learner."""
    matrix = np.zeros((20, 10), int)
    matrix[:3, :5], matrix[3, :5], matrix[5, 5:], matrix[9, 5:] = -1, 2, -1, 1
    known = np.arange(10) < 4
    graph, is_true = candidate_graph(matrix, 1.0, 0, known=known)
    assert (~is_true).sum() == is_true.sum() and not known[graph.edge_reaction[~is_true]].any()


def test_more_decoys_than_free_pairs_are_refused(tiny_regime):
    with pytest.raises(ValueError, match="pairs are free"):
        candidate_graph(random_stoichiometry(tiny_regime), 10.0, 0)


def test_a_regime_with_its_own_reactions(tiny_regime, tmp_path):
    """Names go along; what does not conserve mass is left out, or nothing is said to be conserved."""
    content = tiny_regime.model_dump() | {
        "reactions": {"one": "A -> B", "two": "A + 2 C -> B + 2 D", "three": "B -> C + D"},
        **dict.fromkeys(("n_metabolites", "n_reactions")),
        "reaction_shapes": {},
    }
    regime = Regime.model_validate(content)
    found = own_network(regime)
    matrix, metabolites, reactions = found.matrix, found.metabolites, found.reactions
    assert (metabolites, reactions) == (("A", "B", "C", "D"), ("one", "two"))
    assert matrix.T.tolist() == [[-1, 1, 0, 0], [-1, 1, -2, 2]]
    free = regime.model_copy(update={"conserved": "nothing", "n_frames": 10})
    assert own_network(free).matrix.T.tolist() == [[-1, 1, 0, 0], [-1, 1, -2, 2], [0, -1, 1, 1]]
    write_simulation(tmp_path / "data.nc", simulate(free), free)
    data = read_data(tmp_path / "data.nc")
    assert data.graph.reaction_names == ("one", "two", "three") and data.space.conserved.shape == (0, 4)
    assert data.space.columns(2).shape == (8, 3)
    with pytest.raises(ValueError, match="none conserves mass"):
        own_network(regime.model_copy(update={"reactions": {"three": "B -> C + D"}}))


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"reactions": {"R": "A + B"}}, "one of .* between"),
        ({"reactions": {"R": "A -> 1.5 B"}}, "whole numbers, but of `known`"),
        ({"reactions": {"R": " -> "}}, "changes no metabolite"),
        ({"reactions": {"R": "A -> B"}, "known": ["Q"]}, "known: Q is none of the reactions"),
        ({"both_ways": True}, "both_ways are of reactions"),
        ({"reactions": {"R": "A -> A"}}, "changes no metabolite"),
        ({"reactions": {"R": "A + A -> B"}}, "A stands there twice"),
        ({"reactions": {"R": "A + B -> 2 A"}}, "A stands there twice"),
        ({"reactions": {"R": "A + E -> B + E"}, "candidates": "all"}, "no place for catalysts"),
        ({"reactions": {"R": "A -> x y"}}, "'x y' is no metabolite"),
        ({"reactions": {"R": "A -> 0 B"}}, "'0 B' is no metabolite"),
        ({"reactions": {"R": "A -> B"}, "n_reactions": 1}, "n_reactions has no meaning"),
        ({"n_reactions": None}, "reactions, or n_metabolites"),
    ],
)
def test_a_regime_says_what_is_wrong_with_its_network(tiny_regime, changed, message):
    content = tiny_regime.model_dump()
    if "reactions" in changed:
        content |= {"n_metabolites": None, "n_reactions": None, "reaction_shapes": {}}
    with pytest.raises(ValueError, match=message):
        Regime.model_validate(content | changed)


@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9_]*[A-Za-z_]", fullmatch=True), st.integers(-9, 9), max_size=6))
def test_equations_are_read_as_they_are_written(column):
    column = {name: size for name, size in column.items() if size}
    sides = [
        " + ".join(
            f"{abs(size)} {name}" if abs(size) != 1 else name for name, size in column.items() if size * sign > 0
        )
        for sign in (-1, 1)
    ]
    assert parse_equation(f"{sides[0]} -> {sides[1]}") == (column, False)


def test_the_core_of_e_coli():
    regimes = [load_regime(f"config/regimes/{name}.yaml") for name in ("e_coli_core", "e_coli_core_balanced")]
    every, balanced = (own_network(regime).matrix for regime in regimes)
    assert every.shape == (71, 66) and balanced.shape == (69, 48)
    assert (balanced.sum(axis=0) == 0).all() and (every.sum(axis=0) != 0).sum() == 18


def test_elements_are_conserved_where_a_regime_has_formulas():
    regime = load_regime("config/regimes/e_coli_core_formulas.yaml")
    stoichiometry, space, _ = candidate_space(regime)
    assert space.quantities == ("C", "H", "N", "O", "P", "S", "charge") and stoichiometry.shape == (71, 66)
    np.testing.assert_array_equal(space.conserved @ stoichiometry, 0)
    glucose = dict(zip(space.quantities, space.conserved[:, space.graph.metabolite_names.index("glc__D_e")]))
    assert glucose == {"C": 6, "H": 12, "N": 0, "O": 6, "P": 0, "S": 0, "charge": 0}

    wrong = regime.species | {"h_c": type(regime.species["h_c"])(formula="H", charge=0)}
    with pytest.raises(ValueError, match="reactions: ACALD does not balance"):
        candidate_space(regime.model_copy(update={"species": wrong}))
    del wrong["h_c"]
    with pytest.raises(ValueError, match="species: h_c has none"):
        candidate_space(regime.model_copy(update={"species": wrong}))


def test_known_and_open_reactions_of_a_regime(tiny_regime):
    sizes = ("n_metabolites", "n_reactions", "reaction_shapes")
    content = {key: value for key, value in tiny_regime.model_dump().items() if key not in sizes}
    reactions = {"R": "A -> B", "EX_A": "A <->", "GROW": "12.5 A + B -> 2 C", "D": "2 C -> A + 4 B"}
    own = {"reactions": reactions, "known": ["EX_A", "GROW"], "conserved": "nothing"}
    regime = Regime.model_validate(content | own)
    matrix, space, is_true = candidate_space(regime)
    assert space.graph.reaction_names == ("R", "EX_A", "EX_A_reverse", "GROW", "D")
    assert np.array_equal(matrix.T, [[-1, 1, 0], [-1, 0, 0], [1, 0, 0], [-12.5, -1, 2], [1, 4, -2]])
    known = space.graph.matrix(np.where(np.isnan(space.known), 0, space.known))
    assert np.array_equal(known.T, [[0, 0, 0], [-1, 0, 0], [1, 0, 0], [-12.5, -1, 2], [0, 0, 0]])
    assert space.is_open.tolist() == [False, True, True, True, False] and is_true.all()
    assert space.bound[np.isnan(space.known)].tolist() == [4] * 5
    kinetics = random_kinetics(regime, matrix)
    plain = random_kinetics(regime, np.sign(matrix))
    slower = plain.log_k - kinetics.log_k
    assert slower.tolist() == pytest.approx([0, 0, 0, np.log10(12.5 / regime.max_coefficient), 0])


def test_a_regime_may_be_like_one_that_is_like_another(tmp_path):
    folder = Path("config/regimes")
    for name in ("e_coli_core.yaml", "e_coli_core_formulas.yaml", "e_coli_core_formulas_decoys.yaml"):
        (tmp_path / name).write_text((folder / name).read_text(encoding="utf-8"), encoding="utf-8")
    found = load_regime(tmp_path / "e_coli_core_formulas_decoys.yaml")
    assert (found.name, found.decoy_edges, found.conserved) == ("e_coli_core_formulas_decoys", 1.0, "elements")
    assert len(found.reactions) == 66
    (tmp_path / "round.yaml").write_text("like: about.yaml", encoding="utf-8")
    (tmp_path / "about.yaml").write_text("like: round.yaml", encoding="utf-8")
    with pytest.raises(BadInput, match="like.*not like this one"):
        load_regime(tmp_path / "round.yaml")


def test_every_metabolite_can_be_a_candidate_of_every_reaction():
    regime = load_regime("config/regimes/crnn.yaml")
    matrix, space, is_true = candidate_space(regime)
    assert matrix.T.tolist() == [[-2, 1, 0, 0, 0], [-1, 0, 1, 0, 0], [0, 0, -1, 1, 0], [0, -1, 0, -1, 1]]
    assert space.graph.n_edges == 20 and space.graph.edge_is_substrate.all() and not space.sign.any()
    assert np.array_equal(is_true, matrix.T.ravel() != 0) and not len(space.conserved)
    with pytest.raises(ValueError, match="leaves no place"):
        Regime.model_validate(regime.model_dump() | {"decoy_edges": 1.0})
