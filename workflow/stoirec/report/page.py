"""The report: the answer, the executed notebooks and the provenance, on one page that needs no network."""

import datetime
import html
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nbformat
from markupsafe import Markup
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from stoirec.errors import BadInput
from stoirec.files.atomic import replacing
from stoirec.report.answer import answer
from stoirec.report.contents import chapter_names
from stoirec.report.explore import scripts
from stoirec.report.present import NOTHING, rendered
from stoirec.report.provenance import provenance
from stoirec.report.results import Results

_TITLE = re.compile(r"<h1[^>]*>(.*?)</h1>", re.DOTALL)


def write(results: Results, notebooks: Path, study: Path, output: Path) -> None:
    """Write the report: the whole page, or nothing.

    Args:
        results: the study's results; notebooks: folder of the executed notebooks;
            study: the study file, shown as it is.

    Raises:
        BadInput: a notebook is missing or damaged.
    """
    page = render(results, chapters(notebooks), study.read_text())
    with replacing(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render(results: Results, bodies: "list[Chapter]", study_text: str) -> str:
    """The page as text."""
    return rendered(
        "report.html",
        study=results.study,
        answer=answer(results),
        chapters=bodies,
        provenance=provenance(results, study_text),
        scripts=scripts("".join(chapter.body for chapter in bodies)),
        written=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
    )


# --- chapters ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chapter:
    """An executed notebook as a part of the page.

    Attributes:
        anchor: its id; title: of its first heading; sections: (anchor, title) of the headings below; body: HTML;
            empty: (title, why) of the sections that have nothing to show for this study.
    """

    anchor: str
    title: str
    sections: list[tuple[str, str]]
    body: Markup
    empty: list[tuple[str, str]]


def chapters(folder: Path) -> list[Chapter]:
    """The executed notebooks in `folder`: one for each of this checkout's, in the order of their names.

    Raises:
        BadInput: a chapter is missing, or a file is not an executed notebook.
    """
    paths = [folder / f"{name}.ipynb" for name in chapter_names() or chapter_names(folder)]
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
        raise BadInput(missing[0] if missing else folder, "file", "nothing", "an executed notebook")
    return [_chapter(number, path) for number, path in enumerate(paths, start=1)]


def _chapter(number: int, path: Path) -> Chapter:
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # a damaged notebook makes many kinds
        text = str(error).partition("\n")[0]
        raise BadInput(path, "file", f"not readable as a notebook ({text})", "an executed notebook") from None
    if any(part.cell_type == "code" and part.execution_count is None for part in notebook.cells if part.source):
        raise BadInput(path, "cells", "a cell that was not executed", "a notebook executed by papermill")
    for part in notebook.cells:  # log lines are for the log
        if part.cell_type == "code":
            part.outputs = [output for output in part.outputs if output.output_type != "stream"]
    notebook.cells, empty = _empty_sections(notebook.cells)
    exporter = HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    body, _ = exporter.from_notebook_node(notebook)
    title = _TITLE.search(body)
    return _numbered(number, _plain(title[1]) if title else path.stem, _TITLE.sub("", body, count=1), empty)


def _empty_sections(cells: list[NotebookNode]) -> tuple[list[NotebookNode], list[tuple[str, str]]]:
    """The cells without the sections that only say why they have nothing to show; (title, why) of these."""
    starts = [place for place, cell in enumerate(cells) if cell.cell_type == "markdown" and cell.source[:3] == "## "]
    kept, empty = cells[: starts[0] if starts else None], []
    for start, end in itertools.pairwise([*starts, len(cells)] if starts else []):
        section = cells[start:end]
        shown = [output.get("data", {}).get("text/html", "") for cell in section for output in cell.get("outputs", [])]
        if shown and all(text.startswith(NOTHING) for text in shown):
            title = section[0].source.splitlines()[0].removeprefix("## ")
            empty.append((title, " ".join(dict.fromkeys(map(_plain, shown)))))
        else:
            kept = kept + section
    return kept, empty


def _plain(markup: str) -> str:
    """Text of a piece of HTML, unescaped: the template escapes it again."""
    return html.unescape(re.sub(r"<[^>]*>", "", markup)).strip()


def _numbered(number: int, title: str, body: str, empty: list[tuple[str, str]]) -> Chapter:
    """Number headings, figures and tables; headings go one level down, under the page's own."""
    sections: list[tuple[str, str]] = []

    def section(match: re.Match) -> str:
        anchor = f"chapter-{number}-{len(sections) + 1}"
        sections.append((anchor, _plain(match[1])))
        return f'<h3 id="{anchor}">{match[1]}</h3>'

    body = re.sub(r"<h2[^>]*>(.*?)</h2>", section, body, flags=re.DOTALL)
    for tags, word in (("<figcaption>", "Figure"), ('<caption>|<summary class="caption">', "Table")):
        count = itertools.count(1)
        body = re.sub(tags, partial(_label, f"{word} {number}", count), body)
    return Chapter(f"chapter-{number}", f"{number} {title}", sections, Markup(body), empty)


def _label(name: str, count: Iterator[int], caption: re.Match) -> str:
    return f"{caption[0]}<b>{name}.{next(count)}</b> "
