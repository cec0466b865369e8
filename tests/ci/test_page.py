"""docs/ci.md names cells, variables and files that exist."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import matrix

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text()
ROWS = re.findall(r"^\| `(\w+)` \| .* \| (`.*`) \| .* \|$", PAGE, re.MULTILINE)


def test_its_table_covers_every_cell_with_what_it_shows() -> None:
    shows = [(proof, pattern) for proof, names in ROWS for pattern in re.findall(r"`([^`]+)`", names)]
    for cell in matrix.load().values():
        assert any(proof == cell.proof and fnmatch(cell.name, pattern) for proof, pattern in shows), cell.name
    for proof, pattern in shows:
        assert any(fnmatch(cell.name, pattern) and cell.proof == proof for cell in matrix.load().values()), pattern


def test_it_names_every_runners_variable() -> None:
    variables = {cell.runner.variable for cell in matrix.load().values()} - {""}
    assert set(re.findall(r"`(RUNNER_\w+)`", PAGE)) == variables


def test_files_that_it_names_exist() -> None:
    for path in re.findall(r"(?:ci|docs|docker|\.github)/[\w./-]+\.(?:json|sh|py|yml|md|env)", PAGE):
        assert (ROOT / path).exists() or path.startswith("ci/results/"), path
