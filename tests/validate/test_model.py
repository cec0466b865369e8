"""BF16 against FP8 on the same text: sound kernels meet every gate, a fault shows at its first layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planted.experts import halved
from planted.fault import on_options
from planted.small import bf16_positions
from torch import Tensor

from glm_rocm.errors import CheckpointError
from glm_rocm.model.spec import ModelSpec
from glm_rocm.pocket import checkpoint_path
from glm_rocm.validate.block import kernels_of
from glm_rocm.validate.machine import Machine
from glm_rocm.validate.model import VARIANTS, model_cases
from glm_rocm.validate.results import Case
from glm_rocm.validate.text import Packed, pack, questions

ALL = (VARIANTS[0], VARIANTS[-1])


@pytest.fixture(scope="module")
def packed() -> Packed:
    return pack(questions(checkpoint_path(), 1, longest=120))


def cases(spec: ModelSpec, cpu: Machine, packed: Packed, op: str, plant: Callable[..., Any]) -> list[Case]:
    kernels = kernels_of(spec, cpu)
    return list(model_cases(spec, cpu, packed, {**kernels, op: plant(kernels[op])}, variants=ALL))


def halved_where_fp8(run: Callable[..., Any]) -> Callable[..., Any]:
    def faulty(q: Tensor, k: Tensor, v: Tensor, *rest: Tensor, v_scale: float, **options: float) -> Any:
        return run(q, k, v, *rest, v_scale=v_scale / 2 if v.element_size() == 1 else v_scale, **options)

    return faulty


def test_each_part_of_fp8_meets_every_gate(pocket: ModelSpec, cpu: Machine, packed: Packed) -> None:
    found = list(model_cases(pocket, cpu, packed, kernels_of(pocket, cpu)))
    assert not [case.sentence() for case in found if not case.passed]
    assert {case.stress for case in found} == {variant.name for variant in VARIANTS[1:]}
    assert {case.op for case in found} == {"hidden", "logits", "mtp", "accuracy"}


def test_experts_at_half_their_scale_show_at_the_first_moe_layer(
    pocket: ModelSpec, cpu: Machine, packed: Packed
) -> None:
    found = cases(pocket, cpu, packed, "moe.experts", on_options(w13_scale=halved, w2_scale=halved))
    hidden = next(case for case in found if case.op == "hidden")
    assert hidden.failures[0].where == f"layer {pocket.first_dense}"
    assert not next(case for case in found if case.op == "logits").passed


def test_a_cache_scale_forgotten_when_it_is_read_shows_at_the_first_layer(
    pocket: ModelSpec, cpu: Machine, packed: Packed
) -> None:
    """That of fnuz, which is twice fn's: half the values are read."""
    found = cases(pocket, cpu, packed, "attention", halved_where_fp8)
    hidden = next(case for case in found if case.op == "hidden")
    assert hidden.failures[0].where.startswith("layer ")
    assert not next(case for case in found if case.op == "logits").passed


def test_what_both_sides_share_is_left_to_the_other_levels(pocket: ModelSpec, cpu: Machine, packed: Packed) -> None:
    """A fault of BF16 and FP8 alike is no difference between them: why the op and block levels hold the reference."""
    found = cases(pocket, cpu, packed, "norm_rope", bf16_positions)
    assert next(case for case in found if case.op == "logits").passed


def test_a_checkpoint_without_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no `tokenizer.json`"):
        questions(tmp_path, 1)
