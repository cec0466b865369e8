"""The corpus of Triton kernels is importable as `corpus`; compiled kernels stay in Triton's own cache."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
