"""What a cell's command reported: checks by outcome, and those that passed by op and compute dtype."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OPS = (
    (r"tests\.(kernels|backends)\.(attention\.)?(test_attention|test_store_kv)$", "", "attention"),
    (r"tests\.(kernels|backends)\.(moe\.)?test_route$", "", "moe.route"),
    (r"tests\.(kernels|backends)\.(moe\.)?test_(experts|moe|groups)$", "", "moe.experts"),
    (r"tests\.(kernels|backends)\.test_linear$", "", "linear"),
    (r"tests\.(kernels|backends)\.test_norm_rope$", "", "norm_rope"),
    (r"tests\.(kernels|backends)\.test_quant$", "", "quant"),
    (r"tests\.compile\.test_attention_code$", "", "attention"),
    (r"tests\.compile\.test_moe_code$", r"test_route", "moe.route"),
    (r"tests\.compile\.test_moe_code$", r"test_experts", "moe.experts"),
    (r"tests\.compile\.test_small_ops$", r"test_linear|test_rows", "linear"),
    (r"tests\.compile\.test_small_ops$", r"test_the_rest", "norm_rope"),
    (r"tests\.compile\.test_small_ops$", r"test_the_rest", "quant"),
)
"""(module, test, op): the tests that hold an op's results, or its machine code; not those of planted faults, arguments
and launch plans."""

DTYPES = (
    ("float8", r"float8|fp8|e4m3|channel_token|\bblock\b|128x128"),
    ("bfloat16", r"bfloat16|bf16"),
    ("float16", r"(?<!b)float16|(?<!b)f16\b|fp16"),
    ("float32", r"float32|fp32"),
)
"""The compute dtype that the name of a test, or of a problem, states. FP8 first: its activations have a dtype too."""

ONLY = {"moe.route": "float32", "quant": "float8"}
"""Ops with one compute dtype, whatever a test's name says."""
ANY = "any"


@dataclass
class Evidence:
    """Checks by outcome, and the passed ones by op and dtype; `any` where no dtype is named."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    ops: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, outcome: str, name: str, ops: list[str]) -> None:
        """One check; `name` states its dtype."""
        setattr(self, outcome, getattr(self, outcome) + 1)
        if outcome == "failed":
            self.failures.append(name)
        if outcome == "passed":
            for op in ops:
                self.ops.setdefault(op, Counter())[ONLY.get(op) or dtype_of(name)] += 1


def dtype_of(name: str) -> str:
    """The compute dtype that a test's or a problem's name states."""
    return next((dtype for dtype, pattern in DTYPES if re.search(pattern, name, re.IGNORECASE)), ANY)


def ops_of(module: str, test: str) -> list[str]:
    """The ops whose results a test holds."""
    return [op for where, which, op in OPS if re.search(where, module) and re.match(which, test)]


def from_junit(path: Path) -> Evidence:
    """Of a junit file that pytest wrote. A file without a test gives zeros."""
    found = Evidence()
    for case in ElementTree.parse(path).iter("testcase"):
        module, test = case.get("classname", ""), case.get("name", "")
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found.add(outcome, test if outcome != "failed" else f"{module}::{test}", ops_of(module, test))
    return found


def from_report(path: Path) -> Evidence:
    """Of a report.json that `glm-rocm validate` wrote: a case is a check."""
    found = Evidence()
    for case in _cases(path):
        failed = bool(case["error"]) or not all(one["passed"] for one in case["checks"])
        ops = [case["op"]] if case["level"] == "ops" else []
        found.add("failed" if failed else "passed", f"{case['op']} {case['problem']}", ops)
    return found


def _cases(path: Path) -> Iterator[dict[str, Any]]:
    yield from json.loads(path.read_text(encoding="utf-8"))["cases"]
