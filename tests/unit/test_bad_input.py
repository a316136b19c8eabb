"""Bad input at the command line: exit code 2 and no output.

Its one line names the file, the key, what was found and what is allowed.
"""

import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

import netCDF4
import numpy as np
import pytest
import torch

from stoirec import cli
from stoirec.answer.recovery import recover
from stoirec.config.fit import FitConfig
from stoirec.files import netcdf
from stoirec.learn.training import train

FIT = {"n_runs": 2, "n_epochs": 1, "batch_size": 32, "data_augmentation_loop": 10, "n_snapshots": 2}


@pytest.fixture(scope="session")
def files(tiny_regime, tiny_path, tiny_data, tmp_path_factory) -> dict[str, bytes]:
    """Good files of every kind, as bytes to be spoilt."""
    folder = tmp_path_factory.mktemp("good")
    fit = train(tiny_data, FitConfig(**FIT), torch.device("cpu"))
    netcdf.write(folder / "fit.nc", fit)
    netcdf.write(folder / "recovery.nc", recover(netcdf.read(folder / "fit.nc"), "fit.nc"))
    return {
        "regime.yaml": tiny_regime.model_dump_json(indent=1).encode(),
        "fit.yaml": json.dumps(FIT).encode(),
        "data.nc": tiny_path.read_bytes(),
        "fit.nc": (folder / "fit.nc").read_bytes(),
        "recovery.nc": (folder / "recovery.nc").read_bytes(),
    }


