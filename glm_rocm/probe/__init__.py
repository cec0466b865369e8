"""Probed, not assumed: a kernel that its declaration accepts runs one small problem before a server depends on it.

A library can be installed and still not work: its compiler is missing, its wheel has no code for the card, it hangs or
takes the process down. Each candidate is therefore tried in a process of its own, under a time limit, against the
reference; what fails is passed over with its real error, and what was found out is remembered.
"""

from glm_rocm.probe.prober import Prober

__all__ = ["Prober"]
