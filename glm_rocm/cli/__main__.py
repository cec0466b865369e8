"""`python -m glm_rocm.cli`: the `glm-rocm` command where its script is not on the PATH."""

from __future__ import annotations

import sys

from glm_rocm.cli import main

if __name__ == "__main__":
    sys.exit(main())