@pytest.fixture
def stoirec(files, tmp_path, monkeypatch, capfd):
    """Run a command in a folder with good files: (exit code, lines on stderr)."""
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["stoirec", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, capfd.readouterr().err.splitlines()

    return run


COMMANDS = {
    "simulate": ["simulate", "regime.yaml", "-o", "out.nc"],
    "train": ["train", "data.nc", "--config", "fit.yaml", "-o", "out.nc"],
    "round": ["round", "fit.nc", "-o", "out.nc"],
    "score": ["score", "recovery.nc", "--truth", "data.nc", "--json"],
    "recover": ["recover", "data.nc", "-o", "out.nc"],
    "oracle": ["oracle", "data.nc", "--json"],
    "check": ["check", "data.nc", "--json"],
    "export": ["export", "recovery.nc", "-o", "S.csv"],
    "round_with_data": ["round", "fit.nc", "--data", "data.nc", "-o", "out.nc"],
}


def refusal(stoirec, command: str) -> str:
    """The one line of a command that is refused and leaves neither an output nor a temporary file."""
    before = {path.name for path in Path().iterdir()}
    code, lines = stoirec(*COMMANDS[command])
    assert code == 2 and len(lines) == 1, lines
    assert "error:" in lines[0]
    assert {path.name for path in Path().iterdir()} == before
    return lines[0]


def unnamed(line: str, *words: str) -> list[str]:
    """The words a line should have and has not."""
    return [word for word in words if word not in line]


def test_a_simulation_without_end_is_stopped(stoirec, monkeypatch):
    monkeypatch.setattr("stoirec.simulate.trajectories._MOST_EVALUATIONS", 1000)
    Path("regime.yaml").write_text(json.dumps(json.loads(Path("regime.yaml").read_text()) | {"dt": 1e10}))
    code, lines = stoirec(*COMMANDS["simulate"])
    assert code == 2 and not Path("out.nc").exists()
    assert lines[-1].startswith("error: regime.yaml: integration: found DOP853, at time "), lines


@pytest.mark.parametrize("error", [AttributeError, KeyError, RuntimeError, ValueError, OSError])
def test_what_the_library_cannot_open_is_named_whatever_it_raises(stoirec, monkeypatch, error):
    """An attribute that cannot be opened is an AttributeError of netCDF4."""
    monkeypatch.setattr(netcdf, "_opened", mock.Mock(side_effect=error("Can't open HDF5 attribute")))
    code, lines = stoirec(*COMMANDS["round"])
    assert code == 2 and len(lines) == 1 and lines[0].startswith("error: fit.nc: file: found "), lines


@pytest.mark.parametrize("command", ["simulate", "train", "round", "round_with_data", "score", "check", "export"])
def test_good_input_passes(stoirec, command):
    code, lines = stoirec(*COMMANDS[command])
    assert code == 0
    assert not any("error" in line for line in lines)


# --- configurations ---------------------------------------------------------------------------------------------------

CONFIGS = [
    # command, file, edit (dotted key: value), what the line names
    (
        "train",
        "fit.yaml",
        {"learning_rate_strat": 1e-3},
        ["learning_rate_strat", "unknown key", "did you mean learning_rate_start?"],
    ),
    ("train", "fit.yaml", {"graph_model": {"hiden_dim": 8}}, ["graph_model.hiden_dim", "unknown key", "hidden_dim"]),
    ("train", "fit.yaml", {"batch_size": "many"}, ["batch_size", "many", "integer"]),
    ("train", "fit.yaml", {"batch_size": 8.5}, ["batch_size", "8.5", "integer"]),
    (
        "train",
        "fit.yaml",
        {"refinement_rounds": 1, "role_prior": True, "graph_model": {"substrate_gate": True}},
        ["substrate_gate", "role_signs"],
    ),
    ("train", "fit.yaml", {"role_prior": 1}, ["role_prior", "1", "boolean"]),
    ("train", "fit.yaml", {"batch_size": 0}, ["batch_size", "0", "greater than or equal to 1"]),
    ("train", "fit.yaml", {"learning_rate_start": -1e-3}, ["learning_rate_start", "-0.001", "greater than 0"]),
    ("train", "fit.yaml", {"coeff_S_L1": float("inf")}, ["coeff_S_L1", "inf", "finite"]),
    ("train", "fit.yaml", {"optimiser": "adamm"}, ["optimiser", "adamm", "'adam'"]),
    ("train", "fit.yaml", {"seed": None}, ["seed", "None", "integer"]),
    ("train", "fit.yaml", {"n_epochs_init": 5}, ["n_epochs_init", "n_epochs"]),
    ("train", "fit.yaml", {"n_runs": 3}, ["data.nc", "n_runs", "3", "1..2"]),
    # a training configuration cannot touch the simulation
    ("train", "fit.yaml", {"dt": 0.5}, ["dt", "simulation parameter", "regime"]),
    ("train", "fit.yaml", {"n_frames": 10}, ["n_frames", "simulation parameter", "regime"]),
    ("train", "fit.yaml", {"flux_limiter": True}, ["flux_limiter", "simulation parameter", "regime"]),
    ("train", "fit.yaml", {"seeds": {"network": 5}}, ["seeds", "simulation parameter", "regime"]),
    ("simulate", "regime.yaml", {"n_reaction": 5}, ["n_reaction", "unknown key", "n_reactions"]),
    (
        "simulate",
        "regime.yaml",
        {"kinetics": {"initialisation": "monotonous"}},
        ["kinetics.initialisation", "monotonous", "'monotone'"],
    ),
    ("simulate", "regime.yaml", {"dt": 0}, ["dt", "0", "greater than 0"]),
    ("simulate", "regime.yaml", {"n_metabolites": "ten"}, ["n_metabolites", "ten", "integer"]),
    ("simulate", "regime.yaml", {"log_k": [-1.0, -3.0]}, ["log_k", "low"]),
    ("simulate", "regime.yaml", {"reaction_shapes": {"4-1": 1.0}}, ["reaction_shapes", "1-3"]),
    ("simulate", "regime.yaml", {"initial_concentration": [-1.0, 1.0]}, ["initial_concentration", "negative"]),
    ("simulate", "regime.yaml", {"n_metabolites": 2}, ["n_metabolites", "2 cannot hold a 2-1 reaction"]),
]


@pytest.mark.parametrize(
    ("command", "file", "edit", "named"), CONFIGS, ids=lambda value: ",".join(value) if isinstance(value, dict) else ""
)
def test_a_wrong_configuration(stoirec, command, file, edit, named):
    path = Path(file)
    path.write_text(json.dumps(json.loads(path.read_text()) | edit).replace("Infinity", ".inf"))
    assert not unnamed(refusal(stoirec, command), *({file, *named} if "data.nc" not in named else named))


BOMB = b"l0: &l0 [x, x]\n" + b"".join(
    b"l%d: &l%d [%s]\n" % (i, i, b", ".join([b"*l%d" % (i - 1)] * 9)) for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, ["file", "nothing", "existing YAML file"]),
        (b"n_epochs: [1", ["syntax", "YAML"]),
        (b"n_epochs: 1\nn_epochs: 2\n", ["n_epochs", "YAML"]),
        (b"- 1\n", ["list", "mapping"]),
        (b"\xff\xfe\x00", ["readable YAML"]),
        ("n_epochs: 2".encode("utf-16"), ["readable YAML"]),
        (b"! x", ["str", "mapping"]),
        (b"a: " + b"[" * 1000 + b"]" * 1000, ["levels"]),
        (b"a: " + b"[" * 60 + b"]" * 60, ["51 levels"]),
        (b"n_epochs: " + b"9" * 5000, ["syntax", "digits"]),
        (b"n_epochs: 0x" + b"f" * 6000, ["n_epochs", "24000 bits"]),
        (b"graph_model: {3: 4}", ["graph_model", "3", "names"]),
        (b"n_epochs: 2020-99-99", ["syntax", "month"]),
        (b"n_epochs: 2020-09-09", ["n_epochs", "2020", "integer"]),
        (b"n_epochs: !!int x", ["syntax", "cannot be read"]),
        (b"learning_rate_start: -.inf", ["learning_rate_start", "-inf", "finite"]),
        (b'optimiser: "\\0"', ["optimiser", "control characters"]),
        (b'"a\\e[31m": 1', ["x1b", "names"]),
        (b"graph_model:\n\thidden_dim: 3", ["syntax", "line 2"]),
        (b"a: &a [*a]", ["itself"]),
        (BOMB, ["aliases counted"]),
    ],
)
def test_a_file_that_is_no_configuration(stoirec, content, named):
    Path("fit.yaml").unlink() if content is None else Path("fit.yaml").write_bytes(content)
    assert not unnamed(refusal(stoirec, "train"), "fit.yaml", *named)


