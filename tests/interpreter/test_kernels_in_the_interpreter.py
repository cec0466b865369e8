"""Every kernel test once more as numpy: what the source means, with each access held to its bounds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = Path(__file__).parents[1] / "kernels"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_kernels_in_the_interpreter() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    options = ["-q", "-p", "no:cacheprovider", "--target", "interpret", "-m", "not slow"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(KERNELS), *options],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert passed, done.stdout[-8000:]
    assert int(passed[1]) > 0
