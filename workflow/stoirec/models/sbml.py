"""The one door to SBML: models of level 2 and 3, with formulas and charges of the fbc package or of notes.

Source: Hucka et al., The Systems Biology Markup Language (SBML): Language Specification for Level 3 Version 2 Core,
J. Integr. Bioinform. 2019; Olivier and Bergmann, SBML Level 3 Package: Flux Balance Constraints, 2018.
"""

import gzip
import math
import re
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import libsbml
import numpy as np

from stoirec.errors import BadInput
from stoirec.models.equations import opposite_columns
from stoirec.models.formulas import CHARGE, MASS, elements, formula_of
from stoirec.models.model import Model, Reaction, Species, listing
from stoirec.network.columns import ColumnSpace

_ALLOWED = "an SBML model of level 2 or 3"
_GZIP = b"\x1f\x8b"  # how such a file begins
_NAMESPACE = "https://stoirec.invalid/recovery"  # of the annotation
_BOUNDS = {"lower_bound": -1000.0, "zero_bound": 0.0, "upper_bound": 1000.0}  # as flux balance models have them
_TAKEN = {"recovered", "compartment", *_BOUNDS}
_SID = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_IN_NOTES = re.compile(r"(FORMULA|CHARGE)\s*:\s*([^<\s]+)", re.IGNORECASE)


def read_sbml(path: str | Path) -> Model:
    """The network in an SBML file. Raises BadInput: no SBML, damaged, without reactions, or a species unknown."""
    document = _document(path)
    model, remarks = document.getModel(), _Remarks()
    if breaches := _errors(document):
        first = " ".join((breaches[0].getShortMessage() or breaches[0].getMessage()).split())
        text = f"{len(breaches)} breaches of the rules of SBML, read all the same; the first, in line"
        remarks.add(f"{text} {breaches[0].getLine()}: {first}")
    if not model.getNumReactions():
        raise BadInput(path, "listOfReactions", "nothing", "at least one reaction")
    ruled = {rule.getVariable() for rule in model.getListOfRules() if rule.getVariable()}
    species = tuple(_species(each, ruled, remarks) for each in model.getListOfSpecies())
    known = {each.id for each in species}
    for key, listed in (("species", model.getListOfSpecies()), ("reaction", model.getListOfReactions())):
        if any(not each.getId() for each in listed):
            raise BadInput(path, key, "one without an id", "an id for each")
        twice = [id_ for id_, number in Counter(each.getId() for each in listed).items() if number > 1]
        if twice:
            raise BadInput(path, f"{key} {twice[0]}", "the same id again", "an id for each")
    reactions = tuple(_reaction(each, known, remarks, path) for each in model.getListOfReactions())
    _rest_of(model, remarks)
    return Model(species, reactions, remarks.lines())


def is_sbml(path: str | Path) -> bool:
    """By its name: .xml or .sbml, also compressed."""
    return Path(path).name.lower().removesuffix(".gz").endswith((".xml", ".sbml"))


def sbml_text(path: str | Path) -> str:
    """What an SBML file says, decompressed. Raises BadInput."""
    if not Path(path).is_file():
        raise BadInput(path, "file", "nothing", _ALLOWED)
    try:
        content = Path(path).read_bytes()
        return (gzip.decompress(content) if content[:2] == _GZIP else content).decode("utf-8-sig")
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error):
        raise BadInput(path, "file", "bytes that are no UTF-8 text, nor a whole gzip file", _ALLOWED) from None


def _document(path: str | Path) -> libsbml.SBMLDocument:
    document = libsbml.readSBMLFromString(sbml_text(path))
    for error in _errors(document):
        if error.getErrorId() < libsbml.XMLErrorCodesUpperBound or error.getSeverity() == libsbml.LIBSBML_SEV_FATAL:
            raise BadInput(path, f"line {error.getLine()}", error.getShortMessage() or error.getMessage(), _ALLOWED)
    if document.getModel() is None:
        raise BadInput(path, "model", "nothing", _ALLOWED)
    if document.getLevel() < 2:
        raise BadInput(path, "level", document.getLevel(), _ALLOWED)
    return document


def _errors(document: libsbml.SBMLDocument) -> list[libsbml.SBMLError]:
    """Those found in reading; warnings are none."""
    every = (document.getError(index) for index in range(document.getNumErrors()))
    return [error for error in every if error.getSeverity() >= libsbml.LIBSBML_SEV_ERROR]


class _Remarks:
    """What could not be taken, the ids gathered by kind."""

    def __init__(self) -> None:
        self._ids: dict[str, list[str]] = defaultdict(list)

    def add(self, text: str, of: str = "") -> None:
        self._ids[text] += [of] if of else []

    def lines(self) -> tuple[str, ...]:
        return tuple(f"{text}: {listing(ids)}" if ids else text for text, ids in self._ids.items())