# --- NetCDF files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("train", "data.nc"),
        ("round", "fit.nc"),
        ("score", "recovery.nc"),
        ("score", "data.nc"),
        ("recover", "data.nc"),
        ("oracle", "data.nc"),
    ],
)
def test_a_missing_truncated_or_foreign_file(stoirec, command, file):
    content = Path(file).read_bytes()
    for spoilt in (content[: len(content) // 2], content[:10], b"", b"no NetCDF at all\n" * 100):
        Path(file).write_bytes(spoilt)
        assert not unnamed(refusal(stoirec, command), file, "netCDF-4")
    Path(file).unlink()
    assert not unnamed(refusal(stoirec, command), file, "nothing", "existing NetCDF file")


def spoil(variable: str, index: object, value: float) -> None:
    with netCDF4.Dataset("data.nc", "a") as data:
        data[variable][index] = value


@pytest.mark.parametrize("command", ["train", "recover", "score", "oracle"])
@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("concentration", -0.25, ["-0.25", "run 1, time 3, metabolite 2", ">= 0"]),
        ("concentration", np.nan, ["nan", "run 1, time 3, metabolite 2", "finite"]),
        ("dcdt", np.inf, ["inf", "run 1, time 3, metabolite 2", "finite"]),
    ],
)
def test_impossible_numbers(stoirec, command, variable, value, named):
    spoil(variable, (1, 3, 2), value)
    assert not unnamed(refusal(stoirec, command), "data.nc", variable, *named)


@pytest.mark.parametrize(
    ("variable", "index", "value", "named"),
    [
        ("edge_metabolite", 0, 10, ["graph"]),  # ten metabolites: 0..9
        ("edge_metabolite", 0, -1, ["graph"]),
        ("edge_reaction", 0, 5, ["graph", "sorted"]),
        ("edge_is_substrate", 0, 2, ["edge_is_substrate", "0 or 1"]),
        ("run_role", slice(None), 1, ["run_role", "training"]),
    ],
)
def test_a_graph_that_does_not_match_the_data(stoirec, variable, index, value, named):
    spoil(variable, index, value)
    assert not unnamed(refusal(stoirec, "train"), "data.nc", *named)


