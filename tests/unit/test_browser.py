"""The pages in a real browser: what is hovered, searched, filtered, sorted and brushed, and what needs no script."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_output
from playwright.sync_api import Locator, Page, expect, sync_playwright

from stoirec.answer.prediction import with_rollout_errors
from stoirec.data.dataset import read_data
from stoirec.files import netcdf
from stoirec.network.balance import balances
from stoirec.report import contents, results
from stoirec.report import page as pages
from stoirec.report.beforehand import page as beforehand
from stoirec.report.own_data import page as own_data
from stoirec.study.store import Store

LARGEST = 8e6  # bytes of a page
BREAKS = "</script><img src=x onerror='window.broken=1'>"
HOSTILE = BREAKS + '"}}{{7*7}} @{reaction} $$\\frac{x_{$$ &amp;'
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on Debian: apt-get install chromium")


@pytest.fixture(scope="module")
def found(small_regime, finish_study, tmp_path_factory) -> results.Results:
    """A study whose variants, metabolites and reactions have names that nobody should give."""
    folder = tmp_path_factory.mktemp("explored")
    study = {
        "name": "explored",
        "regime": str(folder / "regime.yaml"),
        "network_seeds": [1],
        "base": {"n_runs": 1, "n_epochs": 1, "data_augmentation_loop": 40, "n_snapshots": 4},
        "stages": [
            {
                "name": "only",
                "variants": {"role": {"role_prior": True}, BREAKS: {}},
                "grid": {"learning_rate_start": [5e-3, 1e-2]},
            }
        ],
    }
    finished = finish_study(folder, study, {"regime": small_regime})
    path = Store(folder).data(finished.data_names[0])
    named, truth = netcdf.read(path), netcdf.read(path, group="truth")
    names = {
        kind: [f"{kind} {place} {HOSTILE}" for place in range(named.sizes[kind])] for kind in ("metabolite", "reaction")
    }
    netcdf.write(path, named.assign_coords(names), truth=truth)
    results._data.cache_clear()
    return finished


@pytest.fixture(scope="module")
def report(found, run_cells, tmp_path_factory) -> Path:
    """The report, of chapters that ran without a kernel."""
    folder = tmp_path_factory.mktemp("page")
    for name in contents.chapter_names():
        source = contents.NOTEBOOKS / f"{name}.ipynb"
        book, ran = nbformat.read(source, 4), dict(_outputs(run_cells(source, found)))
        for cell in book.cells:
            if cell.cell_type == "code":
                cell.execution_count, cell.outputs = 1, ran.get(cell.source, [])
        nbformat.write(book, folder / f"{name}.ipynb")
    pages.write(found, folder, found.store / "study.yaml", folder / "report.html")
    return folder / "report.html"


def _outputs(cells):
    for cell, parts in cells:
        yield cell.source, [new_output("display_data", {"text/html": part._repr_html_()}) for part in parts]


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def show(chromium):
    """A page, opened: nothing is asked of any network, nothing is complained of, and no name runs as a script."""

    @contextmanager
    def opened(path: Path, width: int = 1300, **options):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, offline=True, reduced_motion="reduce", **options
        )
        page, asked, said = context.new_page(), [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(path.as_uri())
        try:
            yield page
            assert [url for url in asked if not url.startswith(("data:", path.as_uri()))] == [] and said == []
            if options.get("java_script_enabled", True):
                assert page.evaluate("window.broken === undefined")
        finally:
            context.close()

    return opened


@pytest.fixture(scope="module")
def explored(show, report):
    with show(report) as page:
        for kind in ("curves", "matrix", "fits", "reactions"):
            expect(live(page, kind)).to_be_visible(timeout=20_000)
        yield page


def live(page: Page, kind: str) -> Locator:
    return page.locator(f".live[data-kind={kind}]")


def model(page: Page, name: str, property_: str):
    """A property of a named Bokeh model."""
    return page.evaluate(
        """([name, property]) => {
            const found = Bokeh.documents.map(one => one.get_model_by_name(name)).find(Boolean);
            return JSON.parse(JSON.stringify(property.split(".").reduce((value, key) => value[key], found)));
        }""",
        [name, property_],
    )


def place(page: Page, kind: str, x: float, y: float) -> tuple[float, float]:
    """Where a point of a chart lies on the screen, after the page was scrolled to it."""
    chart = live(page, kind).locator(".chart")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    across, down = page.evaluate(
        """([holder, x, y]) => {
            const view = [...Bokeh.index.roots].find(view => holder.contains(view.el));
            return [view.bbox.left + view.frame.x_scale.compute(x), view.bbox.top + view.frame.y_scale.compute(y)];
        }""",
        [chart.element_handle(), float(x), float(y)],
    )
    return box["x"] + across, box["y"] + down


# --- the matrix -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def entries(found):
    """Candidate edges of the fit that the report shows: metabolite, reaction, integer, true, confidence."""
    graph, recovery = found.data(found.data_names[0]).graph, found.recovery(found.best_fit)
    true = graph.on_edges(found.truth(found.data_names[0]).stoichiometry)
    integer = graph.on_edges(recovery["stoichiometry"].values)
    return graph.edge_metabolite, graph.edge_reaction, integer, true, recovery["confidence"].values


def test_an_entry_says_what_it_is(explored, entries):
    metabolite, reaction, integer, true, _ = entries
    explored.mouse.move(*place(explored, "matrix", reaction[3], metabolite[3]))
    tip = explored.locator("body > .bk-Tooltip")
    expect(tip).to_contain_text(f"metabolite {metabolite[3]} {HOSTILE}")
    for text in (f"reaction {reaction[3]} {HOSTILE}", "learned", f"{integer[3]:g}", f"{true[3]:g}", "confidence"):
        expect(tip).to_contain_text(text)
    explored.mouse.move(0, 0)


def test_arrow_keys_go_from_entry_to_entry(explored, entries):
    metabolite, reaction, *_ = entries
    says = live(explored, "matrix").locator(".entry")
    live(explored, "matrix").locator(".chart").focus()
    explored.keyboard.press("ArrowRight")
    expect(says).to_contain_text(f"metabolite {metabolite[0]} {HOSTILE} in reaction {reaction[0]} {HOSTILE}: learned")
    explored.keyboard.press("ArrowDown")
    (now,) = model(explored, "entries", "selected.indices")
    assert metabolite[now] > metabolite[0]
    expect(says).to_contain_text(f"metabolite {metabolite[now]} ")


def test_the_matrix_is_filtered_and_enlarged(explored, entries):
    metabolite, reaction, integer, true, confidence = entries
    part = live(explored, "matrix")
    kinds = {"wrong": integer != true, "unsure": confidence < 0.99, "either": (integer != true) | (confidence < 0.99)}
    for kind, kept in kinds.items():
        part.locator("[name=show]").select_option(kind)
        assert model(explored, "shown", "indices") == np.flatnonzero(kept).tolist(), kind
        expect(part.locator("[name=count]")).to_have_text(f"{kept.sum()} of {len(true)} entries")
    part.locator("[name=show]").select_option("all")
    part.locator("[name=find]").fill("reaction 3")
    own = metabolite[reaction == 3]
    assert len(model(explored, "shown", "indices")) == len(own)
    before = place(explored, "matrix", 3, own[0])
    part.get_by_role("button", name="Zoom to these").click()
    left, right = place(explored, "matrix", 2.5, own[0])[0], place(explored, "matrix", 3.5, own[0])[0]
    assert right - left > 100  # a third of the chart is one column
    part.get_by_role("button", name="Whole matrix").click()
    assert place(explored, "matrix", 3, own[0]) == pytest.approx(before)
    part.locator("[name=find]").fill("")


# --- reactions --------------------------------------------------------------------------------------------------------


def test_reactions_are_searched_and_read(explored, found, entries):
    metabolite, reaction, integer, true, _ = entries
    part, n = live(explored, "reactions"), found.data(found.data_names[0]).graph.n_reactions
    part.locator("[name=find]").fill("Metabolite 3")  # whatever the case
    of = sorted({int(j) for j in reaction[(metabolite == 3) & (integer != 0)]})
    expect(part.locator("option:visible, [name=reaction] option")).to_have_count(len(of))
    expect(part.locator("[name=count]")).to_have_text(f"{len(of)} of {n} reactions")
    assert explored.locator(".map .reaction.found").count() == len(of)
    part.locator("[name=find]").fill("")
    part.locator("[name=show]").select_option("wrong")
    wrong = sorted(set(reaction[integer != true].tolist()))
    expect(part.locator("[name=count]")).to_have_text(f"{len(wrong)} of {n} reactions")
    expect(part.locator("h4")).to_have_text(f"reaction {wrong[0]} {HOSTILE}")
    terms = dict(zip(part.locator("dt").all_inner_texts(), part.locator("dd").all_inner_texts()))
    assert "→" in terms["recovered"] and "→" in terms["true"] and terms["recovered"] != terms["true"]
    part.locator("[name=show]").select_option("")
    first = model(explored, "flux", "data")
    part.locator("[name=reaction]").focus()
    explored.keyboard.press("End")
    expect(part.locator("h4")).to_have_text(f"reaction {n - 1} {HOSTILE}")
    last = model(explored, "flux", "data")
    assert last["time"] == first["time"] and last["true"] != first["true"] and last["recovered"] != first["recovered"]


def test_fluxes_are_those_of_the_truth(explored, found):
    truth, data = found.truth(found.data_names[0]), found.data(found.data_names[0])
    shown = model(explored, "flux", "data")
    run = int(np.argmax(data.run_role))
    frames = np.searchsorted(data.time_of(run), np.array(shown["time"]) - 1e-6)
    flux = truth.flux(data.concentration[run, frames])[:, data.graph.n_reactions - 1]
    np.testing.assert_allclose(shown["true"], flux, rtol=1e-3)


def test_what_a_search_names_is_drawn_by_itself(explored, found, entries):
    metabolite, reaction, integer, _, _ = entries
    find, close = live(explored, "reactions").locator("[name=find]"), explored.locator(".map .close")
    find.fill("metabolite")  # many have it in their name
    expect(close).to_be_hidden()
    find.fill(f"metabolite 3 {HOSTILE}")
    own = (metabolite == 3) & (integer != 0)
    expect(close.locator("svg")).to_have_attribute("aria-label", f"What makes and uses metabolite 3 {HOSTILE}")
    for side, made in (("end", True), ("start", False)):  # what makes it stands on the left, where lines end in it
        reactions = set(reaction[own & ((integer > 0) == made)].tolist())
        sided = {j for j in reactions if ((integer < 0) if made else (integer > 0))[reaction == j].any()}
        expect(close.locator(f"text:not(.beside)[text-anchor={side}]")).to_have_count(len(sided))
    first = int(reaction[own][0])
    close.locator(".reaction a", has_text=f"reaction {first} ").first.click()
    expect(find).to_have_value(f"reaction {first} {HOSTILE}")  # both searches say the same
    expect(live(explored, "reactions").locator("h4")).to_have_text(f"reaction {first} {HOSTILE}")
    expect(close.locator(".part")).to_have_count(int(((reaction == first) & (integer != 0)).sum()))
    close.locator("a", has_text="metabolite 3 ").first.press("Enter")
    expect(close.locator(".metabolite title")).to_have_text(f"metabolite 3 {HOSTILE}")
    find.fill("")
    expect(close).to_be_hidden()


def test_a_square_of_the_map_leads_to_its_reaction(explored):
    explored.locator(".map svg a").nth(2).focus()
    explored.keyboard.press("Enter")
    expect(live(explored, "reactions").locator("h4")).to_have_text(f"reaction 2 {HOSTILE}")


# --- fits -------------------------------------------------------------------------------------------------------------


def fits_table(page: Page) -> Locator:
    return page.locator("table", has=page.locator("#fit-0"))


def test_a_table_is_sorted_and_filtered(explored, found):
    table, exact = fits_table(explored), found.answers["entry_exact"]
    column = [text.strip() for text in table.locator("thead th").all_inner_texts()].index("r2")
    button = table.get_by_role("button", name="r2", exact=True)
    for direction in ("ascending", "descending"):
        button.press("Enter")  # as with a keyboard
        expect(table.locator("th[aria-sort]")).to_have_attribute("aria-sort", direction)
        texts = [row.locator("th, td").nth(column).inner_text() for row in table.locator("tbody tr").all()]
        values = [float(text.replace("−", "-")) for text in texts if text != "–"]
        assert values == sorted(values, reverse=direction == "descending") and len(values) > 4
    field = table.locator("xpath=ancestor::div[1]/preceding-sibling::div[1]//input")
    field.fill("role, mass_balanced >= 0")
    rows = table.locator("tbody tr:not(.muted):visible")
    expect(rows).to_have_count(2)
    expect(live(explored, "fits").locator("[name=count]")).to_have_text(f"2 of {len(exact)} fits")
    field.fill("mass_balanced < 0")
    expect(rows).to_have_count(0)
    field.fill("")
    expect(rows).to_have_count(len(exact))


def test_a_brush_keeps_the_same_fits_in_chart_and_table(explored, found):
    varied = found.varied
    axis, values = varied.index("param.learning_rate_start"), found.answers["param.learning_rate_start"]
    rows = fits_table(explored).locator("tbody tr:not(.muted):visible")
    brush(explored, axis)
    expect(rows).to_have_count(int((values == values.max()).sum()))
    other = varied.index("param.role_prior")
    explored.keyboard.down("Shift")
    brush(explored, other)
    explored.keyboard.up("Shift")
    kept = (values == values.max()) & found.answers["param.role_prior"]
    expect(rows).to_have_count(int(kept.sum()))
    live(explored, "fits").get_by_role("button", name="Clear brushes").click()
    expect(rows).to_have_count(len(values))


def brush(page: Page, axis: int) -> None:
    """Over the upper end of an axis; again, where a busy machine made a hold of the drag."""
    start, end = place(page, "fits", axis - 0.2, 1.04), place(page, "fits", axis + 0.2, 0.9)
    before = model(page, "crossings", "selected.indices.length")
    for _ in range(10):
        page.mouse.move(*start)
        page.mouse.down()
        page.mouse.move(*end, steps=2)
        page.mouse.up()
        if model(page, "crossings", "selected.indices.length") != before:
            break


# --- training curves --------------------------------------------------------------------------------------------------


def test_training_curves_are_picked(explored, found):
    part = live(explored, "curves")
    boxes, n = part.get_by_role("checkbox"), len(found.answers)
    part.get_by_role("button", name="Pick none").click()
    assert (len(model(explored, "picked", "data.xs")), len(model(explored, "others", "data.xs"))) == (0, n)
    boxes.nth(1).press("Space")
    label = part.locator(".choices label").nth(1).inner_text().strip()
    assert model(explored, "picked", "data.fit") == [label]
    before = model(explored, "picked", "data.ys")
    part.locator("[name=measure]").select_option("L_pred")
    assert model(explored, "picked", "data.ys") != before
    part.locator("[name=find]").fill("role")
    expect(part.locator(".choices label:visible")).to_have_count(2)


# --- without a pointer, a script or a wide screen ---------------------------------------------------------------------


def test_the_page_is_small(report):
    assert report.stat().st_size < LARGEST


def test_controls_are_reached_by_keyboard(explored):
    reached = set()
    live(explored, "matrix").locator("[name=show]").focus()
    for _ in range(5):
        reached.add(explored.evaluate("document.activeElement.name || document.activeElement.className"))
        explored.keyboard.press("Tab")
    assert {"show", "find", "block", "whole", "chart"} <= reached


def test_a_narrow_screen_scrolls_down_only(show, report):
    with show(report, width=400) as page:
        expect(live(page, "reactions")).to_be_visible(timeout=20_000)
        assert page.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.parametrize("way", ["no script", "print"])
def test_without_a_script_and_on_paper_the_essentials_stay(way, show, report, found):
    with show(report, java_script_enabled=way == "print") as page:
        if way == "print":
            expect(live(page, "reactions")).to_be_visible(timeout=20_000)
            page.emulate_media(media="print")
            row = page.locator("#reaction-0")
        else:
            page.locator("details", has=page.locator("#reaction-0")).locator("summary").click()  # a fold needs none
            row = page.locator("#reaction-0")
        expect(row).to_be_visible()
        expect(row).to_contain_text(f"reaction 0 {HOSTILE}")
        for kind in ("curves", "matrix", "fits"):
            expect(live(page, kind)).to_be_hidden()
            expect(live(page, kind).locator("xpath=following-sibling::img")).to_be_visible()
        expect(live(page, "reactions")).to_be_hidden()
        expect(page.locator("#fit-0")).to_be_visible()
        assert page.locator(".tools:visible").count() == 0


def test_a_section_that_has_nothing_to_show_is_a_line(explored):
    expect(explored.get_by_role("heading", name="Fewer runs, more noise")).to_have_count(0)
    expect(explored.locator("#chapter-5 .empty")).to_contain_text("Fewer runs, more noise. The study did not vary")


# --- the pages of own data --------------------------------------------------------------------------------------------


def test_the_page_of_an_answer_is_explored(show, found, tmp_path):
    fit_id = found.best_fit
    data, fit = read_data(Store(found.store).data(found.data_names[0])), netcdf.read(found.fit_path(fit_id))
    recovery = with_rollout_errors(found.recovery(fit_id), fit, data)
    own_data.write(tmp_path / "own.html", Path(f"{HOSTILE.replace('/', '')}.nc"), data, fit, recovery, "best: because")
    with show(tmp_path / "own.html") as page:
        part = live(page, "reactions")
        expect(part).to_be_visible(timeout=20_000)
        part.locator("[name=find]").fill("reaction 3")
        expect(part.locator("h4")).to_have_text(f"reaction 3 {HOSTILE}")
        assert "true" not in part.locator("dt").all_inner_texts()  # nobody knows it
        assert (tmp_path / "own.html").stat().st_size < LARGEST


def test_the_page_before_training_is_filtered(show, found, tmp_path):
    space = read_data(Store(found.store).data(found.data_names[0])).space
    beforehand.write(tmp_path / "check.html", HOSTILE, space, balances(space), None)
    with show(tmp_path / "check.html", width=400) as page:
        page.get_by_label("filter").fill("reaction 3")
        expect(page.locator("tbody tr:visible")).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
