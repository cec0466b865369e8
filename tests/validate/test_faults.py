"""Every bug that the field has shipped is found by the suite, and the op that has it is named."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import groupby

import pytest
import torch
from planted import attention, experts, route, small, stages
from planted.fault import Fault

from glm_rocm.model.spec import ModelSpec
from glm_rocm.pocket import checkpoint_path
from glm_rocm.validate.block import LAYER, PRECISIONS, block_cases, kernels_of
from glm_rocm.validate.layer import stages_of
from glm_rocm.validate.machine import Machine
from glm_rocm.validate.ops import OpCase, op_cases
from glm_rocm.validate.text import pack, questions

OPS = (*experts.FAULTS, *route.FAULTS, *attention.FAULTS, *small.LINEAR, *small.QUANT, *small.NORM_ROPE)
FAULTS = (*OPS, *stages.STAGES)


@cache
def cases(spec: ModelSpec, machine: Machine) -> tuple[OpCase, ...]:
    """The quick op level, with two KV heads: a ratio that one KV head would hide."""
    return tuple(op_cases(replace(spec, heads=24, kv_heads=2), 1, machine, quick=True))


def of_op(fault: Fault, spec: ModelSpec, machine: Machine) -> list[OpCase]:
    found = [case for case in cases(spec, machine) if case.problem.op == fault.where]
    if fault.sizes:
        plain = [case for case in found if case.stress == "plain" and case.m == 1]
        return [replace(case, m=m) for case in plain for m in fault.sizes]
    return sorted(found, key=lambda case: case.stress == "plain")


def test_the_table_is_as_long_as_the_field_s_list() -> None:
    assert len(FAULTS) >= 60
    assert len({str(fault) for fault in FAULTS}) == len(FAULTS)


def test_sound_kernels_pass_every_case(cpu: Machine, pocket: ModelSpec) -> None:
    missed = [case.sentence() for one in cases(pocket, cpu) if not (case := one.run(cpu)).passed]
    assert not missed


@pytest.mark.parametrize("fault", OPS, ids=str)
def test_fault_of_a_kernel_is_found(fault: Fault, cpu: Machine, pocket: ModelSpec) -> None:
    for case in of_op(fault, pocket, cpu):
        found = case.run(cpu, fault.plant(case.kernel.load()))
        if not found.passed:
            assert found.op == fault.where
            assert found.error or found.failures
            return
    pytest.fail("every case passed")


@pytest.mark.parametrize("fault", stages.STAGES, ids=str)
def test_first_stage_to_go_wrong_is_the_faulty_one(fault: Fault, cpu: Machine, pocket: ModelSpec) -> None:
    tokens = pack(questions(checkpoint_path(), 1)[:1]).tokens
    sound = stages_of(kernels_of(pocket, cpu))[fault.where]
    faulty = {fault.where: fault.plant(sound)}
    found = block_cases(pocket, cpu, tokens, function=faulty, precisions=("fp8 and fp8 cache",))
    layers = (list(cases) for _, cases in groupby(found, key=lambda case: case.problem))
    missed = next((bad for one in layers if (bad := [case for case in one if not case.passed])), [])
    assert missed, "every stage passed"
    assert {case.op for case in missed} <= {fault.where, LAYER}
    assert missed[0].op == fault.where


@pytest.mark.long
def test_nothing_sound_is_flagged_over_200_seeds(cpu: Machine, pocket: ModelSpec) -> None:
    few = [case for case in cases(pocket, cpu) if case.m in (3, 9, 12, 19, 23)]
    for seed in range(200):
        missed = [case.sentence() for one in few[seed % 5 :: 5] if not (case := one.run(cpu, seed=seed)).passed]
        tokens = torch.randint(0, 860, (48,), generator=torch.Generator().manual_seed(seed))
        layers = block_cases(pocket, cpu, tokens, precisions=PRECISIONS[seed % 3 :][:1])
        missed += [case.sentence() for case in layers if not case.passed]
        assert not missed, f"seed {seed}"
