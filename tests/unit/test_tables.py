"""Tables of time courses, beside a model: wide and long, with units, errors, gaps and limits of detection."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stoirec import cli
from stoirec.data.dataset import TRAINING, VALIDATION, read_data
from stoirec.data.overview import MOVING, STILL, by_metabolite
from stoirec.data.tables import filled, read_tables
from stoirec.errors import BadInput
from stoirec.files import netcdf

WIDE = "time [min],A [mM],B [mM]\n0,1,0.5\n1,0.8,\n2,0.7,0.9\n"


def table(folder: Path, text: str, name: str = "runs.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def courses(path: Path) -> dict[str, dict[str, dict[float, list[float]]]]:
    return {run.name: run.values for run in read_tables([path]).runs}


@pytest.mark.parametrize(
    "text, name",
    [
        (WIDE, "runs.csv"),
        (WIDE.replace(",", "\t"), "runs.tsv"),
        ("\ufeff# a remark\n" + WIDE, "runs.csv"),
        (WIDE.replace(",", ";").replace(".", ","), "runs.csv"),
        ("species,0,1,2\nA,1,0.8,0.7\nB,0.5,NA,0.9\n", "runs.csv"),
        (",0,1,2\nA,1,0.8,0.7\nB,0.5,-,0.9\n", "runs.csv"),
        (WIDE.replace(",", "\t").replace(".", ","), "runs.csv"),
        ("Experiment 12\n\n" + WIDE, "runs.csv"),
        ("Experiment 12, of 3 March\nby me\n" + WIDE, "runs.csv"),
        ("time,species,value\n0,A,1\n0,B,0.5\n1,A,0.8\n2,A,0.7\n2,B,0.9\n", "runs.csv"),
    ],
)
def test_one_run_in_any_form(tmp_path, text, name):
    assert courses(table(tmp_path, text, name)) == {
        "runs": {"A": {0.0: [1.0], 1.0: [0.8], 2.0: [0.7]}, "B": {0.0: [0.5], 2.0: [0.9]}}
    }


def test_units_of_the_header_are_kept(tmp_path):
    found = read_tables([table(tmp_path, WIDE)])
    assert (found.time_unit, found.unit) == ("min", "mM")


def test_runs_are_told_apart_by_their_columns(tmp_path):
    text = "condition,replicate,time,A\nlow,1,0,1\nlow,1,5,2\nlow,2,0,3\nlow,2,6,4\nhigh,1,0,5\nhigh,1,5,6\n"
    found = courses(table(tmp_path, text))
    assert list(found) == ["low 1", "low 2", "high 1"]
    assert found["low 2"]["A"] == {0.0: [3.0], 6.0: [4.0]}


def test_a_petab_table_of_measurements_is_read(tmp_path):
    text = (
        "observableId\tsimulationConditionId\tmeasurement\ttime\tnoiseParameters\nA\tc0\t1\t0\t0.1\nA\tc0\t2\t3\t0.2\n"
    )
    run = read_tables([table(tmp_path, text, "measurements.tsv")]).runs[0]
    assert run.name == "c0" and run.values["A"] == {0.0: [1.0], 3.0: [2.0]}
    assert run.errors["A"] == {0.0: [0.1], 3.0: [0.2]}


def test_a_spreadsheet_has_a_run_a_sheet(tmp_path):
    path = tmp_path / "runs.xlsx"
    with pd.ExcelWriter(path) as writer:
        for sheet, factor in (("fed", 1), ("starved", 2)):
            frame = pd.DataFrame({"time": [0, 1.5], "A": [factor, 2.0 * factor], "A se": [0.1, None]})
            frame.to_excel(writer, sheet_name=sheet, index=False)
    runs = read_tables([path]).runs
    assert [run.name for run in runs] == ["fed", "starved"]
    assert runs[1].values == {"A": {0.0: [2.0], 1.5: [4.0]}} and runs[1].errors == {"A": {0.0: [0.1]}}


def test_repeated_values_count_by_their_mean_and_those_below_detection_by_half_the_limit(tmp_path):
    run = read_tables([table(tmp_path, "time,A,B\n0,1,< 0.2\n0,3,0.4\n1,2,<0.2\n")]).runs[0]
    assert (run.repeated(), run.below) == (2, 2)
    time, value, error = filled([run], [("A",), ("b", "B"), ("C",)])
    np.testing.assert_array_equal(time, [[0.0, 1.0]])
    np.testing.assert_allclose(value, [[[2.0, 0.25, np.nan], [2.0, 0.1, np.nan]]])
    assert np.isnan(error).all()


@pytest.mark.parametrize(
    "text, named",
    [
        ("time,A\n0,1\n1,much\n", "runs.csv, row 3: A: found much"),
        ("time,A\n0,1\n1,-2\n", "runs.csv, row 3: A: found -2"),
        ("time,A\n0,1\n,2\n", "runs.csv, row 3: time: found nothing"),
        ("time,A,A\n0,1,2\n", "header: found A again"),
        ("hour,A\n0,1\n", "header: found hour, A"),
        ("time [s],A [mM],B [uM]\n0,1,2\n", "header: found unit uM beside mM"),
        ("time,A,A se\n0,1,-1\n", "row 2: standard error of A: found -1"),
        ("time,species,value\n0,,1\n", "row 2: species: found nothing"),
        ("time,A\n", "table: found no values"),
        ("exp,time,A\n1,0,1\n1,5,2\n2,0,3\n", "row 4: time: found 0 again, after 5; allowed: times that rise, or a"),
        ("time,species,value\n0,A,1\n5,A,2\n0,B,1\n0,A,3\n", "row 5: time: found 0 again, after 5"),
        ("", "table: found no values"),
        ("time,A\n0,1\n1,2,3,4\n", "runs.csv, row 3: cells: found 4; allowed: at most 2"),
        ("# a\n\ntime,A\n0,1\n1,#DIV/0!\n", "row 5: A: found #DIV/0!"),
        ("time,species,value,unit\n0,A,1,mM\n0,B,1,uM\n", "header: found unit uM beside mM"),
        ("species,0 [min],1 [h]\nA,1,2\n", "header: found unit h beside min"),
        ("run,time,A\nx,0,1\n,1,2\n", "row 3: run: found nothing"),
        ("time,A\n0,1_0\n", "row 2: A: found 1_0"),
    ],
)
def test_what_is_wrong_in_a_table_is_named_with_its_place(tmp_path, text, named):
    with pytest.raises(BadInput, match=named):
        read_tables([table(tmp_path, text)])


def test_what_a_spreadsheet_calls_missing_takes_nothing_else_with_it(tmp_path):
    found = courses(table(tmp_path, "time,A #1,B\n0,#N/A,2\n1,3,4\n"))["runs"]
    assert found == {"A #1": {1.0: [3.0]}, "B": {0.0: [2.0], 1.0: [4.0]}}


def test_names_of_the_model_may_have_brackets_and_commas(tmp_path):
    path = table(tmp_path, "time;atp[c];1,3-BPG [mM]\n0;0,5;1\n")
    found = read_tables([path], {"atp[c]", "1,3-BPG"})
    assert found.runs[0].values == {"atp[c]": {0.0: [0.5]}, "1,3-BPG": {0.0: [1.0]}} and found.unit == "mM"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_characters_are_read_as_spreadsheets_store_them(tmp_path, encoding):
    path = tmp_path / "runs.csv"
    path.write_bytes(WIDE.replace("mM", "µM").encode(encoding))
    assert read_tables([path]).unit == "µM"


def test_a_run_in_several_tables_is_one_where_their_species_differ(tmp_path):
    tables = {"sugars": "run,time,A\n1,0,1\n2,0,2\n", "cofactors": "run,time,B\n1,0.5,3\n2,0,4\n"}
    paths = [table(tmp_path, text, f"{name}.csv") for name, text in tables.items()]
    assert {run.name: run.values for run in read_tables(paths).runs} == {
        "1": {"A": {0.0: [1.0]}, "B": {0.5: [3.0]}},
        "2": {"A": {0.0: [2.0]}, "B": {0.0: [4.0]}},
    }
    paths[1] = table(tmp_path, tables["sugars"], "again.csv")
    assert [run.name for run in read_tables(paths).runs] == ["sugars 1", "sugars 2", "again 1", "again 2"]


@pytest.mark.parametrize("header", ["Run ID", "experiment_id", "replicateId"])
def test_other_words_for_a_run_tell_runs_apart(tmp_path, header):
    assert len(courses(table(tmp_path, f"{header},time,A\n1,0,1\n2,0,3\n"))) == 2


def test_one_species_under_two_names_and_times_that_differ_by_rounding_are_one(tmp_path):
    run = read_tables([table(tmp_path, "time,A,glucose\n0.3,1,\n0.30000000000000004,,3\n1,5,\n")]).runs[0]
    time, value, _ = filled([run], [("A", "glucose")])
    np.testing.assert_allclose(time, [[0.3, 1.0]])
    np.testing.assert_allclose(value[0, :, 0], [2.0, 5.0])


def test_empty_sheets_are_left_out(tmp_path):
    path = tmp_path / "runs.xlsx"
    with pd.ExcelWriter(path) as writer:
        pd.DataFrame({"time": [0, 1], "A": [1, 2]}).to_excel(writer, sheet_name="data", index=False)
        pd.DataFrame().to_excel(writer, sheet_name="Sheet2", index=False)
    assert [run.name for run in read_tables([path]).runs] == ["runs"]
    (tmp_path / "cut.xlsx").write_bytes(path.read_bytes()[:2000])
    with pytest.raises(BadInput, match="cut.xlsx: file: found no table"):
        read_tables([tmp_path / "cut.xlsx"])


def test_bytes_that_are_no_table_are_named(tmp_path):
    path = tmp_path / "runs.xlsx"
    path.write_bytes(b"\x00\x01")
    with pytest.raises(BadInput, match="runs.xlsx: file: found no table"):
        read_tables([path])
    with pytest.raises(BadInput, match="none.csv: file: found nothing"):
        read_tables([tmp_path / "none.csv"])


# --- beside a model ---------------------------------------------------------------------------------------------------


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """`stoirec import` in a folder with a model of four species; returns the exit code."""
    monkeypatch.chdir(tmp_path)
    table(tmp_path, "R1, A -> B\nR2, B -> C\nR3, C + E -> A\n", "model.csv")

    def run(*options: str) -> int:
        with monkeypatch.context() as patch:
            patch.setattr("sys.argv", ["stoirec", "import", "model.csv", *options, "-o", "data.nc"])
            with pytest.raises(SystemExit) as end:
                cli.main()
        return end.value.code or 0

    return run


def run_of(n_times: int, factor: float = 1.0, species: Sequence[str] = "ABC") -> str:
    times = np.arange(n_times)
    rows = [f"{t},{','.join(f'{factor * (1 + np.exp(-0.1 * (k + 1) * t)):.6f}' for k in range(3))}" for t in times]
    return "\n".join([f"time [h],{','.join(f'{name} [mM]' for name in species)}", *rows])


def test_tables_of_several_runs_become_data(imported, tmp_path, caplog):
    caplog.set_level("INFO")
    for name, n_times, factor in (("a", 12, 1.0), ("b", 15, 2.0), ("c", 12, 3.0)):
        table(tmp_path, run_of(n_times, factor), f"{name}.csv")
    assert imported("--table", "a.csv", "--table", "b.csv", "--table", "c.csv") == 0
    said = caplog.text
    assert "never measured, as if held from outside: E" in said
    assert "3 runs of 12 to 15 values, run c for validation; 0.0 %" in said
    assert "missing; times end at 11 to 14 h" in said
    file = netcdf.read("data.nc", ())
    assert list(file["run"].values) == ["a", "b", "c"] and file["time"].attrs["units"] == "h"
    assert file["concentration"].attrs["units"] == "mM" and "dcdt" not in file
    data = read_data("data.nc")
    assert data.graph.metabolite_names == ("A", "B", "C")
    assert list(data.run_role) == [TRAINING, TRAINING, VALIDATION]
    assert [len(course.time) for course in data.courses] == [12, 15, 12]
    assert (data.run_names, data.time_unit, data.unit) == (("a", "b", "c"), "h", "mM")
    np.testing.assert_allclose(data.courses[1].value[3], 2 * (1 + np.exp(-0.3 * np.array([1, 2, 3]))), atol=1e-5)


def test_what_rounding_took_counts_as_noise(imported, tmp_path):
    """An enzyme's last digit moves nothing, and values of two digits are not free of noise."""
    times = np.arange(12)
    rows = (f"{t},{2 * np.exp(-0.1 * t):.2f},{1 + 0.01 * (t % 2):.2f},{1 - np.exp(-0.1 * t):.2f}" for t in times)
    table(tmp_path, "\n".join(["time,A,B,C", *rows]), "a.csv")
    assert imported("--table", "a.csv") == 0
    found = by_metabolite(read_data("data.nc"))
    assert found["moves"].to_dict() == {"A": MOVING, "B": STILL, "C": MOVING}
    assert found["relative_noise"]["A"] >= 0.01 / np.sqrt(12) / found["standard_deviation"]["A"] * (1 - 1e-9)


