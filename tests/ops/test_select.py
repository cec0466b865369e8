"""Selection: the first that accepts, or the one asked for, and every reason kept."""

from __future__ import annotations

import pytest

from glm_rocm.errors import SelectionError, UsageError
from glm_rocm.ops.kernel import (
    Accepted,
    Kernel,
    Limit,
    Reason,
    Refused,
    Tolerance,
    at_most,
    module_present,
    multiple_of,
    on_arch,
    on_vendor,
    one_of,
)
from glm_rocm.ops.linear import LinearProblem
from glm_rocm.ops.moe import ExpertsProblem
from glm_rocm.ops.select import select
from glm_rocm.target import parse_target

MI300X, CPU = parse_target("mi300x:8"), parse_target("cpu")
AIR_TP8 = ExpertsProblem(128, 8, 4096, 176, "bfloat16", "none")


def kernel(name: str, *limits: Limit, op: str = "moe.experts") -> Kernel:
    return Kernel(name, op, "math:sqrt", limits, {"bfloat16": Tolerance(1e-5, 1e-2)})


NARROW = kernel("own.narrow", multiple_of("intermediate", 32, cure="use `--tp 4`"), one_of("dtype", ("float16",)))
SMALL = kernel("own.small", at_most("experts", 64))
ANY = kernel("own.any")
LAST = kernel("torch.experts")


def test_first_accepted_wins_and_every_kernel_is_judged() -> None:
    selection = select(AIR_TP8, MI300X, (NARROW, SMALL, ANY, LAST))
    assert selection.chosen is ANY
    assert [verdict.kernel for verdict in selection.trace] == ["own.narrow", "own.small", "own.any", "torch.experts"]
    assert [type(verdict) for verdict in selection.trace] == [Refused, Refused, Accepted, Accepted]
    assert [verdict.kernel for verdict in selection.refused] == ["own.narrow", "own.small"]


def test_all_reasons_of_a_refusal_are_kept() -> None:
    (refused,) = select(AIR_TP8, MI300X, (NARROW, ANY)).refused
    assert refused.reasons == (
        Reason("intermediate 176", "a multiple of 32", "use `--tp 4`"),
        Reason("dtype bfloat16", "one of float16"),
    )
    assert str(refused) == (
        "own.narrow: intermediate 176, required a multiple of 32; use `--tp 4`; dtype bfloat16, required one of float16"
    )


def test_the_sentence_says_why() -> None:
    assert select(AIR_TP8, MI300X, (ANY, LAST)).because == "first in priority"
    assert "preferred ones refused: own.small: experts 128, required at most 64" in (
        select(AIR_TP8, MI300X, (SMALL, ANY)).because
    )


def test_kernels_of_other_ops_are_passed_over() -> None:
    other = kernel("own.linear", op="linear")
    selection = select(AIR_TP8, MI300X, (other, ANY))
    assert [verdict.kernel for verdict in selection.trace] == ["own.any"]
    assert select(LinearProblem(8, 8, "bfloat16", "none"), MI300X, (other, ANY)).chosen is other


def test_none_accepts() -> None:
    with pytest.raises(SelectionError) as raised:
        select(AIR_TP8, MI300X, (NARROW, SMALL))
    text = raised.value.render()
    assert "no kernel runs experts E=128 top-8 H=4096 N=176, bfloat16 on gfx942" in text
    assert "own.narrow: intermediate 176" in text
    assert "own.small: experts 128" in text
    assert "hint: see `glm-rocm backends --target mi300x`" in text


def test_no_candidate_at_all() -> None:
    with pytest.raises(SelectionError, match="no candidate at all"):
        select(AIR_TP8, MI300X, ())


def test_asked_for_goes_before_priority() -> None:
    selection = select(AIR_TP8, MI300X, (ANY, LAST), asked="torch.experts")
    assert selection.chosen is LAST
    assert selection.because == "asked for by `--kernel moe.experts=torch.experts`"
    assert len(selection.trace) == 2


def test_asked_for_but_refusing() -> None:
    with pytest.raises(SelectionError) as raised:
        select(AIR_TP8, MI300X, (NARROW, ANY), asked="own.narrow")
    text = raised.value.render()
    assert "`own.narrow` does not run experts" in text
    assert "intermediate 176, required a multiple of 32; use `--tp 4`" in text
    assert "hint: drop `--kernel moe.experts=own.narrow`" in text


def test_asked_for_but_unknown() -> None:
    with pytest.raises(UsageError, match=r"unknown kernel `own.nothing` for op `moe.experts`; one of `own.any`"):
        select(AIR_TP8, MI300X, (ANY,), asked="own.nothing")
    with pytest.raises(UsageError, match="none on this target"):
        select(AIR_TP8, MI300X, (), asked="own.nothing")


def test_asked_for_by_the_name_of_another_op_s_kernel() -> None:
    with pytest.raises(UsageError, match=r"unknown kernel `own.linear`"):
        select(AIR_TP8, MI300X, (ANY, kernel("own.linear", op="linear")), asked="own.linear")


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        (on_vendor("cuda", "cpu"), Reason("vendor rocm", "cuda or cpu")),
        (on_arch("gfx950", cure="use an MI355X"), Reason("arch gfx942", "gfx950", "use an MI355X")),
    ],
)
def test_limits_on_the_target(limit: Limit, reason: Reason) -> None:
    assert limit(AIR_TP8, MI300X) == reason
    assert on_vendor("rocm")(AIR_TP8, MI300X) is None
    assert on_arch("gfx942")(AIR_TP8, MI300X) is None


def test_a_missing_module_counts_on_this_machine_but_not_for_a_stated_target() -> None:
    from dataclasses import replace

    limit = module_present("no_such_module", cure="install it")
    here = replace(CPU, stated=False)
    assert limit(AIR_TP8, here) == Reason("no module `no_such_module`", "`no_such_module` installed", "install it")
    assert limit(AIR_TP8, replace(CPU, stated=True)) is None
    assert module_present("json", cure="")(AIR_TP8, here) is None


def test_evidence_is_none_unless_recorded() -> None:
    assert ANY.evidence_for("gfx942", "bfloat16").level == "none"


def test_load_imports_the_entry() -> None:
    assert ANY.load()(9.0) == 3.0
