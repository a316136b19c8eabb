"""Users' models: SBML and tables in and out, what is sought of them, and their own kinetic laws."""

import gzip
import json
import logging
import re
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from stoirec import cli
from stoirec.answer.exported import export_text
from stoirec.answer.recovery import recover
from stoirec.config.fit import FitConfig
from stoirec.data.dataset import read_data
from stoirec.data.graph_variables import space_of, space_variables
from stoirec.errors import BadInput, Unsuitable
from stoirec.files import netcdf
from stoirec.learn.training import train
from stoirec.models.formulas import CHARGE, elements, formula_of
from stoirec.models.posed import pose
from stoirec.models.reaction_table import read_reactions
from stoirec.models.sbml import Recovered, read_sbml, sbml_of
from stoirec.network.balance import balances

SHIPPED = Path(find_spec("roadrunner").origin).parent / "tests"  # models that libroadrunner's wheel brings
MODELS = [
    *("EcoliCore", "feedback", "linearPathwayClosed", "linearPathwayOpen", "named_stoic_in_kinetic_law", "test_1"),
    *(f"test_data/{name}" for name in ("Test_1", "Test_2", "Test_3", "feedback", "output_testmodel")),
]
HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<sbml xmlns="http://www.sbml.org/sbml/level3/version1/core" level="3" version="1"
  xmlns:fbc="http://www.sbml.org/sbml/level3/version1/fbc/version2" fbc:required="false">
