"""Cells of tables as people keep them: CSV, TSV and XLSX, whatever separates cells and encodes characters."""

import codecs
import csv
import re
from pathlib import Path

import pandas as pd

from stoirec.errors import BadInput

_DECIMAL = re.compile(r"^\s*<?\s*[-+]?\d*,\d+([eE][-+]?\d+)?\s*$")
_ALLOWED = "a table: .csv, .tsv or .xlsx"


def read_sheets(path: Path) -> list[tuple[str, dict[int, list[str]]]]:
    """Each sheet's name, empty for one alone, and the stripped cells of its rows by their number from 1.

    Rows without anything and, in text, lines that begin with # are left out. Raises BadInput.
    """
    if not path.is_file():
        raise BadInput(path, "file", "nothing", _ALLOWED)
    try:
        if path.suffix.lower() in (".xlsx", ".xlsm"):
            found = pd.read_excel(path, sheet_name=None, header=None, dtype=str, keep_default_na=False)
            sheets = [(str(name), cells.fillna("").values.tolist()) for name, cells in found.items() if cells.size]
            return [(name if len(sheets) > 1 else "", _filled_rows(rows)) for name, rows in sheets]
        lines = ["" if line.startswith("#") else line for line in _text(path.read_bytes()).splitlines()]
        separator = _separator(next((line for line in lines if line.strip()), ""))
        rows = list(csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True))
    except Exception as error:  # a damaged workbook makes many kinds
        text = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(path, "file", f"no table ({text})", _ALLOWED) from None
    # where something else separates cells, commas are those of decimals
    return [("", _filled_rows([[cell if separator == "," else _with_point(cell) for cell in row] for row in rows]))]


def _text(content: bytes) -> str:
    """Characters as spreadsheets store them: UTF-8, UTF-16, or one byte each."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    if b"\0" in content:
        raise ValueError("bytes that are no text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")


def _separator(first: str) -> str:
    """What separates the cells of the first line: a tab, or what comes first of semicolon and comma."""
    if "\t" in first:
        return "\t"
    return next((character for character in first if character in ";,"), ",")


def _filled_rows(rows: list[list[str]]) -> dict[int, list[str]]:
    """Rows that hold anything, their cells stripped, by their number from 1."""
    stripped = ([str(cell).strip() for cell in row] for row in rows)
    return {number: row for number, row in enumerate(stripped, 1) if any(row)}


def _with_point(cell: str) -> str:
    return cell.replace(",", ".") if _DECIMAL.match(cell) else cell
