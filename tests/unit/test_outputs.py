"""What the command line writes: no file of a user's is lost, and what cannot be written is refused before any work."""

import errno
import json
import os
import resource
import stat
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import netCDF4
import pytest

from stoirec import cli
from stoirec.files import outputs
from stoirec.files.atomic import replacing
from stoirec.learn import checkpoint
from stoirec.report.present import rendered

FIT = {"n_runs": 2, "n_epochs": 1, "batch_size": 32, "data_augmentation_loop": 10, "n_snapshots": 2}
STUDY = {
    "name": "small",
    "regime": "regime.yaml",
    "network_seeds": [1],
    "select_by": "val_loss",
    "base": FIT,
    "results_dir": "store",
    "stages": [{"name": "first"}, {"name": "second", "grid": {"seed": [1, 2]}}, {"name": "third"}],
}
# by name: arguments, what the command reads, an output it had written before
COMMANDS = {
    "simulate": ("simulate regime.yaml -o OUT", ["regime.yaml"], "data.nc"),
    "import": ("import model.csv --species species.csv -o OUT", ["model.csv", "species.csv"], "network.nc"),
    "import --table": ("import model.csv --table runs.csv -o OUT", ["model.csv", "runs.csv"], "network.nc"),
    "import --template": ("import model.csv --template -o OUT", ["model.csv"], "template.csv"),
    "check": ("check data.nc -o OUT", ["data.nc"], "check.html"),
    "train": ("train data.nc --config fit.yaml -o OUT", ["data.nc", "fit.yaml"], "fit.nc"),
    "round": ("round fit.nc --data data.nc -o OUT", ["fit.nc", "data.nc"], "recovery.nc"),
    "recover": ("recover data.nc -o OUT", ["data.nc"], "recovery.nc"),
    "export sbml": ("export recovery.nc --format sbml -o OUT", ["recovery.nc"], "answer.xml"),
    "export matrix": ("export recovery.nc --format matrix -o OUT", ["recovery.nc"], "S.csv"),
    "export equations": ("export recovery.nc --format equations -o OUT", ["recovery.nc"], "answer.txt"),
    "choose": (
        "choose study.yaml --wave second --store store -o OUT",
        ["study.yaml", "store/waves/third.json"],
        "store/waves/second.json",
    ),
    "collect": ("collect study.yaml -o OUT --baselines new.csv", ["study.yaml"], "metrics.csv"),
    "collect --baselines": ("collect study.yaml -o new.csv --baselines OUT", ["study.yaml"], "metrics.csv"),
    "collect --costs": ("collect study.yaml -o new.csv --baselines b.csv --costs OUT", ["study.yaml"], "costs.csv"),
    "report": (
        "report study.yaml --notebooks notebooks --metrics metrics.csv --baselines baselines.csv -o OUT",
        ["study.yaml", "metrics.csv", "baselines.csv", "notebooks/1.ipynb"],
        "report.html",
    ),
}
CHEAP = ("simulate", "import", "import --template", "check", "train", "round", "export sbml", "export matrix")
CHEAP += ("export equations",)


def run(*arguments: str) -> int:
    with mock.patch.object(sys, "argv", ["stoirec", *arguments]), pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code or 0


def command(name: str, output: str) -> list[str]:
    return [output if argument == "OUT" else argument for argument in COMMANDS[name][0].split()]


