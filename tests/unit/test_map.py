"""Chapter 6: the recovered network as a map, and what was asked and found on each kind of data."""

import itertools
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from stoirec.config.equations import parse_sides
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import Graph
from stoirec.report.map import drawing, layout, reactions
from stoirec.report.map.reactions import NONE_FITS, SURE_OF, UNSURE
from stoirec.report.networks import numbers

ATP_OF = 8  # reactions that turn atp into adp
HOSTILE = "<script>\"&amp;'</script>"


def network(equations: dict[str, str]) -> tuple[ColumnSpace, np.ndarray]:
    """The column space of some equations, and their coefficients."""
    columns = []
    for text in equations.values():
        sides = parse_sides(text)
        columns.append({name: -size for size, name in sides.left} | {name: size for size, name in sides.right})
    names = list(dict.fromkeys(name for column in columns for name in column))
    edges = [(names.index(name), j, value) for j, column in enumerate(columns) for name, value in column.items()]
    metabolite, reaction, value = (np.array(part) for part in zip(*sorted(edges, key=lambda edge: (edge[1], edge[0]))))
    graph = Graph(len(names), len(columns), metabolite, reaction, value < 0, tuple(names), tuple(equations))
    return ColumnSpace.of_roles(graph), value.astype(float)


def recovery_of(space: ColumnSpace, answer: np.ndarray, confidence: np.ndarray, **more) -> xr.Dataset:
    graph = space.graph
    return xr.Dataset(
        {
            "stoichiometry": (("metabolite", "reaction"), graph.matrix(answer)),
            "confidence": ("edge", confidence),
            "alternative": (("rank", "edge"), np.array([answer, 2 * answer])),
            "alternative_cost": (("rank", "reaction"), np.tile([[0.1], [6.0]], graph.n_reactions)),
            **more,
        }
    )


@pytest.fixture(scope="module")
def pathway():
    """A chain whose every step turns atp into adp, a ring, and a reaction apart from all others."""
    equations = {f"step{i}": f"m{i} + atp -> m{i + 1} + adp" for i in range(ATP_OF)}
    equations |= {"close": "m8 -> m0", "apart": "x -> 2 y"}
    space, answer = network(equations)
    recovery = recovery_of(space, answer, np.ones(len(answer)))
    return space, reactions.recovered_reactions(space, recovery, answer)


def test_each_participant_is_drawn_once_at_each_reaction(pathway):
    space, found = pathway
    where = layout.layout(found)
    atp, adp = (space.graph.metabolite_names.index(name) for name in ("atp", "adp"))
    for reaction, copies in zip(found, where.copies):
        copied = [copy.metabolite for copy in copies]
        assert sorted(copied) == sorted({atp, adp} & set(reaction.metabolites.tolist()))
        assert set(reaction.metabolites.tolist()) - set(copied) <= set(where.metabolites)
    assert Counter(copy.metabolite for copies in where.copies for copy in copies) == {atp: ATP_OF, adp: ATP_OF}
    assert atp not in where.metabolites and adp not in where.metabolites


def test_a_metabolite_of_many_reactions_that_is_all_a_side_has_is_no_copy():
    space, answer = network({f"r{i}": f"hub -> m{i}" for i in range(10)})
    where = layout.layout(reactions.recovered_reactions(space, recovery_of(space, answer, np.ones(20)), answer))
    assert sorted(where.metabolites) == list(range(11)) and not any(where.copies)


def test_places_are_apart_within_the_drawing_and_the_same_again(pathway):
    _, found = pathway
    where, again = layout.layout(found), layout.layout(found)
    places = np.array([*where.metabolites.values(), *where.reactions])
    assert (places > 0).all() and (places < where.size).all()
    distances = [np.linalg.norm(one - other) for one, other in itertools.combinations(places, 2)]
    assert min(distances) > 15
    np.testing.assert_array_equal(where.reactions, again.reactions)
    np.testing.assert_allclose(np.linalg.norm(where.directions, axis=1), 1)


def test_places_do_not_depend_on_the_order_of_sets():
    """Hashes of texts, and with them the order of a set, differ from process to process."""
    code = (
        "import networkx as nx; from stoirec.report.map.layout import _placed;"
        "parts = [[('metabolite', f'{part}{i}') for i in range(7)] for part in 'ab'];"
        "print(_placed(nx.Graph([edge for part in parts for edge in zip(part, part[1:])])))"
    )
    drawn = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(drawn) == 1


def test_the_drawing_is_well_formed_and_links_to_the_table(pathway):
    space, found = pathway
    page = drawing.drawing(space.graph, found, layout.layout(found), "A map.")._repr_html_()
    svg = ET.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    links = [each.get("href") for each in svg.iter() if each.tag.endswith("a")]
    assert links == [f"#{drawing.anchor(index)}" for index in range(len(found))]
    sizes = [each.text for each in svg.iter() if each.get("class") == "size"]
    assert sizes == ["2"]  # x -> 2 y
    shown = [each.text for each in svg.iter() if each.tag.endswith("text")]
    assert shown.count("atp") == ATP_OF and shown.count("m3") == 1