def test_what_a_table_has_and_the_model_has_not_is_said(imported, tmp_path, caplog):
    caplog.set_level("INFO")
    table(tmp_path, run_of(12).replace("C [mM]", "X [mM]"), "a.csv")
    assert imported("--table", "a.csv") == 0
    said = caplog.text
    assert "no species of the model, not taken: X" in said and "held from outside: C, E" in said
    assert "1 run of 12 values, none for validation" in said


def test_a_slip_of_the_pen_is_asked_after(imported, tmp_path, caplog):
    """In the model, where nobody measured what it calls so, or in the table."""
    table(tmp_path, "R1, glucose -> B\nR2, B -> pyruvate\nR3, pyruvat -> glucose\n", "model.csv")
    table(tmp_path, run_of(12, species=("glucose", "B", "pyruvate")), "a.csv")
    assert imported("--table", "a.csv") == 0
    assert "never measured, as if held from outside: pyruvat (or is it pyruvate?)" in caplog.text
    table(tmp_path, "R1, glucose -> B\nR2, B -> E\nR3, E -> glucose\n", "model.csv")
    table(tmp_path, run_of(12, species=("glucosse", "B", "E")), "a.csv")
    assert imported("--table", "a.csv") == 0
    assert "glucose (or is it glucosse?)" in caplog.text


