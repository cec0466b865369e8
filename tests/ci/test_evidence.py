"""What a junit file and a validation's report say of ops and dtypes."""

from __future__ import annotations

import json
from pathlib import Path

import evidence
import pytest


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("test_every_dtype[gfx942-torch.bfloat16]", "bfloat16"),
        ("test_every_dtype[gfx942-torch.float16]", "float16"),
        ("test_every_dtype[gfx942-torch.float32]", "float32"),
        ("test_shapes_and_schemes[gfx942-192-176-torch.float32-channel_token]", "float8"),
        ("test_shapes_and_schemes[gfx942-192-176-torch.float32-block]", "float8"),
        ("test_shapes_and_schemes[gfx942-192-176-torch.float32-none]", "float32"),
        ("test_store[sm90-FP8 cache]", "float8"),
        ("test_store[sm90-bf16 cache]", "bfloat16"),
        ("attention 12/1 heads of 128, pages of 16, bfloat16, cache float8_e4m3fnuz", "float8"),
        ("attention 12/1 heads of 128, pages of 16, bfloat16", "bfloat16"),
        ("test_block_table_is_wide[gfx942]", "any"),
        ("test_no_token[gfx942]", "any"),
    ],
)
def test_dtype_of_a_name(name: str, dtype: str) -> None:
    assert evidence.dtype_of(name) == dtype


def test_junit_by_outcome_op_and_dtype(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    file.write_text(
        """<testsuites><testsuite>
        <testcase classname="tests.kernels.moe.test_route" name="test_ids[gfx942-1]"/>
        <testcase classname="tests.kernels.attention.test_attention" name="test_every_dtype[gfx942-torch.bfloat16]"/>
        <testcase classname="tests.kernels.attention.test_attention_faults" name="test_attend[gfx942-fault0]"/>
        <testcase classname="tests.kernels.test_linear" name="test_a[x]"><failure message="no"/></testcase>
        <testcase classname="tests.kernels.test_linear" name="test_b[x]"><error message="no"/></testcase>
        <testcase classname="tests.kernels.test_linear" name="test_c[x]"><skipped/></testcase>
        <testcase classname="tests.compile.test_small_ops" name="test_the_rest[sm90-torch.float16]"/>
        </testsuite></testsuites>"""
    )
    found = evidence.from_junit(file)
    assert (found.passed, found.failed, found.skipped) == (4, 2, 1)
    assert found.failures == ["tests.kernels.test_linear::test_a[x]", "tests.kernels.test_linear::test_b[x]"]
    assert found.ops == {
        "moe.route": {"float32": 1},
        "attention": {"bfloat16": 1},
        "norm_rope": {"float16": 1},
        "quant": {"float8": 1},
    }


def test_report_of_a_validation(tmp_path: Path) -> None:
    def case(op: str, problem: str, *, level: str = "ops", passed: bool = True, error: str = "") -> dict[str, object]:
        return {"level": level, "op": op, "problem": problem, "error": error, "checks": [{"passed": passed}]}

    file = tmp_path / "report.json"
    cases = [
        case("linear", "linear 192 -> 256, bfloat16, FP8 per channel and token"),
        case("linear", "linear 192 -> 256, bfloat16", passed=False),
        case("quant", "FP8 quantisation per token", error="it raised"),
        case("attention", "layer 1", level="block"),
    ]
    file.write_text(json.dumps({"cases": cases}))
    found = evidence.from_report(file)
    assert (found.passed, found.failed) == (2, 2)
    assert found.ops == {"linear": {"float8": 1}}


@pytest.mark.parametrize(
    ("module", "test"),
    [(where, which) for where, which, _ in evidence.OPS],
    ids=lambda value: value or "any",
)
def test_every_rule_matches_a_test_that_exists(module: str, test: str) -> None:
    root = Path(__file__).parents[2]
    files = [
        *root.glob("tests/kernels/**/test_*.py"),
        *root.glob("tests/backends/test_*.py"),
        *root.glob("tests/compile/*.py"),
    ]
    import re

    matching = [f for f in files if re.search(module, ".".join(f.relative_to(root).with_suffix("").parts))]
    assert matching
    assert any(re.search(rf"^def ({test or 'test_'})", f.read_text(), re.MULTILINE) for f in matching)