def test_data_larger_than_memory(stoirec):
    with netCDF4.Dataset("data.nc", "a") as data:  # chunks that are not written take no place
        for axis in "abc":
            data.createDimension(axis, 100_000)
        data.createVariable("more", "f8", ("a", "b", "c"), chunksizes=(1, 1, 100))
    assert not unnamed(refusal(stoirec, "recover"), "data.nc", "size", "GB", "memory")


@pytest.mark.parametrize("variable", ["concentration", "time", "edge_metabolite", "edge_reaction", "edge_is_substrate"])
def test_a_missing_variable(stoirec, variable):
    with netCDF4.Dataset("data.nc", "a") as data:
        data.renameVariable(variable, "other")
    assert not unnamed(refusal(stoirec, "train"), "data.nc", variable)


def attribute(name: str, value: object, variable: str = "", group: str = ""):
    """A change of a file: an attribute of a variable, a group or the file."""

    def change(path: str) -> None:
        with netCDF4.Dataset(path, "a") as content:
            held = content[group] if group else content
            (held[variable] if variable else held).setncattr(name, value)

    return change


def values(variable: str, new, group: str = "", dims: tuple[str, ...] | None = None):
    """A change of a file: other values of a variable, in other types or dimensions where they have them."""

    def change(path: str) -> None:
        with netCDF4.Dataset(path, "a") as content:
            held = content[group] if group else content
            found = held[variable][...].filled()
            changed, own = np.asarray(new(found)), held[variable].dimensions if dims is None else dims
            held.renameVariable(variable, "before")
            held.createVariable(variable, str if changed.dtype.kind == "U" else changed.dtype, own)[...] = changed

    return change


SPOILT = [
    # file, change, what the line names, commands that read it
    ("data.nc", attribute("scale_factor", "two", "dcdt"), ["dcdt: scale_factor: found two", "a number"], "train check"),
    ("data.nc", values("concentration", lambda c: c.astype(str).astype("U9")), ["concentration", "numbers"], "train"),
    (
        "data.nc",
        values("edge_metabolite", lambda e: e + 0.5),
        ["edge_metabolite[edge 0]", "4.5", "0..9"],
        "recover check",
    ),
    (
        "data.nc",
        values("run_role", lambda r: np.zeros((3, 200)), dims=("run", "time")),
        ["run_role: found dim"],
        "train oracle",
    ),
    ("data.nc", values("time", lambda t: t[::-1]), ["time[time 1]", "19.8", "rise"], "train recover score"),
    ("data.nc", values("time", lambda t: t * np.nan), ["time[time 0]", "nan (200 such values)"], "train check oracle"),
    ("data.nc", attribute("dt", "abc", group="truth"), ["truth/dt", "abc", "number"], "score oracle"),
    ("data.nc", attribute("network_seed", "abc", group="truth"), ["truth/network_seed", "abc"], "score oracle"),
    ("data.nc", attribute("config", "", group="truth"), ["truth/config", "a JSON object"], "score oracle"),
    ("data.nc", values("log_k", lambda k: k * np.nan, "truth"), ["truth/log_k[reaction 0]", "nan"], "score oracle"),
    ("fit.nc", values("log_k", lambda k: k * np.nan), ["log_k[reaction 0]", "nan", "finite"], "round"),
    ("fit.nc", values("val_loss", lambda loss: loss * np.nan), ["val_loss", "nan", "finite"], "round"),
    ("fit.nc", attribute("config", ""), ["config", "a JSON object"], "round"),
    ("fit.nc", attribute("config", '{"decoder": "auto", "seeds": 1}'), ["config: seeds", "1"], "round_with_data"),
    ("recovery.nc", attribute("status", "fine"), ["status", "'fine'", "ok or diverged"], "score export"),
    ("recovery.nc", values("confidence", lambda c: c + 2), ["confidence[edge 0]", "<= 1"], "score export"),
]