@pytest.fixture(scope="module")
def good(tiny_regime, tmp_path_factory) -> Path:
    """A folder with all that the commands read, and with what most of them wrote."""
    folder = tmp_path_factory.mktemp("good")
    texts = {
        "regime.yaml": tiny_regime.model_dump_json(),
        "fit.yaml": json.dumps(FIT),
        "study.yaml": json.dumps(STUDY),
        "model.csv": "reaction,equation\nR1,A + B -> C\nR2,C -> A + B\n",
        "species.csv": "species,formula\nA,C\nB,H\nC,CH\n",
        "runs.csv": "run,time,A,B,C\n" + "".join(f"one,{time},{time},1,2\n" for time in range(9)),
        "metrics.csv": "fit_id,study,stage,method\n",
        "baselines.csv": "fit_id,study,stage,method\n",
        "costs.csv": "fit_id,n_steps,wall_time_s\n",
        "notebooks/1.ipynb": "{}",
        **{
            f"store/waves/{wave}.json": json.dumps({"wave": wave, "definition": "older", "fits": []}, indent=1)
            for wave in ("second", "third")
        },
        "report.html": "<!doctype html><title>small: recovery of the stoichiometric matrix</title>",
        "notes.txt": "What nobody may lose.\n",
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in CHEAP:
            assert run(*command(name, COMMANDS[name][2])) == 0, name
    return folder


@pytest.fixture
def here(good, tmp_path, monkeypatch) -> Path:
    for path in good.rglob("*"):
        if path.is_file():
            (tmp_path / path.relative_to(good)).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path.relative_to(good)).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def content(folder: Path) -> dict[str, tuple]:
    """All that is there: kind of file, permissions, where links point to, bytes."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None,
        )
        for path in folder.rglob("*")
    }


def refusal(capsys, folder: Path, *arguments: str) -> str:
    """The one line of a command that is refused, does no work and changes nothing."""
    before = content(folder)
    capsys.readouterr()
    code, shown = run(*arguments), capsys.readouterr()
    lines = shown.err.splitlines()
    assert code == 2 and len(lines) == 1 and shown.out == "", (lines, shown.out)
    assert lines[0].startswith("error: command line: ")
    assert content(folder) == before
    return lines[0]


def test_every_option_that_writes_is_tried():
    tried = {name.split(" --")[0].split()[0] for name in COMMANDS}
    writes = {
        each.name or each.callback.__name__
        for group in cli.app.registered_groups
        for each in group.typer_instance.registered_commands
        if "output" in each.callback.__annotations__
    }
    assert writes == tried


# --- what is refused --------------------------------------------------------------------------------------------------


def spelt_otherwise(name: str) -> str:
    Path("x").mkdir()
    return f"./x/../{name}"


def linked(name: str) -> str:
    Path("link").symlink_to(name)
    return "link"


def linked_twice(name: str) -> str:
    Path("link").symlink_to(Path(name).absolute())
    Path("second").symlink_to("link")
    return "second"


def hard_linked(name: str) -> str:
    os.link(name, "hard")
    return "hard"


@pytest.mark.parametrize("spelt", [str, os.path.abspath, spelt_otherwise, linked, linked_twice, hard_linked])
@pytest.mark.parametrize(("name", "read"), [(name, read) for name, (_, reads, _) in COMMANDS.items() for read in reads])
def test_no_command_writes_over_what_it_reads(here, capsys, name, read, spelt):
    output = spelt(read)
    line = refusal(capsys, here, *command(name, output))
    assert f"found {Path(output)}; allowed: another name: this is read by the command" in line


def no_file(make, name: str) -> str:
    make(name)
    return name


def below_a_link_that_points_to_itself() -> str:
    Path("loop").symlink_to("loop")
    return "loop"


UNWRITABLE = {
    "folder": (lambda: no_file(os.mkdir, "out.nc"), "is a folder"),
    "link to a folder": (lambda: linked("notebooks"), "is a folder"),
    "here": (lambda: ".", "found '.'; allowed: the name of a file"),
    "above": (lambda: "..", "is a folder"),
    "fifo": (lambda: no_file(os.mkfifo, "out.nc"), "is no regular file"),
    "device": (lambda: "/dev/null", "is no regular file"),
    "link to a device": (lambda: linked("/dev/null"), "is no regular file"),
    "empty": (lambda: "", "found ''; allowed: text in UTF-8 without control characters, and not empty"),
    "folder by its name": (lambda: "new/", "found 'new/'; allowed: the name of a file"),
    "in a file": (lambda: "notes.txt/out.nc", "cannot be written (Not a directory)"),
    "far below a file": (lambda: "notes.txt/folder/out.nc", "cannot be written (Not a directory)"),
    "where no folder can be made": (lambda: "/proc/none/out.nc", "cannot be written ("),
    "link to where no folder can be made": (lambda: linked("/proc/none/out.nc"), "cannot be written ("),
    "too long": (lambda: "x" * 253 + ".nc", "cannot be written (File name too long)"),
    "too long in a folder to be made": (lambda: "new/" + "x" * 253 + ".nc", "cannot be written (File name too long)"),
    "too deep": (lambda: "deep/" * 1000 + "out.nc", "cannot be written (File name too long)"),
    "link in a circle": (below_a_link_that_points_to_itself, "cannot be written (Too many levels of symbolic links)"),
    "another's file": (lambda: "notes.txt", "this is no "),
    "link to another's file": (lambda: linked("notes.txt"), "this is no "),
}


@pytest.mark.parametrize("kind", UNWRITABLE)
@pytest.mark.parametrize("name", COMMANDS)
def test_what_cannot_be_written_is_refused_at_once(here, capsys, name, kind):
    output, reason = UNWRITABLE[kind][0](), UNWRITABLE[kind][1]
    line = refusal(capsys, here, *command(name, output))
    assert reason in line and (output[:150] in line or len(output) > 150)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_replaces_what_another_wrote_or_what_is_protected(here, capsys, name):
    own = COMMANDS[name][2]
    # an imported file and a simulated one hold the same kind of thing, as metrics and baselines do
    kinds = {"data.nc": "network.nc", "baselines.csv": "metrics.csv"}
    others = {kinds.get(other, other) for _, _, other in COMMANDS.values()} - {kinds.get(own, own)}
    for other in others - set(COMMANDS[name][1]):
        assert f"found {other}; allowed: another name: this is no " in refusal(capsys, here, *command(name, other))
    Path(own).write_bytes((here / own).read_bytes())
    Path(own).chmod(0o444)
    assert f"found {own}; allowed: another name: this is write-protected" in refusal(capsys, here, *command(name, own))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_is_read_only(here, capsys, name, permissions_hold):
    os.mkdir("folder", mode=0o500)
    assert "cannot be written (Permission denied)" in refusal(capsys, here, *command(name, "folder/out.nc"))


@pytest.mark.parametrize(("name", "read"), [(name, read) for name in CHEAP for read in COMMANDS[name][1]])
def test_an_input_that_may_not_be_read(here, capsys, name, read, permissions_hold):
    Path(read).chmod(0)
    code, lines = run(*command(name, "new.nc")), capsys.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 1 and lines[0].startswith("error: "), lines
    assert Path(read).name in lines[0] and not Path("new.nc").exists()


@pytest.mark.parametrize("spelt", [str, spelt_otherwise, linked])
@pytest.mark.parametrize("last", ["--baselines", "--costs"])
def test_no_two_tables_have_one_name(here, capsys, last, spelt):
    """A link to a file that is not there yet points to it all the same."""
    names = {"--baselines": "b.csv", last: spelt("new.csv")}
    arguments = [part for pair in names.items() for part in pair]
    line = refusal(capsys, here, "collect", "study.yaml", "-o", "new.csv", *arguments)
    assert (
        f"{last}: found {Path(names[last])}; allowed: another name: this would be the table of metrics and the" in line
    )


@pytest.mark.parametrize(
    ("arguments", "there", "problem"),
    [
        (
            "train data.nc --config fit.yaml -o out.ckpt",
            None,
            "out.ckpt, beside it, would be the fit and the checkpoint",
        ),
        ("train data.ckpt --config fit.yaml -o data.nc", "data.ckpt", "data.ckpt, beside it, is read by the command"),
        ("recover data.nc -o out.nc", "out.fit.nc", "out.fit.nc, beside it, is no fit"),
        ("recover data.nc -o out.nc", "out.html", "out.html, beside it, is no page of an answer"),
        ("recover data.nc -o out.nc --starts 2", "out.2.fit.nc", "out.2.fit.nc, beside it, is no fit"),
        ("recover data.nc -o out.nc", "out.3.fit.nc", "out.3.fit.nc, beside it, is no fit"),
        ("recover out.html -o out.nc", "out.html", "out.html, beside it, is read by the command"),
        (f"recover data.nc -o {'x' * 250}.nc", None, ".fit.nc, beside it, cannot be written (File name too long)"),
    ],
)
def test_what_lies_beside_the_output_is_not_lost(here, capsys, arguments, there, problem):
    if there is not None:
        Path(there).write_text("What nobody may lose.")
    if there == "data.ckpt":
        Path("data.nc").unlink()
    assert problem in refusal(capsys, here, *arguments.split())


@pytest.mark.parametrize(
    ("species", "cell", "filled"), [("A", "run 2,3,,", "run 2,3,0.5,"), ("time", "run 2,3,time,,", "run 2,3,time,,0.5")]
)
def test_a_table_that_was_filled_in_is_no_template_any_more(here, capsys, species, cell, filled):
    Path("model.csv").write_text(f"reaction,equation\nR1,{species} -> B\n")
    for _ in range(2):
        assert run(*command("import --template", "table.csv")) == 0
    table = Path("table.csv")
    table.write_text(table.read_text().replace(cell, filled))
    assert filled in table.read_text()
    assert "this is no table without values" in refusal(capsys, here, *command("import --template", "table.csv"))


# --- what may be replaced ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHEAP)
def test_a_command_can_be_run_again(here, name):
    """Over its own output, over an empty file, and through a link: which stays one."""
    own = COMMANDS[name][2]
    Path(own).chmod(0o640)
    Path("empty.csv").touch()
    Path("link.csv").symlink_to("new/target.csv")
    old = os.umask(0o027)
    try:
        for output in (own, "empty.csv", "link.csv", "link.csv"):
            assert run(*command(name, output)) == 0
    finally:
        os.umask(old)
    assert stat.S_IMODE(Path(own).stat().st_mode) == 0o640
    assert stat.S_IMODE(Path("new/target.csv").stat().st_mode) == 0o640
    assert Path("link.csv").is_symlink() and Path("empty.csv").stat().st_size
    assert not list(here.rglob(".*"))


def test_tables_plans_and_reports_are_known_by_how_they_begin(finish_study, small_regime, here):
    """Those of a workflow, which takes too long here, are written by the same functions."""
    from stoirec.study import plans, tables
    from stoirec.study.expansion import expand
    from stoirec.study.store import Store

    study = {"name": "one", "regime": str(here / "small.yaml"), "network_seeds": [1], "base": FIT | {"n_runs": 1}}
    finish_study(here, study | {"stages": [{"name": "only", "grid": {"seed": [1]}}]}, {"small": small_regime})
    tables.costs_table(expand("study.yaml")[1], Store(here)).to_csv("costs.csv", index=False)
    plans.write_plan(Path("plan.json"), {"wave": "second", "fits": []})
    assert outputs.METRICS.wrote(Path("metrics.csv")) and outputs.METRICS.wrote(Path("baselines.csv"))
    assert outputs.COSTS.wrote(Path("costs.csv")) and outputs.PLAN.wrote(Path("plan.json"))
    Path("page.html").write_text(rendered("head.html", head_title="one: recovery of the stoichiometric matrix"))
    assert outputs.REPORT.wrote(Path("page.html")) and not outputs.ANSWER_PAGE.wrote(Path("page.html"))


def test_what_is_no_checkpoint_is_set_aside(here):
    content = b"years of work"
    Path("out.ckpt").write_bytes(content)
    assert run(*command("train", "out.nc")) == 0
    assert Path("out.ckpt.aside1").read_bytes() == content and not Path("out.ckpt").exists()


# --- a disk without room ----------------------------------------------------------------------------------------------


@contextmanager
def largest_file(size: int):
    """No file of this process can be larger [bytes]: the writes of all libraries fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("most", [10, 5000])
