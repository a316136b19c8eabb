"""Every law a model can have, by the same questions; and the matrix of small networks by the law that holds."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.integrate import solve_ivp

from stoirec import cli
from stoirec.answer.recovery import recover
from stoirec.config.fit import FitConfig, GraphModel
from stoirec.config.regime import Kinetics, load_regime
from stoirec.data.data_file import network_dataset, with_trajectories
from stoirec.data.dataset import Data, read_data
from stoirec.files import netcdf
from stoirec.kinetics.laws import LAWS, rate_law
from stoirec.kinetics.mechanistic import HILL, LOG_HALF_SATURATION, ConvenienceKinetics, MassAction
from stoirec.kinetics.pde_m1 import EMBEDDINGS, REACTION_EMBEDDING
from stoirec.learn import recipe
from stoirec.learn.comparison import best_predicting, possible, starts, stuck
from stoirec.learn.fit_file import learned_model
from stoirec.learn.recipe import choose, load
from stoirec.learn.training import train
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import Graph, from_pairs
from stoirec.refine.alike import most_alike
from stoirec.score.matching import matched_reactions
from stoirec.simulate.trajectories import simulate
from stoirec.simulate.truth import read_truth, write_simulation

ROOT = Path(__file__).parents[2]

# A + B -> C, C -> A, -> B (a source), A + C -> B
GRAPH = from_pairs(3, 4, [0, 1, 2, 2, 0, 1, 0, 2, 1], [0, 0, 0, 1, 1, 2, 3, 3, 3], [1, 1, 0, 1, 0, 0, 1, 1, 0])
# A + B <-> C, B <-> A + C, the second backward first
BOTH_WAYS = replace(
    ColumnSpace.of_roles(from_pairs(3, 4, [0, 1, 2] * 4, np.repeat(range(4), 3), [1, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1])),
    reverse_of=np.array([-1, 0, 3, -1]),
)
# B drives the first reaction of the graph, and stays
CATALYSED = replace(ColumnSpace.of_roles(GRAPH), known=np.where(np.arange(9) == 1, 0.0, np.nan))
# rate law, column space
SPACES = {
    "both ways": ("convenience", BOTH_WAYS),
    "catalysed": ("pde_m1", CATALYSED),
    "catalysed mass action": ("mass_action", CATALYSED),
    "regulated": ("convenience", CATALYSED),
}
SHAPE = {"hidden_dim": 5, "output_size": 3}
GATED = [("pde_m1", False), ("pde_m1", True), *((name, False) for name in LAWS if name != "pde_m1")]
# (name, gate, embeddings)
KINDS = [
    *((*kind, {}) for kind in GATED),
    *((name, False, {}) for name in SPACES),
    ("catalysed", True, {}),
    ("pde_m1", True, {"embedding_dim": 2}),
    ("pde_m1_enzymes", True, {"embedding_dim": 1, "reaction_embedding_dim": 2}),
]


def law_of(name, gate, shape=SHAPE):
    """The law of that name on the graph above, or one of SPACES."""
    law, space = SPACES.get(name, (name, ColumnSpace.of_roles(GRAPH)))
    return rate_law(space, GraphModel(rate_law=law, substrate_gate=gate, **shape))


def law_and_parameters(name, rng, gate=False, embeddings=None):
    law = law_of(name, gate, SHAPE | (embeddings or {}))
    return law, {
        own: torch.as_tensor(rng.normal(size=law.shapes[own]) if own in (*EMBEDDINGS, HILL) else law.initial(own, rng))
        for own in law.shapes
    }


def states(law, rng):
    """Concentrations (frames, M), one of them where x = 1 for K = 1, and real sizes (S,)."""
    c = torch.as_tensor(np.vstack([rng.uniform(0.2, 9, (6, 3)), np.ones((1, 3))]))
    return c, torch.as_tensor(rng.uniform(0.6, 2.2, len(law.metabolite)))


@pytest.mark.parametrize(("name", "gate", "embeddings"), KINDS)
def test_derivatives_are_those_of_automatic_differentiation(name, gate, embeddings, rng):
    law, parameters = law_and_parameters(name, rng, gate, embeddings=embeddings)
    c, size = states(law, rng)
    if LOG_HALF_SATURATION in parameters:
        parameters[LOG_HALF_SATURATION][0] = 0.0  # x = 1 in a frame
    vector = law.pack(parameters)
    order, on_parameters, on_size = law.derivatives(parameters, c, size)
    by_vector, by_size = torch.autograd.functional.jacobian(
        lambda v, s: law.rates(law.unpack(v) if len(v) else {}, c, s), (vector, size)
    )
    assert torch.allclose(on_parameters.mT, by_vector[order], rtol=1e-6, atol=1e-10)
    own = torch.repeat_interleave(torch.arange(4), law.ptr.diff())
    edge = torch.arange(len(size))
    assert torch.allclose(on_size, by_size[own, :, edge], rtol=1e-6, atol=1e-10)
    by_size[own, :, edge] = 0  # no other reaction feels it
    assert not by_size.any()


class _Pulled(torch.autograd.Function):
    """Rates of a law, and the derivatives that it writes out, as automatic differentiation would take them."""

    @staticmethod
    def forward(ctx, law, *inputs):
        ctx.law = law
        ctx.save_for_backward(*inputs)
        return _linearised(law, *inputs)[0]

    @staticmethod
    def backward(ctx, on):
        on_parameters, on_c, on_size = _linearised(ctx.law, *ctx.saved_tensors)[1](on)
        return None, on_c, on_size, *on_parameters.values()


def _linearised(law, c, size, *parameters):
    return law.linearised(dict(zip(law.shapes, parameters)), c, size, by_concentration=True)


@pytest.mark.parametrize("n_layers", [2, 3, 4])
@pytest.mark.parametrize(("name", "gate", "embeddings"), KINDS)
def test_the_pullback_is_that_of_automatic_differentiation(name, gate, embeddings, n_layers, rng):
    shape = SHAPE | embeddings | {"n_layers": n_layers}
    law = law_of(name, gate, shape)
    parameters = [torch.as_tensor(rng.normal(size=each)).requires_grad_() for each in law.shapes.values()]
    inputs = [each.requires_grad_() for each in states(law, rng)] + parameters
    rates = law.rates(dict(zip(law.shapes, parameters)), *inputs[:2])
    on = torch.as_tensor(rng.normal(size=rates.shape))
    found = _Pulled.apply(law, *inputs)
    assert torch.allclose(found, rates, rtol=1e-12, atol=0)
    for one, other in zip(*(torch.autograd.grad(each, inputs, on) for each in (found, rates))):
        assert torch.allclose(one, other, rtol=0, atol=1e-10 * float(other.abs().max()))
    assert torch.autograd.gradcheck(lambda *own: _Pulled.apply(law, *own), inputs)
    with torch.no_grad():
        _, pullback = law.linearised(dict(zip(law.shapes, parameters)), *inputs[:2])
        assert not name.startswith("pde_m1") or pullback(on)[1] is None


def test_single_precision_pulls_back_the_same_to_rounding(rng):
    law, parameters = law_and_parameters("pde_m1", rng, True)
    found = []
    for dtype in (torch.float64, torch.float32):
        c, size = (each.to(dtype) for each in states(law, np.random.default_rng(1)))
        rates, pullback = law.linearised({name: each.to(dtype) for name, each in parameters.items()}, c, size)
        on_parameters, _, on_size = pullback(rates)
        found.append([*on_parameters.values(), on_size])
    for one, other in zip(*found):
        assert other.dtype == torch.float32 and torch.allclose(one, other.double(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["pde_m1", "pde_m1_enzymes"])
@pytest.mark.parametrize("gate", [False, True])
def test_several_fits_at_once_have_the_rates_of_each(gate, name, rng):
    fits = [law_and_parameters(name, rng, gate) for _ in range(3)]
    law, every = fits[0][0], [parameters for _, parameters in fits]
    c, size = (torch.stack(part) for part in zip(*(states(law, rng) for _ in fits)))
    found = law.rates({name: torch.stack([own[name] for own in every]) for name in law.shapes}, c, size)
    for one, own, *state in zip(found, every, c, size):
        assert torch.allclose(one, law.rates(own, *state), rtol=1e-12)


def own_edges(law, reaction):
    return range(int(law.ptr[reaction]), int(law.ptr[reaction + 1]))


@pytest.mark.parametrize(("name", "gate", "embeddings"), KINDS)
def test_the_rates_of_one_reaction_are_those_of_all(name, gate, embeddings, rng):
    law, parameters = law_and_parameters(name, rng, gate, embeddings=embeddings)
    c, _ = states(law, rng)
    sizes = torch.as_tensor(rng.integers(1, 4, (5, len(law.metabolite))).astype(float))
    whole = torch.stack([law.rates(parameters, c, size) for size in sizes])
    for j in range(4):
        own = list(own_edges(law, j))
        (found,) = law.rates_of(torch.tensor([j]), parameters, c, sizes[:, own])
        assert torch.allclose(found, whole[:, j], rtol=1e-12)
        both = [i for i in range(4) if law.ptr[i + 1] - law.ptr[i] == len(own)]
        together = law.rates_of(torch.tensor(both), parameters, c, sizes[:, own])
        assert torch.allclose(together[both.index(j)], found, rtol=1e-12)


@pytest.mark.parametrize(("name", "gate", "embeddings"), KINDS)
def test_rates_by_parameters_of_their_own_are_those_of_a_law_that_has_them(name, gate, embeddings, rng):
    law, parameters = law_and_parameters(name, rng, gate, embeddings=embeddings)
    reactions, (c, _) = torch.tensor([0, 3]), states(law, rng)  # of two substrates each
    sizes = torch.as_tensor(rng.uniform(0.6, 2.2, (5, 2)))
    own = law.own(reactions, 2, parameters)
    if own is None:
        assert name in ("pde_m1", "mass_action", "catalysed", "catalysed mass action")
        return
    found = law.rates_by_own(reactions, parameters, c, sizes, own[:, None].expand(-1, 5, -1))
    assert torch.allclose(found, law.rates_of(reactions, parameters, c, sizes), rtol=1e-12)
    (key,) = {LOG_HALF_SATURATION, REACTION_EMBEDDING} & set(law.shapes)
    vector = law.pack({**parameters, key: torch.arange(parameters[key].numel()) + 1000.0})
    is_own = law.own(reactions, 2, law.unpack(vector))
    assert len(is_own.unique()) == is_own.numel() and (is_own >= 1000).all()  # none is another's


def test_rates_are_made_alike_by_what_each_reaction_has_for_itself(rng):
    law, parameters = law_and_parameters("convenience", rng)
    c = torch.as_tensor(rng.uniform(0.2, 9, (40, 3)))
    reactions, own = torch.tensor([0, 3]), torch.as_tensor(rng.uniform(-0.3, 0.9, (2, 1, 2)))
    sizes = torch.tensor([[1.0, 1.0], [2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)

    def rates(of):
        return law.rates_by_own(reactions, parameters, c, sizes, of)

    for which in range(3):
        target = 7 * rates(own.expand(-1, 3, -1))[:, which, None]
        found = most_alike(rates, torch.full((2, 3, 2), 0.3, dtype=torch.float64), target)
        unlike = 1 - (found * target).sum(2) ** 2 / (found.square().sum(2) * target.square().sum(2))
        first = rates(torch.full((2, 3, 2), 0.3, dtype=torch.float64))
        assert torch.allclose(found.square().sum(2), first.square().sum(2))
        assert (unlike[:, which] < 1e-6).all()  # that size was it, with other constants
        assert (unlike[:, [other for other in range(3) if other != which]] > 1e-5).all()


def test_a_source_has_nothing_of_its_own_to_be_fitted():
    law = ConvenienceKinetics(GRAPH)
    parameters = {LOG_HALF_SATURATION: torch.zeros(5, dtype=torch.float64)}
    c, source, sizes = torch.ones(7, 3, dtype=torch.float64), torch.tensor([2]), torch.zeros(1, 0, dtype=torch.float64)
    own = law.own(source, 0, parameters)[:, None]
    rates = most_alike(lambda of: law.rates_by_own(source, parameters, c, sizes, of), own, torch.ones(1, 1, 7))
    assert torch.equal(rates, torch.ones(1, 1, 7, dtype=torch.float64))


def test_a_rate_of_nothing_is_like_nothing():
    rates = most_alike(lambda own: own * torch.zeros(5), torch.ones(2, 1), torch.ones(2, 5))
    assert torch.equal(rates, torch.zeros(2, 5))


@pytest.mark.parametrize(("name", "gate"), GATED)
def test_a_part_of_the_graph_has_the_same_rates(name, gate, rng):
    law, parameters = law_and_parameters(name, rng, gate)
    c, size = states(law, rng)
    kept = np.array([1, 2, 3, 4, 5, 7, 8])  # A drives neither the first nor the last any more
    part = law.part(kept)
    mine = torch.as_tensor(np.isin(GRAPH.substrate_edges, kept))
    assert part.pack(parameters).shape == law.pack(parameters).shape
    found = part.rates(parameters, c, size[mine])
    whole = law.rates(parameters, c, size)
    assert torch.allclose(found[1:3], whole[1:3], rtol=1e-12) and not torch.allclose(found[0], whole[0])
    order, on_parameters, _ = part.derivatives(parameters, c, size[mine])
    assert on_parameters.shape == (4, len(law.pack(parameters)), 7)
    by_vector = torch.autograd.functional.jacobian(
        lambda v: part.rates(part.unpack(v) if len(v) else {}, c, size[mine]), law.pack(parameters)
    )
    assert torch.allclose(on_parameters.mT, by_vector[order], rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize(("name", "gate"), GATED)
def test_another_unit_of_concentration_changes_rates_by_a_power_of_it(name, gate, rng):
    law, parameters = law_and_parameters(name, rng, gate)
    c, size = states(law, rng)
    rates = law.rates(parameters, c, size)
    other = law.rates(law.with_unit(parameters, 1000.0), 1000.0 * c, size)
    assert torch.allclose(other, rates * 1000.0 ** law.order(size)[:, None], rtol=1e-9)


def test_products_are_in_the_way_where_a_reaction_runs_both_ways(rng):
    law, parameters = law_and_parameters("both ways", rng)
    c, size = states(law, rng)
    size = size.round()
    constants = iter(10 ** parameters[LOG_HALF_SATURATION])
    x = [{i: c[:, i] / next(constants) for i in own} for own in ((0, 1), (2,), (1,), (0, 2))]  # of the substrates
    n = [dict(zip(own, part)) for own, part in zip(x, size.split([2, 1, 1, 2]))]
    for j, (back, rate) in enumerate(zip((1, 0, 3, 2), law.rates(parameters, c, size))):
        free = math.prod(sum(x[j][i] ** k for k in range(int(n[j][i]) + 1)) for i in x[j])
        products = math.prod(1 + x[back][i] for i in x[back])
        flux = math.prod(x[j][i] ** n[j][i] for i in x[j])
        assert torch.allclose(rate, flux / (free + products - 1), rtol=1e-12)
    kept = np.delete(np.arange(12), 0)  # without A in the first reaction: its rate has one factor less
    part = law.part(kept)
    alone = part.rates(parameters, c, size[1:])
    assert torch.allclose(alone[2:], law.rates(parameters, c, size)[2:], rtol=1e-12)
    assert not torch.allclose(alone[1], law.rates(parameters, c, size)[1])  # A is in its way no more
    twice = law.copies(2)
    both = twice.rates({LOG_HALF_SATURATION: parameters[LOG_HALF_SATURATION].repeat(2)}, c.repeat(1, 2), size.repeat(2))
    assert torch.allclose(both, law.rates(parameters, c, size).repeat(2, 1), rtol=1e-12)


def test_a_catalyst_is_felt_though_nothing_of_it_is_used_up(rng):
    for name, gate in (
        ("catalysed", True),
        ("catalysed", False),
        ("catalysed mass action", False),
        ("regulated", False),
    ):
        law, parameters = law_and_parameters(name, rng, gate)
        c, size = states(law, rng)
        size[1] = 0.0
        more = c.clone()
        more[:, 1] *= 3
        rate, other = law.rates(parameters, c, size), law.rates(parameters, more, size)
        assert not torch.isclose(rate[0], other[0]).any() and torch.equal(rate[1], other[1])
        if name == "catalysed mass action":
            assert torch.allclose(other[0], 3 * rate[0]) and law.order(size)[0] == size[0] + 1
        if name == "regulated":
            without = ConvenienceKinetics(GRAPH).rates(parameters, c, size)  # a size of 0 alone is silent
            x, h = c[:, 1] / 10 ** parameters[LOG_HALF_SATURATION][1], parameters[HILL]
            assert torch.allclose(rate[0], without[0] / (1 + x**h), rtol=1e-12)
            parameters[HILL] = torch.zeros(1, dtype=torch.float64)
            assert torch.allclose(law.rates(parameters, c, size)[0], without[0] / 2)


def test_a_constant_stays_where_concentrations_can_tell_it(rng):
    law, parameters = law_and_parameters("regulated", rng)
    c, _ = states(law, rng)
    vector = law.pack(parameters)
    assert torch.equal(law.within(vector, c), vector)
    far = law.part(np.array([0, 1, 2, 3, 4, 7, 8]))  # without one that drives the last reaction
    asked = torch.tensor([300.0, -300.0, 1.0, 1.0, 300.0, 2.0], dtype=torch.float64)
    held = far.within(asked, c * torch.tensor([1.0, 1.0, 0.0]))
    most = c.amax(0).log10().numpy()
    assert held.tolist() == pytest.approx([most[0] + 6, most[1] - 6, 1.0, 1.0, most[:2].max() + 6, 2.0])
    assert torch.equal(law_of("pde_m1", False).within(vector, c), vector)


def test_a_catalyst_that_does_nothing_starts_anew(rng):
    law, parameters = law_and_parameters("regulated", rng)
    c, _ = states(law, rng)
    middle = float(c[:, 1].log10().mean())
    for constant, hill, idle in ((-4.0, -2.0, True), (5.0, 1.0, True), (middle, 1.0, False), (-4.0, 1.0, False)):
        parameters[LOG_HALF_SATURATION][1], parameters[HILL][0] = constant, hill
        vector = law.pack(parameters)
        expected = dict(parameters) | {HILL: torch.zeros(1), LOG_HALF_SATURATION: vector[:5].clone()}
        expected[LOG_HALF_SATURATION][1] = middle
        assert torch.allclose(law.roused(vector, c), law.pack(expected) if idle else vector, rtol=1e-12)
    for name in ("both ways", "catalysed"):
        other, own = law_and_parameters(name, rng)
        assert torch.equal(other.roused(other.pack(own), c), other.pack(own))


@pytest.mark.parametrize("law", [MassAction(GRAPH), ConvenienceKinetics(GRAPH)])
def test_textbook_laws_silence_zeros_and_hold_at_any_concentration(law, rng):
    parameters = {name: torch.as_tensor(law.initial(name, rng)) for name in law.shapes}
    c = torch.as_tensor(np.array([[0.0, 1e-300, 1e300], [3.0, 0.0, 2.0]]))
    sizes = torch.tensor([0.0, 1.0, 2.0, 1.0, 0.0], dtype=torch.float64)
    rates = law.rates(parameters, c, sizes)
    assert (rates >= 0).all() and not rates.isnan().any()
    assert rates[0, 1] == pytest.approx(0.0, abs=1e-200)  # A silenced, no B
    assert (rates[2] == 1).all()  # a source


def test_an_unknown_sign_drives_as_far_as_it_consumes():
    coefficient, sign = torch.tensor([-2.0, 2.0, 2.0, -1.0]), torch.tensor([0, 0, 1, -1])
    assert MassAction(GRAPH).sizes(coefficient, sign).tolist() == [2, 0, 2, 1]
    assert rate_law(ColumnSpace.of_roles(GRAPH), GraphModel(**SHAPE)).sizes(coefficient, sign).tolist() == [2, 2, 2, 1]


# --- recovery ---------------------------------------------------------------------------------------------------------


def simulated(S, flux, initial, times):
    """Data on the exact graph of S (M, R), integrated from initial (runs, M), the last run for validation."""
    runs = [
        solve_ivp(lambda _, c: S @ flux(c), (0, times[-1]), c0, "LSODA", times, rtol=1e-9, atol=1e-11).y.T.clip(0)
        for c0 in initial
    ]
    concentration = np.array(runs)
    dcdt = np.array([[S @ flux(c) for c in run] for run in runs])
    role = np.zeros(len(runs), np.int8)
    role[-1] = 1
    metabolite, reaction = np.nonzero(S)
    graph = from_pairs(*S.shape, metabolite, reaction, S[metabolite, reaction] < 0)
    return Data(ColumnSpace.of_roles(graph), times, concentration, dcdt, role)


def all_candidates(data: Data, n_reactions: int) -> Data:
    """The same frames where every species is a candidate of every reaction, of unknown role; nothing is conserved."""
    n = data.concentration.shape[2]
    graph = Graph(
        n,
        n_reactions,
        np.tile(np.arange(n), n_reactions),
        np.repeat(np.arange(n_reactions), n),
        np.ones(n * n_reactions, bool),
    )
    space = ColumnSpace.of_roles(graph)
    return replace(data, space=replace(space, sign=np.zeros(graph.n_edges, np.int8), conserved=np.zeros((0, n))))


# 2A -> B, A -> C, C -> D, B + D -> E: Ji and Deng 2021, J. Phys. Chem. A 125, 1082, the first case
CRNN = np.array([[-2, -1, 0, 0], [1, 0, 0, -1], [0, 1, -1, 0], [0, 0, 1, -1], [0, 0, 0, 1]], float)
CRNN_K = np.array([0.1, 0.2, 0.13, 0.3])


@pytest.fixture(scope="module")
def crnn():
    rng = np.random.default_rng(0)
    initial = np.zeros((13, 5))
    initial[:, :2] = rng.uniform(0.2, 1.2, (13, 2))
    return simulated(
        CRNN, lambda c: CRNN_K * [c[0] ** 2, c[0], c[2], c[1] * c[3]], initial, np.linspace(0.0, 40.0, 100)
    )


def fitted(data: Data, law: str, **changed):
    recipe = load(choose(data)[0]).with_rate_law(law)
    return train(data, recipe.model_copy(update={"n_runs": data.n_training_runs, **changed}), torch.device("cpu"))


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_mass_action_with_every_species_a_candidate_comes_out_exactly(crnn, rng, noise):
    noisy = crnn.dcdt + noise * crnn.dcdt.std((0, 1)) * rng.normal(size=crnn.dcdt.shape)
    data = all_candidates(replace(crnn, dcdt=noisy), 4)
    assert choose(data)[0] == "decoys"
    found = recover(fitted(data, "mass_action"), "fit.nc")
    graph, true = data.graph, CRNN.T.ravel()
    got = graph.on_edges(found["stoichiometry"].values)
    order = matched_reactions(data.space, got, true)
    assert sorted(order) == [0, 1, 2, 3]
    assert np.array_equal(got.reshape(4, 5)[order], CRNN.T)
    assert found["confidence"].values.min() > 0.99


def test_mass_action_comes_out_of_noisy_concentrations_alone(crnn, rng, tmp_path):
    value = crnn.concentration * (1 + 0.02 * rng.normal(size=crnn.concentration.shape))
    network = network_dataset(crnn.space, "measured")
    measured = with_trajectories(network, crnn.time, np.maximum(value, 0.0), None, crnn.run_role)
    netcdf.write(tmp_path / "data.nc", measured)
    data = all_candidates(read_data(tmp_path / "data.nc"), 4)
    assert data.noise.all()
    found = recover(fitted(data, "mass_action"), "fit.nc")
    got = data.graph.on_edges(found["stoichiometry"].values)
    order = matched_reactions(data.space, got, CRNN.T.ravel())
    assert np.array_equal(got.reshape(4, 5)[order], CRNN.T)
    assert found["val_loss"] < 0.1


# S -> P1 -> P2 + P3, 2 P2 -> P4, P3 + P4 -> P5, P5 -> S, P1 -> P5
ENZYMES = np.array(
    [
        [-1, 0, 0, 0, 1, 0],
        [1, -1, 0, 0, 0, -1],
        [0, 1, -2, 0, 0, 0],
        [0, 1, 0, -1, 0, 0],
        [0, 0, 1, -1, 0, 0],
        [0, 0, 0, 1, -1, 1],
    ],
    float,
)
ENZYMES_V = np.array([0.8, 0.9, 0.5, 0.7, 0.6, 0.4])
ENZYMES_K = {(0, 0): 0.5, (1, 1): 2.0, (2, 2): 1.0, (3, 3): 0.3, (4, 3): 4.0, (5, 4): 1.5, (1, 5): 0.7}  # (species, j)


def enzyme_flux(c):
    flux = ENZYMES_V.copy()
    for (i, j), constant in ENZYMES_K.items():
        x, size = c[i] / constant, int(-ENZYMES[i, j])
        flux[j] *= x**size / sum(x**n for n in range(size + 1))
    return flux


@pytest.fixture(scope="module")
def enzymes():
    rng = np.random.default_rng(1)
    data = simulated(ENZYMES, enzyme_flux, rng.uniform(0.1, 5.0, (5, 6)), np.linspace(0.0, 30.0, 300))
    return replace(data, space=replace(data.space, conserved=np.zeros((0, 6))))


def test_michaelis_menten_is_exact_by_its_law_and_not_sure_of_what_is_wrong_by_another(enzymes):
    fits = {law: fitted(enzymes, law) for law in ("convenience", "mass_action")}
    true = enzymes.graph.on_edges(ENZYMES)
    for law, fit in fits.items():
        found = recover(fit, "fit.nc")
        right = enzymes.graph.on_edges(found["stoichiometry"].values) == true
        sure = found["confidence"].values > 0.99
        assert right[sure].all()
        assert law != "convenience" or (right.all() and sure.all())
    assert best_predicting(fits) == "convenience"


def test_enzymes_that_run_both_ways_come_out_exactly(tmp_path):
    data, truth = of_regime("enzymes_both_ways", {}, tmp_path / "data.nc")
    found = recover(fitted(data, "convenience", n_epochs=6), "fit.nc")
    assert np.array_equal(found["stoichiometry"].values, truth.stoichiometry)
    assert found["confidence"].values.min() > 0.99


def test_what_drives_without_a_change_is_part_of_the_rates(tmp_path):
    changed = {"kinetics": Kinetics(rate_law="mass_action"), "log_k": (-2.0, -1.0)}
    data, truth = of_regime("enzymes_regulated", changed, tmp_path / "data.nc")
    space = data.space
    assert space.catalyses.sum() == 4 and choose(data)[0] == "reversible"
    assert (space.sign[space.catalyses] == 0).all() and (space.opposite_edge >= 0).sum() == 18
    fit = fitted(data, "mass_action", n_epochs=3)
    assert (fit["coefficient"].values[space.catalyses] == 0).all() and fit["val_loss"] < 1e-6
    found = recover(fit, "fit.nc")
    assert np.array_equal(found["stoichiometry"].values, truth.stoichiometry)
    assert found["confidence"].values.min() > 0.99


def of_regime(name, changed, path):
    """Data of a regime of the project, fewer frames of it, and their truth."""
    regime = load_regime(ROOT / f"config/regimes/{name}.yaml").with_master_seed(1)
    regime = regime.model_copy(update={"n_frames": 300, "dt": 0.06, **changed})
    write_simulation(path, simulate(regime), regime)
    data = read_data(path)
    truth = read_truth(path, data.graph)
    # by the same enzymes
    assert truth.kinetics.derivative(truth.flux(data.concentration)) == pytest.approx(data.dcdt, rel=1e-9, abs=1e-12)
    return data, truth


def test_the_constants_are_those_of_the_truth_whatever_the_unit(enzymes):
    scaled = replace(enzymes, concentration=1000 * enzymes.concentration, dcdt=1000 * enzymes.dcdt)
    fit = fitted(scaled, "convenience")
    learned, graph = fit["learned_log_half_saturation"].values, enzymes.graph
    for place, edge in enumerate(graph.substrate_edges):
        constant = ENZYMES_K[int(graph.edge_metabolite[edge]), int(graph.edge_reaction[edge])]
        assert learned[place] == pytest.approx(math.log10(1000 * constant), abs=1e-3)
    assert 10 ** fit["log_k"].values == pytest.approx(1000 * ENZYMES_V, rel=1e-2)
    model = learned_model(fit, scaled)
    with torch.no_grad():
        predicted = model(torch.as_tensor(scaled.concentration[-1])).numpy()
    assert predicted == pytest.approx(scaled.dcdt[-1], abs=1e-3 * np.abs(scaled.dcdt).max())


def written_for_a_quick_fit(data, path, monkeypatch, n_epochs):
    frames = (data.time, data.concentration, data.dcdt, data.run_role)
    netcdf.write(path, with_trajectories(network_dataset(data.space, "a user's own"), *frames))
    monkeypatch.setattr(recipe, "load", lambda name: load(name).model_copy(update={"n_epochs": n_epochs}))


def test_recover_compares_the_laws_and_says_which_it_took(enzymes, tmp_path, caplog, monkeypatch):
    written_for_a_quick_fit(enzymes, tmp_path / "data.nc", monkeypatch, 3)
    caplog.set_level("INFO")
    cli.recover.recover(tmp_path / "data.nc", tmp_path / "answer.nc", rate_law="auto", device="cpu")
    assert "convenience, start 1, is taken: it predicts the validation runs best (val_loss: pde_m1 1: " in caplog.text
    with xr.open_dataset(tmp_path / "answer.nc") as answer:
        assert np.array_equal(answer["stoichiometry"].values, ENZYMES)
    assert "--rate-law auto" not in caplog.text
    for law in LAWS:
        with xr.open_dataset(tmp_path / f"answer.{law}.fit.nc") as fit:
            assert f'"rate_law":"{law}"' in fit.attrs["config"]


def test_recover_takes_the_best_of_several_starts(enzymes, tmp_path, caplog, monkeypatch):
    written_for_a_quick_fit(enzymes, tmp_path / "data.nc", monkeypatch, 1)
    caplog.set_level("INFO")
    cli.recover.recover(tmp_path / "data.nc", tmp_path / "answer.nc", rate_law="mass_action", starts=2, device="cpu")
    assert "--rate-law auto compares other rate laws with mass_action" in caplog.text
    losses, curves = [], []
    for seed, name in ((1, "answer.fit.nc"), (2, "answer.2.fit.nc")):
        with xr.open_dataset(tmp_path / name) as fit:
            assert f'"seed":{seed}' in fit.attrs["config"]
            losses.append(float(fit["val_loss"]))
            curves.append(fit["loss_prediction"].values)
    with xr.open_dataset(tmp_path / "answer.nc") as answer:
        assert float(answer["val_loss"]) in losses
    assert (
        not np.array_equal(*curves) and "mass_action, start " in caplog.text
    )  # batches differ; the end may be the same


def a_fit(seed=1, status="ok", **values):
    """A refined fit that ended well, but for what is said; its `val_loss` falls with the seed."""
    values = {"integer_residual": 1e-8, "free_residual": 1e-6, "sure": 1.0, "none": 0.5} | values
    values = {"val_loss": 0.1 / seed, "train_loss": 0.5} | values
    probability = {
        "column_probability": (("rank", "reaction"), [[values.pop("sure"), 0.5]]),
        "no_column_probability": ("reaction", [0.0, values.pop("none")]),
    }
    found = {name: ((), value) for name, value in values.items()} | probability
    return xr.Dataset(found, attrs={"status": status, "config": FitConfig().model_dump_json()})


def test_the_law_with_fewer_parameters_is_taken_where_both_predict_as_well():
    def fit(loss, n, left=1e-3):
        return a_fit(val_loss=loss, train_loss=left).assign(learned_a=("i", np.zeros(n)))

    assert best_predicting({"large": fit(1.0, 9), "small": fit(1.05, 2), "bad": fit(3.0, 0)}) == "small"
    assert best_predicting({"large": fit(1e-9, 9), "small": fit(1e-7, 2)}) == "small"  # both are exact
    assert best_predicting({"large": fit(1.0, 9), "diverged": fit(math.nan, 2, math.nan)}) == "large"
    assert best_predicting({"diverged": fit(math.nan, 2, math.nan)}) == "diverged"


@pytest.mark.parametrize(
    ("one", "other", "is_one"),
    [
        ((4.9, 0.011), (0.6, 0.057), True),  # by enzymes that differ, which few runs pin down, and by shared functions
        ((7.0, 1e-8), (0.8, 0.05), True),  # of one run
        ((7.0, 1e-8), (0.8, 0.005), False),
        ((0.8, 0.3), (0.7, 0.5), False),  # neither holds
    ],
)
def test_a_law_that_the_training_runs_contradict_is_not_taken(one, other, is_one):
    fits = [a_fit(val_loss=val_loss, train_loss=train_loss) for val_loss, train_loss in (one, other)]
    assert best_predicting(dict(zip((True, False), fits))) == is_one


@pytest.mark.parametrize(
    ("fit", "why"),
    [
        ({}, None),
        ({"sure": 0.98}, None),  # exact: what is unsure then is what the data do not tell
        ({"sure": 0.98, "integer_residual": 2e-6, "free_residual": 1e-6}, "no reaction is sure, and 2.0e-06"),
        ({"integer_residual": 2e-6, "free_residual": 1e-6}, None),  # noise, or one reaction of many
        ({"integer_residual": 4.1e-6, "none": 1.0}, None),  # what contradicts is known: a reaction has none of them
        ({"integer_residual": 4.1e-6}, "the columns leave 4.1e-06 of the variance, free ones 1.0e-06"),
        ({"val_loss": 1.0}, "val_loss 1.0e+00 is worse"),
        ({"val_loss": 1.0, "train_loss": 0.05, "integer_residual": 4.1e-6}, None),  # more runs would help, no start
        ({"status": "diverged", "val_loss": math.nan}, "diverged"),
    ],
)
def test_another_start_is_made_where_a_fit_is_stuck_and_there_alone(fit, why):
    found = stuck(a_fit(**fit))
    assert found is None if why is None else why in found


def test_starts_go_on_with_the_best_law_until_a_fit_is_not_stuck():
    def made(number, *good):
        fits = {}
        for law, seed in starts(["pde_m1", "convenience"], number, fits):
            law_is_worse = {"val_loss": 0.2} if law == "pde_m1" else {}
            fits[law, seed] = a_fit(seed, sure=1.0 if seed in good else 0.5, integer_residual=2e-6, **law_is_worse)
        return list(fits)

    both = [("pde_m1", 1), ("convenience", 1)]
    assert made(None, 1) == both
    assert made(None, 2) == [*both, ("convenience", 2)]
    assert made(None) == [*both, ("convenience", 2), ("convenience", 3)]
    assert made(1) == both
    assert sorted(made(2)) == sorted([*both, ("pde_m1", 2), ("convenience", 2)])


OTHERS = [(law, 1) for law in ("mass_action", "convenience", "pde_m1_enzymes")]


@pytest.mark.parametrize(
    ("train_loss", "val_loss", "holds", "then"),
    [
        (0.005, 0.1, None, [("pde_m1", 2), ("pde_m1", 3)]),
        (0.02, 0.1, "mass_action", OTHERS[:1]),
        (0.02, 1.5, "convenience", OTHERS[:2]),
        (0.02, 0.1, "pde_m1_enzymes", OTHERS),
        (0.02, 0.1, None, [*OTHERS, ("pde_m1", 2), ("pde_m1", 3)]),
        (0.005, 1.5, None, OTHERS[:2]),  # they hold on the training runs alone
        (0.005, 1.5, "convenience", OTHERS[:2]),
        (math.nan, 0.1, None, [("pde_m1", 2), ("pde_m1", 3)]),  # it diverged
    ],
)
def test_other_laws_are_tried_where_shared_functions_fail_on_the_runs_they_were_fitted_to(
    train_loss, val_loss, holds, then
):
    fits = {}
    for law, seed in starts(["pde_m1"], None, fits):
        own = {"train_loss": train_loss, "val_loss": val_loss} if law == "pde_m1" else {"val_loss": 2.0}
        own |= {"sure": 1.0, "val_loss": 1e-3, "train_loss": 1e-3} if law == holds else {"sure": 0.5}
        status = "diverged" if law == "pde_m1" and math.isnan(train_loss) else "ok"
        fits[law, seed] = a_fit(seed, status, integer_residual=2e-6, **own)
    assert set(fits) <= set(possible(["pde_m1"], None))
    assert list(fits) == [("pde_m1", 1), *then]
    asked_for = {}
    for start in starts(["convenience"], None, asked_for):
        asked_for[start] = a_fit(start[1], sure=0.5, integer_residual=2e-6)
    assert {law for law, _ in asked_for} == {"convenience"}


def test_only_reactions_of_one_question_are_matched():
    space = ColumnSpace.of_roles(from_pairs(3, 3, [0, 1, 0, 1, 0, 2], [0, 0, 1, 1, 2, 2], [1, 0, 1, 0, 1, 0]))
    true = np.array([-1.0, 1, -2, 2, -1, 1])
    swapped = np.array([-2.0, 2, -1, 1, -1, 1])
    assert matched_reactions(space, swapped, true).tolist() == [1, 0, 2]
    fixed = replace(space, known=np.array([-2.0, np.nan, np.nan, np.nan, np.nan, np.nan]))
    assert matched_reactions(fixed, swapped, true).tolist() == [0, 1, 2]