def _species(species: libsbml.Species, ruled: set[str], remarks: _Remarks) -> Species:
    id_ = species.getId()
    held = species.getBoundaryCondition() or species.getConstant() or id_ in ruled
    if id_ in ruled:
        remarks.add("set by a rule, taken for held from outside", id_)
    elif held:
        remarks.add("boundary or constant species, left out of what reactions change", id_)
    if species.isSetConversionFactor():
        remarks.add("conversion factor of a species, not taken", id_)
    return Species(id_, species.getName() or id_, _amounts(species, remarks), not held)


def _amounts(species: libsbml.Species, remarks: _Remarks) -> dict[str, float] | None:
    """Elements and charge by the fbc package, else by the notes."""
    fbc = species.getPlugin("fbc")
    formula, charge = "", None
    if fbc is not None:
        formula = fbc.getChemicalFormula()
        charge = fbc.getCharge() if fbc.isSetCharge() else None
    if species.getLevel() == 2 and species.isSetCharge():
        charge = species.getCharge()
    for key, value in _IN_NOTES.findall(species.getNotesString() if species.isSetNotes() else ""):
        if key.upper() == "FORMULA":
            formula = formula or value
        elif charge is None and re.fullmatch(r"[-+]?\d+", value):
            charge = int(value)
    found = elements(formula)
    if found is None:
        if formula:
            remarks.add("formulas that say no amounts, not taken", f"{species.getId()} ({formula})")
        return None
    return found | {CHARGE: math.nan if charge is None else float(charge)}


def _reaction(reaction: libsbml.Reaction, known: set[str], remarks: _Remarks, path: str | Path) -> Reaction:
    id_ = reaction.getId()
    coefficients: dict[str, float] = defaultdict(float)
    sides = (reaction.getListOfReactants(), -1.0), (reaction.getListOfProducts(), 1.0)
    for references, sign in sides:
        for reference in references:
            species = _of_model(reference.getSpecies(), known, id_, path)
            coefficients[species] += sign * _coefficient(reference, id_, remarks, path)
    modifiers = {_of_model(each.getSpecies(), known, id_, path) for each in reaction.getListOfModifiers()}
    drives = {each.getSpecies() for each in reaction.getListOfReactants()} | modifiers
    if reaction.isSetFast() and reaction.getFast():
        remarks.add("fast reactions, taken as any other", id_)
    every = {species: coefficients.get(species, 0.0) for species in (*coefficients, *modifiers)}
    return Reaction(id_, every, frozenset(drives), reaction.getName() or id_, reversible=reaction.getReversible())


def _of_model(species: str, known: set[str], reaction: str, path: str | Path) -> str:
    if species not in known:
        raise BadInput(path, f"reaction {reaction}", f"species {species or '(none)'}", "a species of the model")
    return species


def _coefficient(reference: libsbml.SpeciesReference, reaction: str, remarks: _Remarks, path: str | Path) -> float:
    if reference.isSetStoichiometryMath() or (reference.isSetId() and not reference.getConstant()):
        remarks.add("coefficients that are computed, taken as their first value", reaction)
    value = reference.getStoichiometry()
    if math.isnan(value):  # level 3 has no default
        remarks.add("coefficients that are not given, taken as 1", reaction)
        return 1.0
    if not math.isfinite(value) or value < 0:
        raise BadInput(path, f"reaction {reaction}", f"coefficient {value:g}", "numbers >= 0 on each side")
    return value


def _rest_of(model: libsbml.Model, remarks: _Remarks) -> None:
    """What there is beside species and reactions."""
    for what, number in (
        ("events", model.getNumEvents()),
        ("rules", model.getNumRules()),
        ("constraints", model.getNumConstraints()),
        ("initial assignments", model.getNumInitialAssignments()),
    ):
        if number:
            remarks.add(f"{number} {what}, not taken (--simulate follows them)")
    volumes = {each.getId(): each.getSize() for each in model.getListOfCompartments() if each.isSetSize()}
    if len(set(volumes.values())) > 1:
        text = ", ".join(f"{id_} {size:g}" for id_, size in list(volumes.items())[:5])
        remarks.add(f"compartments of different volumes ({text}): coefficients are of amounts, not of concentrations")


# --- out --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recovered:
    """Columns to be written, with what is said of them.

    Attributes:
        space: the graph, and what its metabolites are made of.
        coefficient: (E,) of the answer.
        confidence: (E,) of its entries.
        no_column: (R,) probability that no column is right; NaN where it was not asked.
        alternatives: by reaction, the next best columns as equations.
    """

    space: ColumnSpace
    coefficient: np.ndarray
    confidence: np.ndarray
    no_column: np.ndarray
    alternatives: list[list[str]]


