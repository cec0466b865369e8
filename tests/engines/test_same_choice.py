"""Whichever engine serves, the same (op, problem) gets the same kernel, for the same reasons."""

from __future__ import annotations

import pytest

from glm_rocm.engines import get_engine
from glm_rocm.ops.select import Selection
from glm_rocm.plan import Plan, make_plan
from glm_rocm.pocket import checkpoint_path
from glm_rocm.target import parse_target

CASES = [
    (str(checkpoint_path()), "cpu", {}),
    (str(checkpoint_path()), "cpu", {"dtype": "float32", "mtp": 3}),
    (str(checkpoint_path()), "cpu", {"emulate": "gfx942"}),
    ("zai-org/GLM-4.6", "mi300x:8", {}),
    ("zai-org/GLM-4.6-FP8", "mi300x:8", {"mtp": 3}),
    ("zai-org/GLM-4.5-Air-FP8", "mi355x:4", {}),
    ("zai-org/GLM-4.5-Air", "h100:4", {}),
]


def planned(engine: str, model: str, target: str, wishes: dict[str, object]) -> Plan:
    return make_plan(model, parse_target(target), engine=engine, ops=get_engine(engine).ops, **wishes)  # type: ignore[arg-type]


def row(selection: Selection) -> tuple[str, str, str, str]:
    """A line of the table: op, problem, kernel, and what was said of every candidate."""
    return selection.problem.op, selection.problem.describe(), selection.chosen.name, repr(selection.trace)


@pytest.mark.parametrize(("model", "target", "wishes"), CASES, ids=lambda case: str(case).rpartition("/")[2])
def test_both_engines_get_the_same_kernels_for_the_same_reasons(
    model: str, target: str, wishes: dict[str, object]
) -> None:
    tables = [[row(found) for found in planned(name, model, target, wishes).selections] for name in ("vllm", "sglang")]
    assert tables[0] == tables[1]
    assert {"attention", "moe.experts"} <= {op for op, *_ in tables[0]}
