"""The whole plan: precision, kernels, notes, and its journey through JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_rocm.errors import PlanError, SelectionError, UsageError
from glm_rocm.model import KNOWN, ModelSpec
from glm_rocm.plan import PLAN_VERSION, Plan, make_plan
from glm_rocm.plan.memory import GIB
from glm_rocm.plan.problems import OPS
from glm_rocm.target import parse_target

AIR, AIR_FP8 = KNOWN["zai-org/GLM-4.5-Air"], KNOWN["zai-org/GLM-4.5-Air-FP8"]
SMALL = replace(AIR, name="small", layers=4, hidden=192, heads=12, kv_heads=1, experts=8, top_k=2, moe_intermediate=192)
CPU = replace(parse_target("cpu"), memory_bytes=16 * GIB)


def plan(model: ModelSpec | str = AIR, devices: str = "mi300x:8", **flags) -> Plan:
    return make_plan(model, parse_target(devices), engine="vllm", **flags)


def test_bf16_plan_names_one_kernel_per_problem() -> None:
    made = plan("GLM-4.6")
    assert made.precision == made.dtype == made.kv_dtype == "bfloat16"
    assert [selection.problem.op for selection in made.selections] == [
        "norm_rope",
        "attention",
        "moe.route",
        "moe.experts",
    ]
    attention = made.selections[1].problem
    assert (attention.heads, attention.kv_heads, attention.block_size) == (12, 1, 16)
    assert made.selections[3].problem.intermediate == 192


def test_fp8_plan_adds_each_linear_shape_once() -> None:
    made = plan("GLM-4.6-FP8")
    assert made.precision == "fp8_channel_token"
    shapes = {
        (selection.problem.out_features, selection.problem.in_features)
        for selection in made.selections
        if selection.problem.op == "linear"
    }
    # Rows, columns at TP 8: qkv, output, dense MLP, shared expert (AITER's tuning list for these models has the first).
    assert shapes == {(1792, 5120), (5120, 1536), (3072, 5120), (384, 5120), (5120, 192)}
    widths = sorted(selection.problem.width for selection in made.selections if selection.problem.op == "quant")
    assert widths == [192, 1536, 5120]
    assert made.chosen("quant", width=192) == made.chosen("quant")


def test_every_selection_carries_its_reasons() -> None:
    for selection in plan("GLM-4.6-FP8").selections:
        assert selection.because
        assert selection.chosen.name in {verdict.kernel for verdict in selection.trace}


def test_ops_that_the_engine_keeps_are_not_planned() -> None:
    made = plan("GLM-4.6-FP8", ops=("attention", "moe.experts"))
    assert {selection.problem.op for selection in made.selections} == {"attention", "moe.experts"}
    with pytest.raises(PlanError, match="0 kernels for `linear`"):
        made.chosen("linear")


def test_cpu_plan_takes_the_cpus_pages_and_few_requests() -> None:
    made = make_plan(SMALL, CPU, engine="vllm")
    assert made.chosen("attention") == "cpu.attention"
    assert made.selections[1].problem.block_size == 128
    assert made.max_seqs == 16
    assert made.kv_bytes == made.fit.kv_per_token * min(made.fit.kv_tokens, 16 * made.context)


def test_kernel_asked_for_by_name() -> None:
    made = plan(kernels={"attention": "cpu.attention"})
    assert "--kernel attention=cpu.attention" in made.selections[1].because


@pytest.mark.parametrize(
    ("kernels", "ops", "words"),
    [
        ({"attention": "rocm.warp_drive"}, None, "unknown kernel `rocm.warp_drive`"),
        ({"attention": "cpu.experts"}, None, "unknown kernel `cpu.experts`"),
        ({"convolution": "cpu.attention"}, None, "--kernel convolution="),
        ({"norm_rope": "cpu.norm_rope"}, ("attention",), "keeps to itself"),
    ],
)
def test_kernel_or_op_that_is_unknown(kernels, ops, words) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        plan(kernels=kernels, ops=ops)
    assert "glm-rocm backends" in caught.value.hint


def test_kernel_that_refuses_the_problem_is_not_forced() -> None:
    spec = replace(SMALL, quantization=AIR_FP8.quantization)
    with pytest.raises(SelectionError, match="scheme"):
        make_plan(spec, CPU, engine="vllm", kernels={"quant": "cpu.quant_groups"})


@pytest.mark.parametrize("devices", ["a100:8", "mi250x:16", "rx7900:16"])
def test_fp8_checkpoint_on_a_card_without_fp8_maths(devices) -> None:
    with pytest.raises(PlanError, match="multiplies no FP8") as caught:
        plan(AIR_FP8, devices)
    assert "zai-org/GLM-4.5-Air`" in caught.value.hint


def test_fp8_off_and_on_against_the_checkpoint() -> None:
    with pytest.raises(PlanError, match="--fp8 off"):
        plan(AIR_FP8, fp8="off")
    with pytest.raises(PlanError, match="--fp8 on") as caught:
        plan(AIR, fp8="on")
    assert "GLM-4.5-Air-FP8" in caught.value.hint
    assert "glm-rocm quantize" in caught.value.hint
    assert plan(AIR_FP8, fp8="on").precision == "fp8_channel_token"
    assert plan(AIR, fp8="off").precision == "bfloat16"


@pytest.mark.parametrize("flags", [{"fp8": "yes"}, {"dtype": "int8"}, {"kv_cache": "int4"}])
def test_words_that_mean_nothing(flags) -> None:
    with pytest.raises(UsageError, match="auto"):
        plan(**flags)


def test_fp8_blocks_that_the_engine_would_refuse_after_loading_are_refused_before() -> None:
    blocks = replace(
        AIR_FP8.quantization, scheme="fp8_block", ignore=(*AIR_FP8.quantization.ignore, r"re:.*layers\.0\.")
    )
    spec = replace(AIR_FP8, quantization=blocks, moe_intermediate=1536)
    assert plan(spec, devices="mi300x:1").precision == "fp8_block"
    with pytest.raises(PlanError, match=r"float32.*vllm runs FP8 blocks beside no others"):
        plan(spec, devices="mi300x:1", dtype="float32")
    with pytest.raises(PlanError, match="whole blocks, since vllm loads no others"):
        plan(replace(spec, moe_intermediate=1400), devices="mi300x:1")
    made = make_plan(spec, parse_target("mi300x:1"), engine="transformers", dtype="float32")
    assert made.dtype == "float32"


def test_fp8_cache_is_of_the_cards_own_format() -> None:
    assert plan(kv_cache="fp8").kv_dtype == "float8_e4m3fnuz"
    assert plan(devices="mi355x:4", kv_cache="fp8").kv_dtype == "float8_e4m3fn"


def test_notes_say_what_is_known_and_how() -> None:
    notes = plan(AIR_FP8, notes=["VLLM_ATTENTION_BACKEND=XFORMERS is read by no engine"]).notes
    assert notes[0].startswith("VLLM_ATTENTION_BACKEND")
    assert any("public evidence" in note for note in notes)
    assert any("e4m3fnuz on gfx942" in note for note in notes)
    assert not any("no kernels of its own" in note for note in notes)
    assert any("no kernels of its own for sm80" in note for note in plan(devices="a100:8").notes)
    assert not any("no kernels of its own" in note for note in make_plan(SMALL, CPU, engine="vllm").notes)


def test_our_triton_kernels_come_first_on_mi300x_and_mi350() -> None:
    for devices in ("mi300x:8", "mi325x:4", "mi350x:8", "mi355x:4"):
        chosen = {one.problem.op: one.chosen.name for one in plan(AIR_FP8, devices=devices).selections}
        assert set(chosen.values()) >= {"rocm.attention", "rocm.experts", "rocm.linear"}, devices
        assert all(name.startswith("rocm.") for name in chosen.values()), devices
    elsewhere = {one.chosen.name for one in plan(devices="mi250x:16").selections}
    assert all(name.startswith("cpu.") for name in elsewhere)


@pytest.mark.parametrize(("word", "fp8"), [("gfx942", "float8_e4m3fnuz"), ("gfx950", "float8_e4m3fn")])
def test_emulating_chooses_the_cards_kernels_and_the_cpus_memory(word, fp8) -> None:
    emulated = make_plan(SMALL, CPU, engine="vllm", kv_cache="fp8", emulate=word)
    plain = make_plan(SMALL, CPU, engine="vllm", kv_cache="fp8")
    assert (emulated.target, emulated.fit) == (plain.target, plain.fit)
    assert emulated.kernel_target.arch == word
    assert emulated.kv_dtype == fp8
    assert emulated.chosen("attention") == "rocm.attention"
    assert emulated.chosen("moe.experts") == "rocm.experts"
    assert any(f"{word} machine code" in note for note in emulated.notes)
    assert Plan.from_json(emulated.to_json()) == emulated


def test_emulating_wants_a_known_card_and_a_cpu() -> None:
    with pytest.raises(UsageError, match="one of `gfx942`, `gfx950`, `interpret`"):
        make_plan(SMALL, CPU, engine="vllm", emulate="gfx1201")
    with pytest.raises(UsageError, match="a CPU, which stands in for the card"):
        plan(emulate="gfx942")


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(sorted(KNOWN)),
    device=st.sampled_from(["h200", "b200", "mi300x", "mi355x"]),
    mtp=st.integers(0, 3),
    kv_cache=st.sampled_from(["auto", "fp8"]),
    context=st.none() | st.integers(1, 131072),
    note=st.text(max_size=40),
)
def test_json_there_and_back_is_the_same_plan(name, device, mtp, kv_cache, context, note) -> None:
    made = plan(name, f"{device}:16", mtp=mtp, kv_cache=kv_cache, context=context, notes=[note])
    assert Plan.from_json(made.to_json()) == made


def test_json_carries_block_fp8_and_refusals() -> None:
    block = replace(SMALL, moe_intermediate=256, quantization=replace(AIR_FP8.quantization, scheme="fp8_block"))
    made = make_plan(block, CPU, engine="transformers")
    assert any(selection.refused for selection in made.selections)
    again = Plan.from_json(made.to_json())
    assert again == made
    assert again.chosen("quant") == "cpu.quant_groups"


def test_block_fp8_that_vllm_would_refuse_after_loading_is_refused_before() -> None:
    ragged = replace(SMALL, quantization=replace(AIR_FP8.quantization, scheme="fp8_block"))
    with pytest.raises(PlanError, match="an expert has 192 columns") as caught:
        make_plan(ragged, CPU, engine="vllm")
    assert "glm-rocm quantize" in caught.value.hint
    assert make_plan(ragged, CPU, engine="transformers").precision == "fp8_block"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", "{}", '{"plan": 1}'])
def test_json_that_is_no_plan(text) -> None:
    with pytest.raises(PlanError, match="plan") as caught:
        Plan.from_json(text)
    assert "glm-rocm plan" in caught.value.hint


@pytest.mark.parametrize("version", [0, PLAN_VERSION + 1, "1", None])
def test_plan_of_another_version(version) -> None:
    content = json.loads(plan().to_json())
    content["glm_rocm_plan"] = version
    with pytest.raises(PlanError, match="version") as caught:
        Plan.from_json(json.dumps(content))
    assert f"version {PLAN_VERSION}" in caught.value.required


def edit(path: str, value: object) -> str:
    """The JSON of a plan with one value replaced."""
    content = json.loads(plan().to_json())
    *parents, last = path.split(".")
    place = content
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place[key]
    place[int(last) if isinstance(place, list) else last] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("tp", "8", r"plan\.tp is '8', required int"),
        ("tp", True, "required int"),
        ("model.experts", None, r"plan\.model\.experts"),
        ("target.vendor", "tpu", r"plan\.target\.vendor is 'tpu', required one of"),
        ("surprise", 1, "required the fields"),
        ("fit", [], "required the fields"),
        ("notes", "text", r"plan\.notes is 'text', required a list"),
        ("selections.0.problem.op", "sort", "required a problem of"),
        ("selections.0.trace.0", {"kernel": 1}, "none of its types"),
        ("selections.0.chosen", "cpu.gone", "kernel `cpu.gone`, which this glm-rocm does not have"),
        ("selections.0.chosen", ["x"], "does not have"),
    ],
)
def test_damaged_plan_names_the_place(path, value, words) -> None:
    with pytest.raises(PlanError, match=words) as caught:
        Plan.from_json(edit(path, value))
    assert caught.value.hint


def test_planning_imports_no_torch() -> None:
    program = (
        "import sys; from glm_rocm.plan import Plan, make_plan; from glm_rocm.target import parse_target\n"
        "made = make_plan('GLM-4.6-FP8', parse_target('mi300x:8'), engine='vllm'); Plan.from_json(made.to_json())\n"
        "print([name for name in ('torch', 'triton', 'vllm', 'transformers') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_ops_are_named_once_for_all() -> None:
    assert OPS == ("norm_rope", "attention", "moe.route", "moe.experts", "linear", "quant")