def sbml_of(recovered: Recovered) -> str:
    """SBML of level 3, with formulas and charges by fbc; confidence and alternatives as notes and annotation.

    A pair of opposite columns is one reversible reaction. Names that are no SBML ids are made so; the names stay.
    """
    namespaces = libsbml.SBMLNamespaces(3, 1)
    namespaces.addPackageNamespace("fbc", 2)
    document = libsbml.SBMLDocument(namespaces)
    document.setPackageRequired("fbc", False)
    model = document.createModel()
    model.setId("recovered")
    model.getPlugin("fbc").setStrict(True)
    compartment = model.createCompartment()
    compartment.setId("compartment")
    compartment.setConstant(True)
    compartment.setSize(1.0)
    compartment.setSpatialDimensions(3)
    for id_, value in _BOUNDS.items():
        parameter = model.createParameter()
        parameter.setId(id_)
        parameter.setValue(value)
        parameter.setConstant(True)
    species = _write_species(model, recovered.space)
    _write_reactions(model, recovered, species)
    return libsbml.writeSBMLToString(document)


def _write_species(model: libsbml.Model, space: ColumnSpace) -> list[str]:
    """The ids of the metabolites."""
    graph = space.graph
    names = [graph.metabolite_name(metabolite) for metabolite in range(graph.n_metabolites)]
    ids = _ids(names, "M")
    for place, id_ in enumerate(ids):
        species = model.createSpecies()
        species.setId(id_)
        species.setName(graph.metabolite_label(place))
        species.setCompartment("compartment")
        for set_false in (species.setHasOnlySubstanceUnits, species.setBoundaryCondition, species.setConstant):
            set_false(False)
        amounts = dict(zip(space.quantities, space.conserved[:, place].tolist()))
        formula, charge = (
            formula_of({name: value for name, value in amounts.items() if name != MASS}),
            amounts.get(CHARGE),
        )
        if formula is not None:
            species.getPlugin("fbc").setChemicalFormula(formula)
        if charge is not None and charge.is_integer():
            species.getPlugin("fbc").setCharge(int(charge))
    return ids


def _write_reactions(model: libsbml.Model, recovered: Recovered, species: list[str]) -> None:
    graph, coefficient = recovered.space.graph, recovered.coefficient
    merged = opposite_columns(recovered.space, recovered.coefficient)
    ids = _ids([graph.reaction_name(j) for j in range(graph.n_reactions)], "R")
    for j in (j for j in range(graph.n_reactions) if j not in merged):
        reaction = model.createReaction()
        reaction.setId(ids[j])
        reaction.setName(graph.reaction_label(j))
        reversible = j in merged.values()
        reaction.setReversible(reversible)
        reaction.setFast(False)
        reaction.getPlugin("fbc").setLowerFluxBound("lower_bound" if reversible else "zero_bound")
        reaction.getPlugin("fbc").setUpperFluxBound("upper_bound")
        for edge in range(*graph.edges_of(j).indices(graph.n_edges)):
            id_, value = species[graph.edge_metabolite[edge]], float(coefficient[edge])
            if value == 0:
                if recovered.space.catalyses[edge]:
                    reaction.createModifier().setSpecies(id_)
                continue
            reference = reaction.createReactant() if value < 0 else reaction.createProduct()
            reference.setSpecies(id_)
            reference.setStoichiometry(abs(value))
            reference.setConstant(True)
        _describe(reaction, recovered, j)
    # flux balance programs want to know what is maximised: the largest column, biomass where there is one
    objective = model.getPlugin("fbc").createObjective()
    objective.setId("largest_column")
    objective.setType("maximize")
    model.getPlugin("fbc").setActiveObjectiveId("largest_column")
    share = objective.createFluxObjective()
    share.setReaction(
        ids[max(set(range(graph.n_reactions)) - set(merged), key=np.diff(graph.reaction_ptr).__getitem__)]
    )
    share.setCoefficient(1.0)


def _describe(reaction: libsbml.Reaction, recovered: Recovered, j: int) -> None:
    """Confidence and alternatives, for people (notes) and programs (annotation)."""
    confidence = float(recovered.confidence[recovered.space.graph.edges_of(j)].min(initial=1.0))
    none_right = float(recovered.no_column[j])
    lines = [f"least confidence of a coefficient: {confidence:.4f}"]
    lines += [] if math.isnan(none_right) else [f"probability that no column is right: {none_right:.4f}"]
    lines += [f"alternative: {text}" for text in recovered.alternatives[j]]
    paragraphs = "".join(f"<p>{escape(line)}</p>" for line in lines)
    reaction.setNotes(f'<body xmlns="http://www.w3.org/1999/xhtml">{paragraphs}</body>')
    if not reaction.isSetMetaId():
        reaction.setMetaId(f"meta_{reaction.getId()}")
    none = "" if math.isnan(none_right) else f' noColumnProbability="{none_right:.6g}"'
    reaction.setAnnotation(f'<recovery xmlns="{_NAMESPACE}" confidence="{confidence:.6g}"{none}/>')


def _ids(names: list[str], letter: str) -> list[str]:
    """An SBML id for each name, the name itself where it is one."""
    found: dict[str, None] = {}
    for name in names:
        id_ = name if _SID.fullmatch(name) else letter + "_" + re.sub(r"\W", "_", name, flags=re.ASCII)
        while id_ in found or id_ in _TAKEN:
            id_ += "_"
        found[id_] = None
    return list(found)
