"""The learner's random streams are never the generator's, whatever the seeds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoirec.config.fit import FitConfig
from stoirec.learn.model import MetabolismPropagation
from stoirec.network.columns import ColumnSpace
from stoirec.simulate.kinetics import random_kinetics
from stoirec.simulate.network import candidate_graph, random_stoichiometry
from stoirec.streams import MAX_SEED, derived_seed, generator_stream, learner_stream

seeds = st.integers(0, MAX_SEED)
names = st.sampled_from(["network", "mlps", "initial weights", "batches"])


@given(seeds, seeds, names, names)
def test_no_seed_makes_learner_and_generator_equal(generator_seed, learner_seed, generator_name, learner_name):
    generator, learner = generator_stream(generator_name, generator_seed), learner_stream(learner_name, learner_seed)
    words = [rng.bit_generator.seed_seq.generate_state(4).tolist() for rng in (generator, learner)]
    assert words[0] != words[1]
    # and for the reason given: what is hashed differs in the domain word, which no seed can reach
    keys = [rng.bit_generator.seed_seq.spawn_key for rng in (generator, learner)]
    assert keys[0][0] != keys[1][0]
    assert generator.random(4).tolist() != learner.random(4).tolist()


@given(seeds)
def test_a_seed_fills_at_most_two_of_the_four_words_before_the_key(seed):
    # SeedSequence pads the entropy to four words before the spawn key only if it is that short
    assert seed < 2**64
    assert np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(1) != np.random.SeedSequence(
        seed
    ).generate_state(1)


@pytest.mark.parametrize("seed", [0, 1, 7, 12345])
def test_equal_seeds_give_the_learner_other_mlps_than_the_generator(tiny_regime, seed):
    same = tiny_regime.model_copy(
        update={
            "seeds": tiny_regime.seeds.model_copy(update={"mlps": seed}),
            "kinetics": tiny_regime.kinetics.model_copy(update={"initialisation": "default"}),
        }
    )
    stoichiometry = random_stoichiometry(same)
    kinetics = random_kinetics(same, stoichiometry)
    graph, _ = candidate_graph(stoichiometry, 0.0, 1)
    config = FitConfig(seed=seed, precision="float64", graph_model={"hidden_dim": 12, "output_size": 6})
    model = MetabolismPropagation(ColumnSpace.of_roles(graph), config)
    learned, true = model.rate_parameters["substrate_func_0_weight"], kinetics.parameters["substrate_func_0_weight"]
    assert learned.shape == true.shape
    assert not np.isin(learned.detach().numpy(), true).any()


def test_parts_of_a_regime_get_separate_seeds(tiny_regime):
    derived = tiny_regime.with_master_seed(5).seeds
    assert len({value for _, value in derived}) == 4
    assert derived.network == derived_seed("network", 5) != derived_seed("network", 6)


def test_a_seed_outside_the_range_is_refused():
    with pytest.raises(ValueError, match="outside"):
        learner_stream("batches", MAX_SEED + 1)