<model fbc:strict="false"><listOfCompartments><compartment id="c" size="1" constant="true"/></listOfCompartments>"""
SPECIES = (
    '<species id="{}" compartment="c" initialConcentration="{}" hasOnlySubstanceUnits="false" '
    'boundaryCondition="{}" constant="false" {}/>'
)


def side(kind, **coefficients):
    refs = "".join(
        f'<speciesReference species="{name}" stoichiometry="{value}" constant="true"/>'
        for name, value in coefficients.items()
    )
    return f"<listOf{kind}>{refs}</listOf{kind}>"


def reaction(id_, left, right, law="", modifier="", reversible="false"):
    held = f'<listOfModifiers><modifierSpeciesReference species="{modifier}"/></listOfModifiers>' if modifier else ""
    math = f'<kineticLaw><math xmlns="http://www.w3.org/1998/Math/MathML">{law}</math></kineticLaw>' if law else ""
    parts = side("Reactants", **left) * bool(left) + side("Products", **right) * bool(right) + held + math
    return f'<reaction id="{id_}" reversible="{reversible}" fast="false">{parts}</reaction>'


def times(*factors):
    return (
        "<apply><times/>"
        + "".join(f"<ci>{x}</ci>" if x[0].isalpha() else f"<cn>{x}</cn>" for x in factors)
        + "</apply>"
    )


def hexokinase(path):
    """Glucose is held from outside; hexokinase is a modifier; biomass has fractional coefficients."""
    made_of = {
        "glc": ("true", 'fbc:chemicalFormula="C6H12O6" fbc:charge="0"'),
        "atp": ("false", 'fbc:chemicalFormula="C10H12N5O13P3" fbc:charge="-4"'),
        "adp": ("false", 'fbc:chemicalFormula="C10H12N5O10P2" fbc:charge="-3"'),
        "g6p": ("false", 'fbc:chemicalFormula="C6H11O9P" fbc:charge="-2"'),
        "f6p": ("false", 'fbc:chemicalFormula="C6H11O9P" fbc:charge="-2"'),
        "h": ("false", 'fbc:chemicalFormula="H" fbc:charge="1"'),
        "hxk": ("false", ""),
    }
    species = "".join(SPECIES.format(name, 2, held, text) for name, (held, text) in made_of.items())
    reactions = [
        reaction("HXK", {"glc": 1, "atp": 1}, {"g6p": 1, "adp": 1, "h": 1}, times("0.1", "glc", "atp", "hxk"), "hxk"),
        reaction("PGI", {"g6p": 1}, {"f6p": 1}, "<apply><minus/><ci>g6p</ci><ci>f6p</ci></apply>", reversible="true"),
        reaction("BIOMASS", {"f6p": 0.5, "atp": 20}, {"adp": 20}, times("0.01", "f6p", "atp")),
        reaction("MAKE", {"adp": 2}, {"atp": 1}, times("0.05", "adp")),
    ]
    path.write_text(
        f"{HEAD}<listOfSpecies>{species}</listOfSpecies><listOfReactions>{''.join(reactions)}"
        "</listOfReactions></model></sbml>"
    )
    return path


def by_name(graph, values):
    names = zip(map(graph.metabolite_name, graph.edge_metabolite), map(graph.reaction_name, graph.edge_reaction))
    return dict(zip(names, np.asarray(values).tolist()))


# --- what is sought ---------------------------------------------------------------------------------------------------


def test_a_model_is_posed_as_a_question(tmp_path):
    posed = pose(read_sbml(hexokinase(tmp_path / "model.xml")))
    space, graph = posed.space, posed.space.graph
    assert graph.metabolite_names == ("atp", "adp", "g6p", "f6p", "h", "hxk")  # glc is held from outside
    assert graph.reaction_names == ("HXK", "PGI", "PGI_reverse", "BIOMASS", "MAKE")
    assert space.reverse_of.tolist() == [-1, -1, 1, -1, -1]
    known, drives = by_name(graph, space.known), by_name(graph, graph.edge_is_substrate)
    assert known["hxk", "HXK"] == 0 and drives["hxk", "HXK"]  # a catalyst drives, and nothing of it is used up
    assert known["f6p", "BIOMASS"] == -0.5 and known["atp", "BIOMASS"] == -20
    assert np.isnan([known["atp", "HXK"], known["g6p", "PGI"], known["adp", "MAKE"]]).all()
    assert drives["f6p", "PGI_reverse"] and not drives["f6p", "PGI"]
    assert by_name(graph, space.sign)["g6p", "PGI_reverse"] == 1
    assert space.quantities == ("C", "H", "N", "O", "P", "charge")
    # HXK takes glucose from outside, BIOMASS and MAKE do not balance
    assert dict(zip(graph.reaction_names, space.is_open)) == {
        "HXK": True, "PGI": False, "PGI_reverse": False, "BIOMASS": True, "MAKE": True
    }  # fmt: skip
    text = "\n".join(posed.remarks)
    for name in ("glc", "BIOMASS", "MAKE"):
        assert name in text
    assert "hxk" not in text  # what stays needs no formula


def test_columns_that_are_known_need_not_be_sought(tmp_path):
    model = read_sbml(hexokinase(tmp_path / "model.xml"))
    posed = pose(model, ["PGI"])
    sought = np.isnan(posed.space.known)
    of = {posed.space.graph.reaction_name(j) for j in posed.space.graph.edge_reaction[sought]}
    assert of == {"HXK", "MAKE"}
    assert not np.isnan(pose(model, ["all"]).space.known).any()
    with pytest.raises(Unsuitable, match="PGX"):
        pose(model, ["PGX"])


def test_what_is_known_is_answered_as_it_is_known(tmp_path, monkeypatch):
    """A catalyst's coefficient of 0, and biomass' fractions, however badly the functions fit."""
    path, out = hexokinase(tmp_path / "model.xml"), tmp_path / "data.nc"
    imported(monkeypatch, path, "--simulate", "--duration", 2, "--frames", 100, "--runs", 2, "-o", out)
    data = read_data(out)
    config = FitConfig(n_runs=2, n_epochs=1, batch_size=16, refinement_rounds=1, refinement_steps=2, role_prior=True)
    answer = recover(train(data, config, torch.device("cpu")), "fit.nc")
    known = ~np.isnan(data.space.known)
    assert by_name(data.graph, known)["hxk", "HXK"]
    for name in (name for name in answer.variables if str(name).startswith("stoichiometry")):
        np.testing.assert_array_equal(
            data.graph.on_edges(answer[name].values)[known], data.space.known[known], str(name)
        )
    assert (answer["confidence"].values[known] == 1).all()


def test_ids_that_end_as_those_of_other_directions_are_taken_as_they_are(tmp_path):
    path = tmp_path / "reactions.csv"
    path.write_text("R_reverse, A -> B\nQ, B -> C\n")
    posed = pose(read_reactions(path), ["R_reverse"])
    assert posed.space.reverse_of is None and np.isnan(posed.space.known).tolist() == [False, False, True, True]
    path.write_text("R_reverse, B -> A\nR, A <-> B\n")
    with pytest.raises(Unsuitable, match="R_reverse beside the other direction"):
        pose(read_reactions(path))


def test_a_table_of_reactions(tmp_path):
    path, formulas = tmp_path / "reactions.csv", tmp_path / "species.csv"
    path.write_text("# the benchmark\nR1, 2 A->B\nR2, A + E -> C + E\nR3, C <-> D\nR4, -> A\n")
    formulas.write_text("species,formula,charge,mass\nA,CH2,0,\nB,C2H4,,\nC,,,14.5\n")
    space = (posed := pose(read_reactions(path, formulas))).space
    assert by_name(space.graph, posed.coefficient)["A", "R1"] == -2
    assert np.isnan(space.known).sum() == space.graph.n_edges - 1  # E in R2
    assert space.quantities == ("C", "H", "mass")
    masses = dict(zip(space.graph.metabolite_names, space.conserved[2]))
    assert masses["C"] == 14.5 and np.isnan(masses["A"])
    assert space.is_open.tolist() == [False, False, False, False, True]

    path.write_text("reaction,equation,candidates,remark\nR1,A + ? B -> 2 C,D E,guess\n\nR2,C -> A,,\n")
    posed = pose(read_reactions(path))
    known, sign = by_name(posed.space.graph, posed.space.known), by_name(posed.space.graph, posed.space.sign)
    assert known["C", "R1"] == 2 and known["C", "R2"] == -1  # where ? says what is sought, the rest is known
    assert np.isnan([known["B", "R1"], known["D", "R1"]]).all()
    assert (sign["B", "R1"], sign["D", "R1"]) == (-1, 0)


def test_a_table_of_reactions_in_the_forms_that_spreadsheets_write(tmp_path):
    rows = [["reaction", "equation", "candidates"], ["R1", "A + 2 B → C", "D;E"], ["R2", "C ⇌ D", ""]]
    paths = [tmp_path / name for name in ("comma.csv", "semicolon.csv", "tab.tsv", "sheet.xlsx")]
    for path, separator in zip(paths, ",;\t"):
        lines = [separator.join(cell.replace(";", " ") for cell in row) for row in rows]
        path.write_text("\n".join(lines), encoding="utf-16" if separator == "\t" else "utf-8")
    pd.DataFrame(rows).to_excel(paths[-1], header=False, index=False)
    first, *others = map(read_reactions, paths)
    assert first.reactions[0].sought == {"D": 0, "E": 0} and first.reactions[1].reversible
    assert all(other == first for other in others)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "reaction: found nothing"),
        ("R1, glucose 6-phosphate -> B", "a name has no spaces"),
        ("R1, A B", "line 1: equation"),
        ("R1, A -> B -> C", "line 1: equation"),
        ("R1, A -> B\nR1, B -> C", "line 2: reaction: found R1 again"),
        ("R1, -> ", "at least one species"),
        ("R1, A + + B -> C", "line 1: equation"),
        ("R1, 0 A -> B", "positive coefficient"),
        ("R1, A -> ? A", "A with a coefficient and as a candidate"),
        (", A -> B", "line 1: reaction: found nothing"),
        ("R1, A -> B, C, D", "4 cells"),
        (f"R1, {'A' * 200_000} -> B", "field larger than field limit"),
    ],
)
def test_a_row_that_is_no_reaction_is_named(tmp_path, text, named):
    path = tmp_path / "reactions.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=named.replace("+", r"\+")):
        read_reactions(path)


@pytest.mark.parametrize("text", ["", "species,formula,charge\n"])
def test_a_table_of_species_without_any_is_named(tmp_path, text):
    path, formulas = tmp_path / "reactions.csv", tmp_path / "species.csv"
    path.write_text("R1, A -> B")
    formulas.write_text(text)
    with pytest.raises(BadInput, match=f"^{formulas}: species: found nothing; allowed: rows"):
        read_reactions(path, formulas)


def test_coefficients_of_a_table_are_guesses_that_formulas_mend(tmp_path):
    """R1 is A -> 2 B; R2 needs three, beyond the bound, R3 an element from nowhere; E stays, and needs no formula."""
    (tmp_path / "r.csv").write_text("R1, A + E -> B + E\nR2, D -> B\nR3, A -> P\n")
    (tmp_path / "s.csv").write_text("species,formula\nA,C6H12O6\nB,C3H6O3\nD,C9H18O9\nP,C6H12N\n")
    posed = pose(read_reactions(tmp_path / "r.csv", tmp_path / "s.csv"))
    assert posed.space.is_open.tolist() == [False, True, True]
    assert [each.says for each in balances(posed.space)] == ["length", "free", "free"]
    text = "\n".join(posed.remarks)
    assert (
        "with other coefficients: R1" in text and "taken for open: R2, R3" in text and "without a formula" not in text
    )
    known = pose(read_reactions(tmp_path / "r.csv", tmp_path / "s.csv"), ["R1"])
    assert known.space.is_open.tolist() == [True, True, True]  # what is known is no guess


@pytest.mark.parametrize("header, named", [("species,formla", "formla"), ("species,charg,formula", "charg")])
def test_a_misspelt_header_is_refused_and_another_column_said(tmp_path, caplog, header, named):
    (tmp_path / "r.csv").write_text("R1, A -> B\n")
    (tmp_path / "s.csv").write_text(f"{header}\nA,CH4\nB,CH4\n")
    with pytest.raises(BadInput, match=f"header: found {named}; allowed: species, formula, .*did you mean"):
        read_reactions(tmp_path / "r.csv", tmp_path / "s.csv")
    (tmp_path / "s.csv").write_text("species,formula,source of it\nA,CH4,a book\nB,CH4,\n")
    with caplog.at_level("INFO"):
        read_reactions(tmp_path / "r.csv", tmp_path / "s.csv")
    assert "columns that are not read: source of it" in caplog.text


def test_what_nobody_knows_of_a_metabolite_holds_none_of_its_reactions(tmp_path):
    space = pose(read_sbml(hexokinase(tmp_path / "model.xml"))).space
    held = by_name(space.graph, (space.amounts != 0).any(0))
    assert held["g6p", "PGI"] and not held["atp", "HXK"]
    conserved = space.conserved.copy()
    conserved[0, space.graph.metabolite_names.index("f6p")] = np.nan  # carbon
    amounts = replace(space, conserved=conserved).amounts
    edge = list(held).index(("g6p", "PGI"))
    assert amounts[0, edge] == 0 and amounts[1, edge] == 11


# --- formulas ---------------------------------------------------------------------------------------------------------


@given(
    st.dictionaries(st.sampled_from(["C", "H", "N", "O", "P", "Fe", "Cl", "R", "X"]), st.integers(1, 900), min_size=1)
)
def test_formulas_say_amounts_and_back(amounts):
    assert elements(formula_of(amounts)) == amounts


@pytest.mark.parametrize("text", ["", "(C5H8)n", "C6H12O6.H2O", "*", "c6", "C6 H12"])
def test_a_formula_without_amounts_says_nothing(text):
    assert elements(text) is None


def test_formulas_are_in_hills_order():
    assert formula_of({"O": 6.0, "H": 12.0, "C": 6.0, CHARGE: -1.0}) == "C6H12O6"
    assert elements("C2H5OH") == {"C": 2, "H": 6, "O": 1}
    assert formula_of({"C": 0.5}) is None and formula_of({}) is None


# --- SBML -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*MODELS, "hexokinase"])
def test_what_is_exported_is_imported_as_it_was(name, tmp_path):
    path = hexokinase(tmp_path / "own.xml") if name == "hexokinase" else SHIPPED / f"{name}.xml"
    before = pose(read_sbml(path), ["all"])
    graph, copy = before.space.graph, tmp_path / "copy.xml"
    none = np.zeros(graph.n_reactions)
    copy.write_text(
        sbml_of(Recovered(before.space, before.coefficient, np.ones(graph.n_edges), none, [[]] * len(none)))
    )
    after = pose(read_sbml(copy), ["all"])
    assert by_name(after.space.graph, after.coefficient) == by_name(graph, before.coefficient)
    assert by_name(after.space.graph, after.space.graph.edge_is_substrate) == by_name(graph, graph.edge_is_substrate)
    assert after.space.quantities == before.space.quantities
    order = [after.space.graph.metabolite_names.index(each) for each in graph.metabolite_names]
    assert [after.space.graph.metabolite_label(place) for place in order] == [
        graph.metabolite_label(metabolite) for metabolite in range(graph.n_metabolites)
    ]
    assert {after.space.graph.reaction_label(j) for j in range(after.space.graph.n_reactions)} == {
        graph.reaction_label(j) for j in range(graph.n_reactions)
    }
    np.testing.assert_array_equal(after.space.conserved[:, order], before.space.conserved)


def damaged(tmp_path):
    text = hexokinase(tmp_path / "good.xml").read_text()
    yield "empty", ""
    yield "no_xml", "R1: A -> B"
    yield "cut", text[: len(text) // 2]
    yield "other_xml", "<html><body/></html>"
    yield "level_1", text.replace('level3/version1/core" level="3" version="1"', 'level1" level="1" version="2"')
    yield "no_reactions", text[: text.index("<listOfReactions>")] + "</model></sbml>"
    yield "unknown_species", text.replace('speciesReference species="g6p"', 'speciesReference species="g7p"', 1)
    yield (
        "unknown_modifier",
        text.replace('modifierSpeciesReference species="hxk"', 'modifierSpeciesReference species="x"'),
    )
    yield "no_number", text.replace('stoichiometry="0.5"', 'stoichiometry="half"')
    yield "negative", text.replace('stoichiometry="0.5"', 'stoichiometry="-0.5"')
    yield "infinite", text.replace('stoichiometry="0.5"', 'stoichiometry="INF"')
    yield "twice", text.replace('reaction id="PGI"', 'reaction id="HXK"')
    yield "species_twice", text.replace('species id="adp"', 'species id="atp"')
    yield "no_id", text.replace('reaction id="PGI"', "reaction")
    yield "held", text.replace('boundaryCondition="false"', 'boundaryCondition="true"')


def test_a_malformed_model_ends_in_one_line(tmp_path, capsys, monkeypatch):
    logging.disable(logging.INFO)
    for name, text in damaged(tmp_path):
        path, out = tmp_path / f"{name}.xml", tmp_path / "out.nc"
        path.write_text(text)
        monkeypatch.setattr("sys.argv", ["stoirec", "import", str(path), "-o", str(out)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        lines = capsys.readouterr().err.strip().splitlines()
        assert ended.value.code == 2, name
        assert len(lines) == 1 and lines[0].startswith(f"error: {path}: "), (name, lines)
        assert "found" in lines[0] and "allowed" in lines[0] and not out.exists(), name
    logging.disable(logging.NOTSET)


def test_a_compressed_model_is_read_as_it_is(tmp_path):
    path = hexokinase(tmp_path / "model.xml")
    (tmp_path / "model.xml.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert read_sbml(tmp_path / "model.xml.gz") == read_sbml(path)
    (tmp_path / "cut.xml.gz").write_bytes(gzip.compress(path.read_bytes())[:200])
    with pytest.raises(BadInput, match="gzip"):
        read_sbml(tmp_path / "cut.xml.gz")


# --- its own kinetic laws ---------------------------------------------------------------------------------------------


def imported(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["stoirec", "import", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0


def test_a_simulated_model_follows_its_own_laws(tmp_path, monkeypatch, capsys):
    path, out = hexokinase(tmp_path / "model.xml"), tmp_path / "data.nc"
    imported(monkeypatch, path, "--simulate", "--duration", 2, "--frames", 201, "--runs", 2, "-o", out)
    data = read_data(out)
    assert data.run_role.tolist() == [0, 0, 1]
    c = dict(zip(data.graph.metabolite_names, np.moveaxis(data.concentration, 2, 0)))
    # glucose is 2 all the time
    hxk, pgi = 0.1 * 2 * c["atp"] * c["hxk"], c["g6p"] - c["f6p"]
    biomass, make = 0.01 * c["f6p"] * c["atp"], 0.05 * c["adp"]
    expected = {"f6p": pgi - 0.5 * biomass, "atp": -hxk - 20 * biomass + make, "hxk": 0 * hxk}
    for name, rate in expected.items():
        np.testing.assert_allclose(data.dcdt[:, :, data.graph.metabolite_names.index(name)], rate, atol=1e-9)
    middle = (data.concentration[:, 2:] - data.concentration[:, :-2]) / (data.time[2] - data.time[0])
    np.testing.assert_allclose(middle, data.dcdt[:, 1:-1], atol=1e-3)

    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["stoirec", "oracle", str(out), "--json"])
    with pytest.raises(SystemExit):
        cli.main()
    assert json.loads(capsys.readouterr().out)["oracle_balanced"]["nearest"]["entry_exact"] == 1.0


def test_a_model_without_laws_is_not_simulated(tmp_path, monkeypatch, capsys):
    path = hexokinase(tmp_path / "model.xml")
    path.write_text(re.sub("<kineticLaw>.*?</kineticLaw>", "", path.read_text()))
    monkeypatch.setattr("sys.argv", ["stoirec", "import", str(path), "--simulate", "-o", str(tmp_path / "data.nc")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2 and "allowed: laws that can be integrated" in capsys.readouterr().err


def test_a_library_that_does_not_load_is_said_in_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "roadrunner", None)
    arguments = ["import", str(hexokinase(tmp_path / "model.xml")), "--simulate", "-o", str(tmp_path / "data.nc")]
    monkeypatch.setattr("sys.argv", ["stoirec", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2 and "libroadrunner, which does not load" in capsys.readouterr().err


def test_a_reaction_that_runs_backward_is_reversible_whatever_the_file_says(tmp_path, monkeypatch):
    path, out = hexokinase(tmp_path / "model.xml"), tmp_path / "data.nc"
    path.write_text(path.read_text().replace('reversible="true"', 'reversible="false"'))
    imported(monkeypatch, path, "--simulate", "--duration", 5, "--frames", 50, "-o", out)
    with xr.open_dataset(out, group="truth") as truth:
        assert truth.sizes["reaction"] == 5 and float(truth["flux"].min()) >= 0


def test_a_model_is_not_written_over(tmp_path, monkeypatch, capsys):
    path = hexokinase(tmp_path / "model.xml")
    before = path.read_bytes()
    monkeypatch.setattr("sys.argv", ["stoirec", "import", str(path), "-o", str(path)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2 and path.read_bytes() == before
    assert "--output" in capsys.readouterr().err


# --- out --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def recovery(tmp_path):
    """The answer to hexokinase's question, as `recover` would write it."""
    posed = pose(read_sbml(hexokinase(tmp_path / "model.xml")))
    graph = posed.space.graph
    other = np.where(graph.edge_reaction == graph.reaction_names.index("PGI"), 2 * posed.coefficient, posed.coefficient)
    dataset = xr.Dataset(
        {
            **space_variables(posed.space),
            "stoichiometry": (("metabolite", "reaction"), graph.matrix(posed.coefficient)),
            "confidence": ("edge", np.full(graph.n_edges, 0.97)),
            "alternative": (("rank", "edge"), np.stack([posed.coefficient, other])),
            "alternative_cost": (("rank", "reaction"), np.stack([np.zeros(5), np.full(5, 7.0)])),
            "no_column_probability": ("reaction", np.full(5, 0.001)),
        },
        attrs={"status": "ok"},
    )
    netcdf.write(tmp_path / "recovery.nc", dataset)
    return netcdf.read(tmp_path / "recovery.nc")


