"""Pages that are made from the code say what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["support", "sglang-flags", "parsers"])
def test_a_page_is_the_one_that_the_declarations_give(name: str, tmp_path: Path) -> None:
    made = tmp_path / f"{name}.md"
    maker = DOCS / f"make_{name.replace('-', '_')}.py"
    subprocess.run([sys.executable, str(maker), str(made)], check=True)
    assert made.read_text(encoding="utf-8") == (DOCS / f"{name}.md").read_text(encoding="utf-8")
