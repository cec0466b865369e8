"""Pages that are made from the code say what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_support_table_is_the_one_that_the_declarations_give(tmp_path: Path) -> None:
    made = tmp_path / "support.md"
    subprocess.run([sys.executable, str(DOCS / "make_support.py"), str(made)], check=True)
    assert made.read_text(encoding="utf-8") == (DOCS / "support.md").read_text(encoding="utf-8")
