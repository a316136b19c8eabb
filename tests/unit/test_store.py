"""Where files lie: known to one module."""

import ast
import re
from pathlib import Path

import pytest

from stoirec.study.store import Store, StudyFolder

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "workflow/stoirec"
# files of results/, with or without folders before, and what lies in its folders
FILE = re.compile(
    r"([^\s]*/)?(fit\.nc|fit\.yaml|recovery\.nc|metrics\.csv|baselines\.csv|costs\.csv|report\.html|\.ckpt)"
    r"|(results/)?(fits|waves|notebooks|benchmarks|logs)/[^\s]*"
)
FOLDER = re.compile(r"data|fits|waves|notebooks|benchmarks|logs")  # a word, unless it stands beside a slash
# of the package and the checkout, not of results/
ELSEWHERE = {("report/page.py", "report.html"), ("report/contents.py", "notebooks")}


def places(path: Path) -> list[str]:
    """The strings of a module that are parts of paths into results/; f-strings with * for what is filled in."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            found += [text for text in map(text_of, (node.left, node.right)) if FOLDER.fullmatch(text)]
        elif FILE.fullmatch(text_of(node)):
            found.append(text_of(node))
    return found


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(map(text_of, node.values))
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "*"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_module_builds_a_path_into_the_results(path):
    name = path.relative_to(PACKAGE).as_posix()
    built = [text for text in places(path) if (name, text) not in ELSEWHERE]
    assert not built or name == "study/store.py"


@pytest.mark.parametrize("path", sorted((ROOT / "workflow/rules").glob("*.smk")), ids=lambda path: path.name)
def test_no_rule_builds_a_path_into_the_results(path):
    quoted = re.findall(r'"([^"\n]*)"', re.sub(r"#.*", "", path.read_text()))
    assert not [text for text in quoted if FILE.fullmatch(text) or text.startswith("results/")]


def test_what_is_there_is_found_by_its_name(tmp_path):
    store = Store(tmp_path)
    assert store.fit_ids() == set() and store.benchmarks() == {} and store.logs("train") == {}
    places = [store.fit("d/a"), store.recovery("d/b"), store.log("train", "d/a.1"), store.benchmark("round", "d/b.2")]
    places += [StudyFolder(tmp_path).metrics, StudyFolder(tmp_path / "small").metrics]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    assert store.fit_ids() == {"d/a", "d/b"} and store.trained() == [store.fit("d/a")]
    assert store.logs("train") == {"d/a.1": store.log("train", "d/a.1")}
    assert store.benchmarks() == {"round": {"d/b.2": store.benchmark("round", "d/b.2")}}
    assert set(store.metrics_tables()) == {StudyFolder(tmp_path).metrics, StudyFolder(tmp_path / "small").metrics}
    assert store.checkpoint("d/a").parent == store.fit("d/a").parent


def test_names_may_be_wildcards():
    assert str(Store("results").recovery("{data}/{config_id}")) == "results/fits/{data}/{config_id}/recovery.nc"
