"""Degree, context and memory: what fits, what is moved to host memory, and what is refused with which cure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_rocm.errors import PlanError, UsageError
from glm_rocm.model import KNOWN
from glm_rocm.plan.memory import GIB, Workload, estimate, offload_needed, smallest_tp
from glm_rocm.plan.placement import Wishes, place
from glm_rocm.target import parse_target

BIG, AIR = KNOWN["zai-org/GLM-4.5"], KNOWN["zai-org/GLM-4.5-Air"]
NOTHING = Wishes(None, None, None, 0, "bfloat16", "bfloat16")


def put(spec, devices, **wishes):
    return place(spec, parse_target(devices), replace(NOTHING, **wishes))


def test_full_context_where_the_memory_allows_it() -> None:
    placed = put(KNOWN["zai-org/GLM-4.6"], "mi300x:8")
    assert (placed.tp, placed.context, placed.max_seqs) == (8, 202752, 256)
    assert placed.fit.fits
    assert placed.fit.full_requests >= 1
    assert placed.fit.offload == 0


def test_context_that_the_memory_allows_where_it_is_less() -> None:
    placed = put(KNOWN["zai-org/GLM-4.6"], "mi300x:6")
    assert placed.tp == 4
    assert 8192 <= placed.context < 202752
    assert placed.context % 1024 == 0
    # The longest: one more unit would not fit.
    longer = Workload(placed.context + 2048, 1, 256, "bfloat16", "bfloat16", 0)
    assert not estimate(KNOWN["zai-org/GLM-4.6"], parse_target("mi300x"), 4, longer).fits
    assert any("2 of 6 devices stay idle" in note for note in placed.notes)


def test_context_that_is_not_asked_fits_as_often_as_the_requests_that_are() -> None:
    placed = put(AIR, "h100:4", max_seqs=8)
    assert 8192 < placed.context < 131072
    assert placed.fit.full_requests == placed.fit.requests == 8


def test_readmes_case_of_host_memory_on_eight_h100() -> None:
    placed = put(BIG, "h100:8")
    assert placed.fit.offload == 16 * GIB  # GLM's README: `--cpu-offload-gb 16`
    assert placed.fit.fits
    assert placed.fit.smallest_tp == 16
    assert any("--cpu-offload-gb 16" in note for note in placed.notes)


def test_host_memory_is_not_used_where_it_was_refused() -> None:
    with pytest.raises(PlanError, match="needs") as caught:
        put(BIG, "h100:8", offload=False)
    assert "h100:16" in caught.value.hint
    assert "FP8" in caught.value.hint


def test_no_more_than_a_quarter_of_the_weights_goes_to_host_memory() -> None:
    with pytest.raises(PlanError, match="GB per device"):
        put(BIG, "h100:4")
    fit = estimate(BIG, parse_target("h100"), 4, Workload(8192, 1, 8, "bfloat16", "bfloat16", 0))
    assert offload_needed(fit) is None
    # 26 GiB of 88 GB are missing for two requests of 128K on eight: more than a quarter, less than half.
    with pytest.raises(PlanError, match="2 requests"):
        put(BIG, "h100:8", context=131072, max_seqs=2)


def test_model_that_fits_only_with_a_larger_degree_than_asked() -> None:
    with pytest.raises(PlanError) as caught:
        put(BIG, "mi300x:8", tp=2)
    assert caught.value.hint == "`--tp 4`"


def test_context_that_does_not_fit_names_the_one_that_does() -> None:
    with pytest.raises(PlanError) as caught:
        put(AIR, "h100:4", context=131072, max_seqs=8, offload=False)
    context = int(caught.value.hint.split("--context ")[1].split("`")[0])
    placed = put(AIR, "h100:4", context=context, max_seqs=8, offload=False)
    assert placed.fit.fits
    assert placed.max_seqs == 8


def test_context_beyond_the_models_own() -> None:
    with pytest.raises(PlanError, match="200000 tokens") as caught:
        put(BIG, "mi300x:8", context=200000)
    assert caught.value.hint == "`--context 131072`"


@pytest.mark.parametrize(("tp", "words"), [(7, "96 query heads"), (3, "8 KV heads"), (24, "vocabulary")])
def test_degree_that_does_not_divide(tp, words) -> None:
    with pytest.raises(PlanError, match=words):
        put(BIG, "mi300x:32", tp=tp)


def test_degree_beyond_the_devices() -> None:
    with pytest.raises(PlanError, match="TP 8 on 4 devices") as caught:
        put(AIR, "mi300x:4", tp=8)
    assert "--tp 4" in caught.value.hint
    with pytest.raises(PlanError, match=r"TP 2 on 1 device \("):
        put(AIR, "cpu", tp=2)


@pytest.mark.parametrize(
    "wishes",
    [
        {"tp": 0},
        {"tp": -1},
        {"context": 0},
        {"max_seqs": -8},
        {"mtp": -1},
        {"mtp": 9},
        {"fraction": 0.0},
        {"fraction": 1.5},
    ],
)
def test_numbers_that_mean_nothing(wishes) -> None:
    with pytest.raises(UsageError):
        put(AIR, "mi300x:4", **wishes)


def test_mtp_without_a_layer_for_it() -> None:
    with pytest.raises(PlanError, match="no MTP layer"):
        place(replace(AIR, mtp_layers=0), parse_target("mi300x:4"), replace(NOTHING, mtp=1))


def test_mtp_takes_its_layer_and_its_cache() -> None:
    off, on = put(AIR, "mi300x:4"), put(AIR, "mi300x:4", mtp=1)
    assert off.fit.weights.mtp == 0 < on.fit.weights.mtp
    assert on.fit.kv_per_token * 46 == off.fit.kv_per_token * 47


def test_large_model_on_a_small_cpu_is_sent_to_the_shipped_one() -> None:
    cpu = replace(parse_target("cpu"), memory_bytes=16 * GIB)
    with pytest.raises(PlanError) as caught:
        place(AIR, cpu, NOTHING)
    assert "pocket" in caught.value.hint


def test_degree_above_the_kv_heads_and_the_machine_is_noted() -> None:
    placed = put(BIG, "h100:16")
    assert any("kept by 2 ranks" in note for note in placed.notes)
    assert any("several machines" in note for note in placed.notes)


@settings(deadline=None, max_examples=80)
@given(
    name=st.sampled_from(sorted(KNOWN)),
    device=st.sampled_from(["h100", "h200", "b200", "mi300x", "mi325x", "mi355x"]),
    count=st.integers(1, 32),
    context=st.none() | st.integers(1, 131072),
    max_seqs=st.none() | st.integers(1, 64),
    mtp=st.integers(0, 3),
)
def test_whatever_is_asked_the_plan_fits_or_says_why_not(name, device, count, context, max_seqs, mtp) -> None:
    spec, target = KNOWN[name], parse_target(f"{device}:{count}")
    wishes = replace(NOTHING, context=context, max_seqs=max_seqs, mtp=mtp)
    refusal = None
    try:
        placed = place(spec, target, wishes)
    except PlanError as error:
        refusal = error
    if refusal is not None:
        assert refusal.found
        assert refusal.required
        assert refusal.hint
        return
    fit = placed.fit
    assert fit.fits
    assert placed.tp <= count
    assert spec.refuse_tp(placed.tp) is None
    assert context is None or placed.context == context
    assert fit.full_requests >= (max_seqs or 1)
    assert fit.needed == fit.fixed + fit.kv_asked <= fit.budget <= target.memory_bytes


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(KNOWN)), st.integers(1, 131072), st.integers(1, 16))
def test_smallest_degree_grows_with_the_work(name, context, requests) -> None:
    target = parse_target("h200")
    degrees = [
        smallest_tp(KNOWN[name], target, Workload(tokens, requests, 16, "bfloat16", "bfloat16", 0)) or 64
        for tokens in (1, context, 131072)
    ]
    assert degrees == sorted(degrees)
