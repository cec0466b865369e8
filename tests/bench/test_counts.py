"""From launches to figures: the model's arithmetic by hand, useful work, bytes, and what is not reached."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
import torch

from cdna_emulator import Counters, LaunchRecord, Registers, Traffic
from glm_rocm.bench import check, ours, report
from glm_rocm.bench.cases import CASES, Case, Reach, choose
from glm_rocm.bench.count import count, mfma_seconds
from glm_rocm.bench.inputs import make_inputs
from glm_rocm.bench.run import Counted, Row, emulate
from glm_rocm.errors import ParityError, UsageError
from glm_rocm.target import parse_target

MI300X = parse_target("gfx942")
FNUZ = torch.float8_e4m3fnuz


def record(grid: int = 304, instructions: int = 30400, **changes: Any) -> LaunchRecord:
    """A launch of one warp a workgroup, all vector instructions."""
    zeros = dict.fromkeys(Counters.__dataclass_fields__, 0)
    counted = Counters(**(zeros | {"valu": instructions, "workgroups": grid} | changes.pop("counters", {})))
    traffic = changes.pop("traffic", {})
    fields = {"warps": 1, "shared": 0, "mnemonics": {}} | changes
    return LaunchRecord("kernel", "gfx942", (grid, 1, 1), registers=Registers(64, 0, 32, 0, 0, 0), counters=counted,
                        traffic=traffic, **fields)  # fmt: skip


def counted(*records: LaunchRecord, **options: Any) -> Any:
    return count(records, MI300X, **({"useful_flops": 0, "ideal_bytes": 0, "streamed": ()} | options))


def test_issue_time_is_four_cycles_an_instruction_of_the_one_wave_on_a_unit() -> None:
    assert counted(record()).model_us == pytest.approx(100 * 4 / 2.1e9 * 1e6)


def test_a_unit_with_two_workgroups_takes_as_long_as_with_one_on_another_simd() -> None:
    one, two, five = (counted(record(304 * n, 30400 * n)).model_us for n in (1, 2, 5))
    assert two == pytest.approx(one)
    assert five == pytest.approx(one * 5 / 4), "the fifth wave shares a SIMD"


def test_one_workgroup_does_all_the_work_on_one_unit() -> None:
    assert counted(record(1, 30400)).model_us == pytest.approx(304 * counted(record()).model_us)


def test_bytes_move_at_the_published_bandwidth_and_lines_count_once() -> None:
    traffic = {"x": Traffic(load_bytes=10**9, store_bytes=0, line_bytes=53_000_000)}
    assert counted(record(traffic=traffic)).model_us == pytest.approx(53e6 / 5.3e12 * 1e6)


def test_launches_follow_each_other() -> None:
    assert counted(record(), record()).model_us == pytest.approx(2 * counted(record()).model_us)


@pytest.mark.parametrize(
    ("mnemonic", "flops", "rate"),
    [
        ("v_mfma_f32_16x16x16_bf16", 8192, 1307e12),
        ("v_mfma_f32_32x32x8_f16", 16384, 1307e12),
        ("v_mfma_f32_16x16x32_fp8_fp8", 16384, 2615e12),
        ("v_mfma_f32_4x4x4_16b_bf16", 2048, 1307e12),
        ("v_mfma_f32_32x32x2_f32", 4096, 1307e12 / 8),
    ],
)
def test_mfma_time_is_the_work_of_an_instruction_at_the_rate_of_its_operands(
    mnemonic: str, flops: int, rate: float
) -> None:
    assert mfma_seconds({mnemonic: 10, "v_add_f32": 99}, MI300X) == pytest.approx(10 * flops / rate)


def test_a_sampled_launch_stands_for_its_whole_grid() -> None:
    whole = counted(record(400, 40_000, traffic={"x": Traffic(4000, 0, 1280)}), ideal_bytes=4000, streamed=["x"])
    part = record(400, 10_000, traffic={"x": Traffic(1000, 0, 320)}, counters={"workgroups": 100})
    sampled = counted(part, ideal_bytes=4000, streamed=["x"], sample=4)
    assert sampled.instructions == whole.instructions == 40_000
    assert sampled.bytes_over_ideal == whole.bytes_over_ideal == 1.0
    assert sampled.model_us == pytest.approx(whole.model_us)


def test_arguments_that_share_memory_are_found_by_each_of_their_names() -> None:
    traffic = {"q, k, v": Traffic(300, 0, 384), "out": Traffic(0, 100, 128)}
    assert counted(record(traffic=traffic), ideal_bytes=100, streamed=["k"]).bytes_over_ideal == 3.0


def test_mfma_is_useful_over_issued_and_none_without_products() -> None:
    assert counted(record(counters={"mfma_flops": 400}), useful_flops=300).mfma == 0.75
    assert counted(record(), useful_flops=0).mfma is None


@pytest.mark.parametrize("case", [case for case in CASES if case.quick], ids=lambda case: case.name)
def test_inputs_are_the_same_bits_in_any_order(case: Case) -> None:
    first = make_inputs(case, FNUZ)
    for other in CASES[:2]:
        make_inputs(other, FNUZ)
    again = make_inputs(case, FNUZ)
    assert first.tensors.keys() == again.tensors.keys()
    assert all(
        torch.equal(x.contiguous().view(torch.uint8), again.tensors[name].contiguous().view(torch.uint8))
        for name, x in first.tensors.items()
    )


def test_no_two_experts_that_tokens_go_to_hold_the_same_weights() -> None:
    (case,) = choose(names=["moe-fp8-m4-air"])
    tensors = make_inputs(case, FNUZ).tensors
    rows = tensors["w13"].view(torch.uint8)[:, 0, :64].tolist()
    filled = [tuple(row) for row in rows if any(row)]
    assert len(filled) > 60
    assert len(set(filled)) == len(filled)


def test_a_wrong_result_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    right = ours.on_a_card
    monkeypatch.setattr(ours, "on_a_card", lambda inputs: tuple(1.05 * x for x in right(inputs)))
    with pytest.raises(ParityError, match="ours in case `decode`: attention: token 0"):
        list(emulate(choose(names=["decode"]), MI300X, against=False))


def test_a_wrong_row_of_the_cache_is_found_among_right_ones() -> None:
    (case,) = choose(names=["prologue-m1"])
    inputs = make_inputs(case, FNUZ)
    q, keys, values = check.reference(inputs)
    wrong = keys.flip(-1)
    check.hold((q, keys.clone(), values), (q, keys, values), inputs, "ours")
    with pytest.raises(ParityError, match="the key cache"):
        check.hold((q, wrong, values), (q, keys, values), inputs, "ours")


def row(reach: Reach, arch: str = "gfx942", peer: int = 0, **changes: Any) -> Row:
    """A row of one launch of ours and, with `peer` instructions, one of vLLM's."""
    made = counted(record(**changes), useful_flops=100, ideal_bytes=100, streamed=["w"])
    case = Case("made-up", "attention", "zai-org/GLM-4.6", 8, 1, 1, 512, reach=reach)
    sides = [Counted("ours", made, 0, 0.0, 0.0)]
    if peer:
        sides.append(Counted("vllm", counted(record(instructions=peer)), 3, 0.0, 0.0))
    return Row(case, arch, tuple(sides))


