"""What conservation alone says of columns, against all of them listed."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoirec import cli
from stoirec.data.data_file import network_dataset
from stoirec.files import netcdf
from stoirec.network.balance import FREE, KNOWN, LENGTH, NONE, ONE, SOME, balances
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import from_pairs


def space_of(amounts, sign, known, bound=3):
    """One reaction of all metabolites; amounts (quantities, n)."""
    n = len(sign)
    graph = from_pairs(n, 1, range(n), [0] * n, np.array(sign) < 0)
    return replace(
        ColumnSpace.of_roles(graph, bound),
        known=np.array(known, float),
        conserved=np.array(amounts, float).reshape(-1, n),
    )


@st.composite
def spaces(draw):
    n = draw(st.integers(2, 4))
    amounts = draw(st.lists(st.lists(st.integers(0, 3), min_size=n, max_size=n), min_size=0, max_size=3))
    sign = draw(st.lists(st.sampled_from([-1, 1]), min_size=n, max_size=n))
    known = [s * draw(st.integers(1, 2)) if draw(st.integers(0, 3)) == 0 else np.nan for s in sign]
    return space_of(amounts, sign, known)


@given(spaces())
@settings(max_examples=300, deadline=None)
def test_what_is_said_holds_for_every_column_there_is(space):
    found, listed = balances(space)[0], space.columns(0)
    if found.says == NONE:
        assert not len(listed)
    elif found.says == ONE:
        assert (listed == found.column).all() and len(listed) == 1
    elif found.says == LENGTH:  # each is a multiple of the smallest
        assert len(listed)
        ratio = listed / found.column
        assert np.allclose(ratio, ratio[:, :1]) and (ratio >= 1 - 1e-9).all()
    elif found.says == KNOWN:
        assert not np.isnan(space.known).any()
    elif found.says == FREE:
        assert not space.amounts[:, np.isnan(space.known)].any() or not space.amounts.any()
    else:
        assert found.says == SOME and found.n_free >= 1


@pytest.mark.parametrize(
    ("amounts", "known", "says", "column"),
    [
        ([[1, 2]], [np.nan, np.nan], LENGTH, [-2, 1]),  # 2 A -> A2
        ([[1, 2]], [-2, np.nan], ONE, [-2, 1]),
        ([[1, 2]], [-1, np.nan], NONE, None),  # half a molecule
        ([[1, 0], [0, 1]], [np.nan, np.nan], NONE, None),
        ([[1, 7]], [np.nan, np.nan], NONE, None),  # beyond the bound
        ([], [np.nan, np.nan], FREE, None),
        ([[1, 2]], [-2, 1], KNOWN, [-2, 1]),
    ],
)
def test_small_cases(amounts, known, says, column):
    found = balances(space_of(amounts, [-1, 1], known))[0]
    assert found.says == says and (found.column is None if column is None else found.column.tolist() == column)


def test_check_says_it_of_a_file(tmp_path, monkeypatch, capsys):
    space = space_of([[1, 1, 2], [1, 0, 1]], [-1, -1, 1], [np.nan] * 3)
    netcdf.write(tmp_path / "network.nc", network_dataset(space, "a network"))
    for options in ([], ["--json"]):
        monkeypatch.setattr("sys.argv", ["stoirec", "check", str(tmp_path / "network.nc"), *options])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        text = capsys.readouterr().out
        if options:
            column = {"says": "length", "n_free": 1, "column": {"M0": -1, "M1": -1, "M2": 1}}
            assert json.loads(text) == {"columns": {"R0": column}, "time_courses": None}
        else:
            assert text.splitlines()[1:] == ["     1 one balanced column but for its length"]