@pytest.mark.parametrize("name", CHEAP)
def test_a_full_disk_is_said_in_a_line_and_leaves_no_half_file(here, capsys, name, most, there):
    output = COMMANDS[name][2]
    size = min(most, (here / output).stat().st_size - 1)
    if not there:
        Path(output).unlink()
    before = content(here)
    with largest_file(size):
        code = run(*command(name, output))
    last = capsys.readouterr().err.splitlines()[-1]
    assert code == 2 and last.startswith(f"error: {output}: file: found File too large"), last
    assert content(here) == before


def test_a_full_disk_does_not_end_a_fit(here, capsys, caplog):
    """Where checkpoints have no room and the fit has: that is said once."""
    with mock.patch.object(checkpoint, "replacing", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        code = run(*command("train", "out.nc"), "--checkpoint-seconds", "0")
    assert code == 0 and netCDF4.Dataset("out.nc").title
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["out.ckpt: no checkpoint (No space left on device); the fit goes on without"]


@pytest.mark.parametrize("there", [False, True])
def test_what_fails_on_the_way_leaves_the_old_file(tmp_path, there):
    path = tmp_path / "file"
    if there:
        path.write_text("old")
    for error in (OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as raised, replacing(path) as temporary:
            temporary.write_text("half")
            raise error
        assert not isinstance(error, OSError) or raised.value.filename == str(path)
        assert [each.read_text() for each in tmp_path.iterdir()] == ["old"] * there


def test_two_processes_never_share_a_temporary_name_and_long_names_have_room(tmp_path):
    path = tmp_path / ("x" * 255)
    with replacing(path) as one, replacing(path) as other:
        assert one != other and os.getpid() not in (one, other)
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append(os.readlink(f"/proc/self/fd/{file}")), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda one, other: (done.append("renamed"), replace(one, other)))
    with replacing(tmp_path / "file") as temporary:
        temporary.write_text("new")
    assert done == [str(temporary), "renamed", str(tmp_path)]