@pytest.mark.parametrize(
    ("reach", "found"),
    [
        (Reach(instructions=30399), "instructions 30400, to reach at most 30399"),
        (Reach(workgroups=305), "workgroups 304, to reach at least 305"),
        (Reach(mfma=0.6), "useful MFMA 0.50, to reach at least 0.60"),
        (Reach(bytes=1.9), "bytes 2.00x, to reach at most 1.90x"),
        (Reach(lds_reads=0.5), "LDS reads 1.50x of the weights, to reach at most 0.50x"),
    ],
)
def test_each_figure_that_is_not_reached_is_named(reach: Reach, found: str) -> None:
    made = row(reach, traffic={"w": Traffic(200, 0, 256)}, counters={"mfma_flops": 200, "lds_read_bytes": 300})
    assert report.misses(made) == [found]


def test_the_figures_are_gfx942s_and_the_peer_counts_everywhere() -> None:
    assert report.misses(row(Reach(instructions=1), arch="gfx950")) == []
    assert report.misses(row(Reach(), peer=30399)) == ["instructions 30400, vLLM 30399"]
    assert report.misses(row(Reach(), peer=30401)) == []


def test_csv_holds_a_line_a_contender_with_the_launches_that_were_not_counted() -> None:
    lines = list(csv.DictReader(io.StringIO(report.to_csv([row(Reach(), peer=5)]))))
    assert [(line["who"], line["instructions"], line["launches"]) for line in lines] == [
        ("ours", "30400", "1"),
        ("vllm", "5", "4"),
    ]
    assert tuple(lines[0]) == report.COLUMNS


def test_cases_have_names_of_their_own_and_every_op_is_there() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.op for case in choose()} == {"attention", "moe", "route", "prologue"}
    assert {case.tp for case in CASES} == {4, 8}
    for case in CASES:
        assert case.describe().startswith("GLM-4")


@pytest.mark.parametrize(
    ("ops", "names", "message"),
    [(["x"], [], "--op x"), ([], ["decode-b2"], "--case decode-b2"), (["moe"], ["decode"], "no case in common")],
)
def test_an_unknown_choice_is_refused(ops: list[str], names: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose(ops, names)
