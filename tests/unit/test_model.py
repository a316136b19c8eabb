"""The graph neural network against the generator, finite differences and plain loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stoirec.config.fit import FitConfig
from stoirec.kinetics import segments as scatter
from stoirec.kinetics.limiter import FluxLimiter
from stoirec.learn.model import MetabolismPropagation
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import from_pairs
from stoirec.simulate.network import candidate_graph


def true_model(truth, graph, dt=None, **changes) -> MetabolismPropagation:
    """A model of the generator's architecture that holds the generator's parameters."""
    parameters = truth.kinetics.parameters
    hidden, out = len(parameters["substrate_func_0_bias"]), len(parameters["substrate_func_2_bias"])
    config = FitConfig(precision="float64", graph_model={"hidden_dim": hidden, "output_size": out, **changes})
    model = MetabolismPropagation(ColumnSpace.of_roles(graph), config, dt)
    with torch.no_grad():
        for name, values in parameters.items():
            model.rate_parameters[name].copy_(torch.as_tensor(values))
        model.log_k.copy_(torch.as_tensor(truth.log_k))
        model.sto_all.copy_(torch.as_tensor(graph.on_edges(truth.stoichiometry).astype(float)))
    return model


def test_true_parameters_reproduce_dcdt(tiny_data, tiny_truth):
    model = true_model(tiny_truth, tiny_data.graph)
    c = torch.as_tensor(tiny_data.concentration.reshape(-1, 10))
    predicted = model(c).detach().numpy()
    assert predicted == pytest.approx(tiny_data.dcdt.reshape(-1, 10), rel=1e-11, abs=1e-13)


def test_true_parameters_reproduce_dcdt_in_single_precision(tiny_data, tiny_truth):
    model = true_model(tiny_truth, tiny_data.graph).float()
    predicted = model(torch.as_tensor(tiny_data.concentration[0], dtype=torch.float32)).detach().numpy()
    scale = np.abs(tiny_data.dcdt[0]).max()
    assert np.abs(predicted - tiny_data.dcdt[0]).max() < 1e-5 * scale


def test_a_zero_coefficient_silences_a_decoy_through_the_gate(tiny_data, tiny_truth):
    graph, is_true = candidate_graph(tiny_truth.stoichiometry, 1.0, seed=3)
    c = torch.as_tensor(tiny_data.concentration[0])
    expected = torch.as_tensor(tiny_data.dcdt[0])
    gated, ungated = (true_model(tiny_truth, graph, substrate_gate=gate)(c) for gate in (True, False))
    assert not is_true.all()
    assert torch.allclose(gated, expected, rtol=1e-11, atol=1e-13)
    assert not torch.allclose(ungated, expected, rtol=1e-3)


@pytest.mark.parametrize("decoys", [0.0, 0.5])
def test_the_limiter_is_the_generators(tiny_data, tiny_truth, decoys):
    graph, _ = candidate_graph(tiny_truth.stoichiometry, decoys, seed=3)
    model = true_model(tiny_truth, graph, 20.0, flux_limiter=True, substrate_gate=True)
    c = np.concatenate([tiny_data.concentration[0], np.where(np.arange(10) == 4, 0.0, tiny_data.concentration[0, :5])])
    expected = replace(tiny_truth.kinetics, dt=20.0).flux(c)
    assert 0.1 < (expected < tiny_truth.kinetics.flux(c)).mean() < 0.9
    assert model.flux(torch.as_tensor(c)).detach().numpy() == pytest.approx(expected.T, rel=1e-11, abs=1e-13)


def test_a_reaction_nothing_of_which_is_consumed_is_not_limited(tiny_data):
    limiter = FluxLimiter(tiny_data.graph, 1.0)
    share, limiting = limiter(torch.ones(16, 3), torch.zeros(len(tiny_data.graph.substrate_edges)), torch.zeros(3, 10))
    assert (share == 1).all() and (limiting == 10).all()


@pytest.mark.parametrize("limiter", [False, True])
def test_gradients_against_finite_differences(tiny_data, rng, limiter):
    config = FitConfig(
        precision="float64",
        graph_model={
            "hidden_dim": 5,
            "output_size": 3,
            "embedding_dim": 2,
            "substrate_gate": True,
            "flux_limiter": limiter,
            "n_layers": 4,
        },
    )
    model = MetabolismPropagation(tiny_data.space, config, 20.0)
    c = torch.as_tensor(tiny_data.concentration[0, ::40])
    weight = torch.as_tensor(rng.normal(size=(len(c), 10)))

    def loss() -> torch.Tensor:
        return (weight * model(c)).sum()

    loss().backward()
    for name, parameter in model.named_parameters():
        direction = torch.as_tensor(rng.normal(size=parameter.shape))
        step = 1e-6
        with torch.no_grad():
            parameter += step * direction
            up = loss()
            parameter -= 2 * step * direction
            down = loss()
            parameter += step * direction
        assert float((parameter.grad * direction).sum()) == pytest.approx(
            float((up - down) / (2 * step)), rel=2e-6, abs=1e-8
        ), name


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("change", [{}, {"substrate_gate": True, "embedding_dim": 2}, {"flux_limiter": True}])
@pytest.mark.parametrize("law", ["pde_m1", "mass_action"])
def test_the_pullback_is_that_of_automatic_differentiation(tiny_data, rng, law, change, both_ways):
    space = tiny_data.space
    if both_ways:  # the reaction with the columns of another, backward
        graph = space.graph
        own = np.arange(graph.n_edges)[graph.edges_of(0)]
        pairs = [np.r_[graph.edge_metabolite, graph.edge_metabolite[own]], np.r_[graph.edge_reaction, [16] * len(own)]]
        is_substrate = np.r_[graph.edge_is_substrate, ~graph.edge_is_substrate[own]]
        graph = from_pairs(graph.n_metabolites, 17, *pairs, is_substrate)
        space = replace(ColumnSpace.of_roles(graph), reverse_of=np.r_[[-1] * 16, 0])
    model = MetabolismPropagation(space, FitConfig(precision="float64", graph_model={"rate_law": law, **change}), 20.0)
    assert model.turns == both_ways
    c = torch.as_tensor(tiny_data.concentration[0, ::40]).requires_grad_()
    on, on_coefficient = (torch.as_tensor(rng.normal(size=shape)) for shape in (c.shape, model.sto_all.shape))
    names, parameters = zip(*model.named_parameters())
    predicted = model(c)
    expected = torch.autograd.grad((predicted, model.coefficient), [c, *parameters], (on, on_coefficient))
    with torch.no_grad():
        found, pullback = model.linearised(c, by_concentration=True)
        by_name, on_c = pullback(on, on_coefficient)
    assert torch.allclose(found, predicted, rtol=1e-12, atol=1e-14) and by_name.keys() == set(names)
    for one, other in zip([on_c, *(by_name[name] for name in names)], expected):
        assert torch.allclose(one, other, rtol=0, atol=1e-10 * float(other.abs().max()))


def test_batch_is_the_frames_one_by_one(tiny_data):
    model = MetabolismPropagation(tiny_data.space, FitConfig(precision="float64"))
    c = torch.as_tensor(tiny_data.concentration[0, :7])
    assert torch.allclose(model(c), torch.cat([model(frame[None]) for frame in c]), rtol=1e-12, atol=1e-14)


def test_buffers_and_initialisation(tiny_data):
    graph = tiny_data.graph
    model = MetabolismPropagation(ColumnSpace.of_roles(graph), FitConfig(role_prior=True))
    metabolite = torch.as_tensor(graph.edge_metabolite)
    assert torch.equal(metabolite[model.substrates], model.law.metabolite)
    assert torch.equal(model.law.ptr.diff(), torch.as_tensor(np.bincount(graph.edge_reaction, graph.edge_is_substrate)))
    assert (metabolite[model.by_metabolite].diff() >= 0).all()
    assert np.array_equal(np.sign(model.sto_all.detach().numpy()) < 0, graph.edge_is_substrate)
    free = MetabolismPropagation(ColumnSpace.of_roles(graph), FitConfig(role_prior=False)).sto_all.detach().numpy()
    assert (free[graph.edge_is_substrate] > 0).any() and (free[~graph.edge_is_substrate] < 0).any()


def test_initial_values_without_role_prior_do_not_depend_on_product_roles(tiny_data):
    """Which edges send messages is the graph; whether an edge is a product must not leak into sto_all."""
    graph = tiny_data.graph
    other = from_pairs(
        graph.n_metabolites, graph.n_reactions, graph.edge_metabolite, graph.edge_reaction, ~graph.edge_is_substrate
    )
    one, two = (MetabolismPropagation(ColumnSpace.of_roles(g), FitConfig(seed=4)).sto_all for g in (graph, other))
    assert torch.equal(one, two)


@pytest.mark.parametrize("n_layers, n_linear", [(2, 1), (3, 2), (5, 4)])
def test_n_layers_counts_layers_of_units(tiny_data, n_layers, n_linear):
    shapes = MetabolismPropagation(tiny_data.space, FitConfig(graph_model={"n_layers": n_layers})).law.shapes
    weights = [shape for name, shape in shapes.items() if name.startswith("substrate_func") and name.endswith("weight")]
    assert len(weights) == n_linear
    assert weights[0][1] == 2 and weights[-1][0] == 16


# --- the door to torch-scatter ----------------------------------------------------------------------------------------


def test_segment_sums_against_a_loop(rng):
    sizes = [3, 0, 1, 4]
    ptr = torch.tensor([0, *np.cumsum(sizes)])
    values = torch.as_tensor(rng.normal(size=(2, 8, 3)))
    expected = torch.stack([values[:, ptr[j] : ptr[j + 1]].sum(1) for j in range(4)], dim=1)
    assert torch.allclose(scatter.segment_sum(values, ptr), expected)
    assert torch.allclose(scatter.segment_sum(values[1], ptr), expected[1])
    index, weight = torch.as_tensor(rng.integers(0, 5, 8)), torch.as_tensor(rng.normal(size=8))
    rows = torch.as_tensor(rng.normal(size=(5, 3)))
    pointed = weight[:, None] * rows[index]
    expected = torch.stack([pointed[ptr[j] : ptr[j + 1]].sum(0) for j in range(4)])
    assert torch.allclose(scatter.pointed_sum(rows, index, ptr, weight), expected)
    expected = torch.stack([rows[index][ptr[j] : ptr[j + 1]].sum(0) for j in range(4)])
    assert torch.allclose(scatter.pointed_sum(rows, index, ptr), expected)


def test_the_fallback_agrees_with_torch_scatter_in_values_and_gradients(rng):
    """What runs on a GPU when torch-scatter was built without CUDA."""
    ptr = torch.tensor([0, 3, 3, 4, 8])
    results = []
    for total in (scatter.segment_sum, scatter.native_segment_sum):
        values = torch.as_tensor(np.random.default_rng(1).normal(size=(2, 8, 3))).requires_grad_()
        out = total(values, ptr).sin()
        out.square().sum().backward()
        results.append((out.detach(), values.grad))
    assert torch.allclose(results[0][0], results[1][0]) and torch.allclose(results[0][1], results[1][1])