def test_names_cannot_break_out_of_the_drawing(pathway):
    space, _ = pathway
    names = (HOSTILE, *space.graph.metabolite_names[1:])
    graph = replace(space.graph, metabolite_names=names, reaction_labels=(HOSTILE,) * space.graph.n_reactions)
    space = replace(space, graph=graph)
    answer = np.where(graph.edge_is_substrate, -1.0, 1.0)
    found = reactions.recovered_reactions(space, recovery_of(space, answer, np.ones(len(answer))), answer)
    page = drawing.drawing(graph, found, layout.layout(found), HOSTILE)._repr_html_()
    assert page.count("<script>") == 1 and "&lt;script&gt;" in page
    ET.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])


def test_what_is_unsure_or_fits_nothing_is_told():
    space, true = network({"one": "a -> b", "two": "b -> c", "three": "c -> a"})
    confidence = np.array([1.0, 1.0, 0.7, 1.0, 1.0, 1.0])
    answer = np.where(np.arange(6) < 4, true, 2 * true)
    none = {"no_column_probability": ("reaction", np.array([0.0, 0.0, 0.8]))}
    found = reactions.recovered_reactions(space, recovery_of(space, answer, confidence, **none), true)
    assert [each.state for each in found] == [SURE_OF, UNSURE, NONE_FITS]
    assert [each.confidence for each in found] == [1.0, 0.7, 1.0]
    assert [each.right for each in found] == [True, True, False]
    assert found[0].alternatives == [] and found[1].alternatives == ["2 b → 2 c (0.05)"]
    table = reactions.listed(found)
    assert list(table.index) == ["one", "two", "three"] and "called" not in table
    assert list(table["equation"]) == ["a → b", "b → c", "2 c → 2 a"]
    page = drawing.drawing(space.graph, found, layout.layout(found), "A map.")._repr_html_()
    assert all(f"{state}: 1" in page for state in (SURE_OF, UNSURE, NONE_FITS, "not the true column"))


def test_both_directions_are_one_reaction():
    space, true = network({"one": "a -> b", "one_reverse": "b -> a", "two": "b -> 2 c"})
    space = replace(space, reverse_of=np.array([-1, 0, -1]))
    found = reactions.recovered_reactions(space, recovery_of(space, true, np.ones(len(true))), true)
    assert [(each.name, each.equation, each.reversible) for each in found] == [
        ("one", "a ⇌ b", True),
        ("two", "b → 2 c", False),
    ]


def test_a_catalyst_is_drawn_beside_its_reaction():
    space, _ = network({"one": "a + e -> b", "two": "b -> c"})
    answer = np.array([-1.0, 0.0, 1.0, -1.0, 1.0])
    sought = reactions.recovered_reactions(space, recovery_of(space, answer, np.ones(5)), answer)
    assert layout.layout(sought).copies == [[], []]  # a candidate found to be 0 has no part
    space = replace(space, known=np.where(answer == 0, 0.0, np.nan))
    found = reactions.recovered_reactions(space, recovery_of(space, answer, np.ones(5)), answer)
    where = layout.layout(found)
    assert [(copy.metabolite, copy.coefficient) for copy in where.copies[0]] == [(1, 0.0)]


# --- what was asked and found -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def studied(small_regime, finish_study, tmp_path_factory):
    """Two regimes, one of them with decoys; the second configuration of the first learns nothing."""
    folder = tmp_path_factory.mktemp("networks")
    regimes = {
        "plain": small_regime.model_copy(update={"name": "plain"}),
        "decoys": small_regime.model_copy(update={"name": "decoys", "decoy_edges": 0.5}),
    }
    study = {
        "name": "kinds",
        "regime": str(folder / "plain.yaml"),
        "network_seeds": [1, 2],
        "base": {"n_runs": 1, "n_epochs": 1, "data_augmentation_loop": 20, "n_snapshots": 3, "role_prior": True},
        "stages": [
            {"name": "plain", "grid": {"learning_rate_start": [5e-3, 1e30]}},
            {"name": "decoys", "regime": str(folder / "decoys.yaml"), "network_seeds": [1]},
        ],
    }
    return finish_study(folder, study, regimes)


def test_what_was_asked_is_counted(studied):
    table = numbers.asked(studied)
    assert list(table.index) == ["plain", "decoys"] and list(table["networks"]) == [2, 1]
    graph = studied.data(studied.data_names[0]).graph
    plain, decoys = table.loc["plain"], table.loc["decoys"]
    assert plain["candidate edges"] == plain["of these real"] == plain["coefficients sought"] == graph.n_edges
    assert decoys["candidate edges"] > decoys["of these real"] > 0
    assert set(table["conserved"]) == {"mass"} and "of unknown sign" not in table


def test_what_was_found_is_the_best_configuration_beside_its_references(studied):
    table = numbers.recovered(studied)
    own = studied.answers[studied.answers["data"].str.startswith("plain")]
    best = own[own["status"] == "ok"]
    assert table.at["plain", "fits"] == len(best) == 2
    assert table.at["plain", "mean"] == pytest.approx(best["entry_exact"].mean())
    data = list(best["data"])
    for label, name, method in (
        ("baseline: smallest balanced column", "baseline_unit", "mass_balanced"),
        ("oracle: true fluxes", "oracle_least_squares", "nearest"),
    ):
        assert table.at["plain", label] == studied.references(method, data).at[name, "entry_exact"]
    sure = [studied.recovery(fit)["confidence"].values >= 0.99 for fit in best.index]
    assert table.at["plain", "share sure"] == pytest.approx(np.concatenate(sure).mean())