def test_the_answer_as_equations_can_be_imported_again(recovery, tmp_path):
    text = export_text(recovery, "recovery.nc", "equations")
    assert "HXK,atp + hxk -> adp + g6p + h + hxk,,0.9700,0.0010" in text
    assert "PGI,g6p <-> f6p,,0.9700,0.0010,2 g6p -> 2 f6p" in text and "PGI_reverse" not in text
    (tmp_path / "answer.csv").write_text(text.replace(",alternative", ",remark"))
    again = pose(read_reactions(tmp_path / "answer.csv"), ["all"])
    graph = space_of(recovery, "recovery.nc").graph
    found = by_name(again.space.graph, again.coefficient)
    assert found == by_name(graph, graph.on_edges(recovery["stoichiometry"].values))


def test_the_answer_as_a_matrix_has_names(recovery):
    rows = [line.split(",") for line in export_text(recovery, "recovery.nc", "matrix").splitlines()]
    assert rows[0] == ["metabolite", "HXK", "PGI", "PGI_reverse", "BIOMASS", "MAKE"]
    assert rows[1] == ["atp", "-1", "0", "0", "-20", "1"]


def test_the_answer_as_sbml_says_how_sure_it_is(recovery, tmp_path):
    text = export_text(recovery, "recovery.nc", "sbml")
    assert 'confidence="0.97"' in text and "alternative: 2 g6p -&gt; 2 f6p" in text
    (tmp_path / "answer.xml").write_text(text)
    model = read_sbml(tmp_path / "answer.xml")
    assert [each.id for each in model.reactions] == ["HXK", "PGI", "BIOMASS", "MAKE"]  # PGI and its reverse are one
    assert [each.reversible for each in model.reactions] == [False, True, False, False]


def test_an_answer_of_a_diverged_fit_is_none(recovery):
    with pytest.raises(BadInput, match="status: found diverged"):
        export_text(recovery.assign_attrs(status="diverged"), "recovery.nc", "matrix")
