"""What docs/ says: the reference is that of the code, and the pages name commands, options and files that exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from stoirec.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md")] + sorted(ROOT.glob("docs/*.md"))
COMMANDS = typer.main.get_command(app).commands


def test_the_reference_of_the_command_line_is_that_of_the_code():
    """If not, the same command with --output docs/commands.md."""
    command = 'typer stoirec.cli utils docs --name stoirec --title "The command line"'
    shown = subprocess.run([sys.executable, "-m", *shlex.split(command)], capture_output=True, text=True, check=True)
    assert (ROOT / "docs/commands.md").read_text().strip() == shown.stdout.strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_pages_have_the_options_they_are_given(page):
    lines = re.findall(r"^ {4}stoirec (.*)", page.read_text(), re.MULTILINE)
    for line in lines:
        name, *rest = line.split("#")[0].split()
        known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
        assert {word for word in rest if word.startswith("-")} <= known, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_the_pages_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
