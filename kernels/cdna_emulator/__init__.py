"""Executes gfx942 and gfx950 code objects on a CPU. It knows nothing of any model; see README.md."""
