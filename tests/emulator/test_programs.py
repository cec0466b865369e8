"""The kernels of a language model run as machine code of both architectures, compute what torch does, and pass all
checks in every order of waves."""

from __future__ import annotations

from typing import Any

import pytest
from corpus.case import BOTH, Case
from programs import attention, products, rows

import cdna_emulator

CASES = [*rows.CASES, *products.CASES, *attention.CASES]
SHARED_LDS = [
    case for case in CASES if case.name.startswith(("gemm_bf16_64", "flash_64", "rms_norm", "grouped_gemm_fp8"))
]


def launch(case: Case, arch: str, **options: Any) -> cdna_emulator.LaunchRecord:
    """Run a case, check its results, and give back what the launch did."""
    arguments = case.arguments(arch)
    taken = arguments[: len(case.kernel.arg_names) - len(set(case.options) & set(case.kernel.arg_names))]
    with cdna_emulator.device(arch, **options) as gpu:
        case.kernel[case.grid](*taken, **case.options)
    case.check(arguments, arch)
    return gpu.launches[-1]


@pytest.mark.parametrize("arch", BOTH)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_program_computes_what_torch_does(case: Case, arch: str) -> None:
    launch(case, arch)


@pytest.mark.parametrize("arch", BOTH)
@pytest.mark.parametrize("case", SHARED_LDS, ids=lambda case: case.name)
@pytest.mark.parametrize("order", ["reverse", "seeded"])
def test_no_check_and_no_order_of_waves_finds_fault_with_a_right_program(case: Case, arch: str, order: Any) -> None:
    checked = launch(case, arch, order=order, seed=7, check_races=True, check_undefined=True, check_waits=True)
    assert checked.counters == launch(case, arch).counters


@pytest.mark.parametrize("arch", BOTH)
def test_the_dtypes_own_matrix_instruction_is_used(arch: str) -> None:
    case = next(case for case in CASES if case.name == "gemm_fp8_32x32x64")
    record = launch(case, arch)
    expected = {"gfx942": "v_mfma_f32_32x32x16_fp8_fp8", "gfx950": "v_mfma_f32_32x32x64_f8f6f4"}[arch]
    assert [name for name in record.mnemonics if name.startswith("v_mfma")] == [expected]
    assert record.counters.mfma_flops == 2 * 32 * 32 * 128
    assert record.mfma_utilisation(2 * 32 * 32 * 128) == 1.0