@pytest.mark.parametrize(
    ("command", "file", "change", "named"),
    [(command, file, change, named) for file, change, named, commands in SPOILT for command in commands.split()],
)
def test_a_spoilt_file_is_named_by_every_command_that_reads_it(stoirec, command, file, change, named):
    change(file)
    assert not unnamed(refusal(stoirec, command), f"{file}: ", *named)


@pytest.mark.parametrize("law", ["pde_m1", "pde_m1_enzymes", "mass_action", "convenience"])
def test_no_rate_depends_on_anything(stoirec, law):
    spoil("edge_is_substrate", slice(None), 0)
    more = {"graph_model": {"rate_law": law}, "refinement_rounds": 1, "role_prior": True}
    Path("fit.yaml").write_text(json.dumps(FIT | more))
    assert not unnamed(refusal(stoirec, "train"), "data.nc", "edge_is_substrate", "0 throughout")


def test_functions_of_another_size_are_named(stoirec):
    values("learned_rate_func_0_bias", lambda bias: 0.0, dims=())("fit.nc")
    assert not unnamed(refusal(stoirec, "round_with_data"), "fit.nc", "learned_rate_func_0_bias", "graph_model")


def test_no_score_without_a_truth(stoirec):
    with netCDF4.Dataset("data.nc", "a") as data:
        data.renameGroup("truth", "hidden")
    assert not unnamed(refusal(stoirec, "score"), "data.nc", "/truth")
    assert not unnamed(refusal(stoirec, "oracle"), "data.nc", "/truth")
    code, _ = stoirec(*COMMANDS["train"])  # a user's own data: training needs no truth
    assert code == 0


def test_no_score_against_another_network(stoirec):
    code, _ = stoirec("simulate", "regime.yaml", "--seed", "99", "-o", "data.nc")
    assert code == 0
    assert not unnamed(refusal(stoirec, "score"), "recovery.nc", "graph", "another network")


# --- the command line itself ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["trian"], ["trian", "train"]),
        (["train", "data.nc", "--config", "fit.yaml"], ["--output"]),
        (["train", "data.nc", "--config", "fit.yaml", "-o", "out.nc", "--device", "gpu"], ["--device", "gpu", "cpu"]),
        (["train", "data.nc", "--config", "fit.yaml", "-o", "out.nc", "--threads", "0"], ["--threads", "1"]),
        (["simulate", "regime.yaml", "--seed", "-1", "-o", "out.nc"], ["--seed", "0"]),
        (["simulate", "regime.yaml", "--sed", "1", "-o", "out.nc"], ["--sed", "--seed"]),
        (["simulate", "regime.yaml", "--seed", str(2**63), "-o", "out.nc"], ["--seed", str(2**63 - 1)]),
        (["recover", "data.nc", "--threads", str(2**31), "-o", "out.nc"], ["--threads", "1024"]),
        (["recover", "data.nc", "--starts", str(10**8), "-o", "out.nc"], ["--starts", "1000 "]),
        (["simulate", "regime.yaml", "-o", ""], ["-o", "''", "not empty"]),
        (["simulate", "", "-o", "out.nc"], ["argument", "''"]),
        (["train", "data.nc", "--config=", "-o", "out.nc"], ["--config", "''"]),
        (["simulate", "regime.yaml", "-o", "out\udcff.nc"], ["-o", "udcff", "UTF-8"]),
        (["simulate", "regime.yaml", "-o", "out\n.nc"], ["-o", "out", "control characters"]),
    ],
)
def test_a_wrong_command_line(stoirec, arguments, named):
    code, lines = stoirec(*arguments)
    assert code == 2 and len(lines) == 1 and all(word in lines[0] for word in named), lines
    assert not Path("out.nc").exists()


def test_the_installed_command_does_the_same(stoirec):
    shown = subprocess.run(
        [sys.executable, "-m", "stoirec", "round", "nowhere.nc", "-o", "out.nc"], capture_output=True, text=True
    )
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr == "error: nowhere.nc: file: found nothing; allowed: an existing NetCDF file\n"