@pytest.mark.parametrize(
    "options, named",
    [
        (("--table", "x.csv"), "species: found X, Y, Z; allowed: species of the model, such as A, B, C"),
        (("--table", "a.csv", "--validation", "b"), "--validation: found b; allowed: one of the runs: a"),
        (("--table", "a.csv", "--validation", "a"), "--validation: found a; allowed: one of several runs"),
        (("--table", "a.csv", "--table", "short.csv"), "run short: found 3 times; allowed: at least 5"),
        (("--table", "a.csv", "--table", "a.csv"), "run: found a again"),
        (("--validation", "a"), "--validation: found a; allowed: a run of a --table"),
        (("--table", "spelt.csv"), "species: found c-; allowed: C, as the model calls it"),
    ],
)
def test_tables_that_do_not_suit_end_in_one_line(imported, tmp_path, capfd, options, named):
    table(tmp_path, run_of(12), "a.csv")
    table(tmp_path, run_of(12, species="XYZ"), "x.csv")
    table(tmp_path, run_of(3), "short.csv")
    table(tmp_path, run_of(12, species=("A", "B", "c-")), "spelt.csv")
    assert imported(*options) == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and named in errors[0]
    assert not (tmp_path / "data.nc").exists()


def test_standard_errors_of_a_table_are_the_noise(imported, tmp_path):
    lines = run_of(20).splitlines()
    text = "\n".join([lines[0] + ",A se", *(f"{line},0.25" for line in lines[1:])])
    table(tmp_path, text, "a.csv")
    assert imported("--table", "a.csv") == 0
    np.testing.assert_allclose(read_data("data.nc").noise, [0.25, 0.0, 0.0], atol=1e-4)
