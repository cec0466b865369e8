"""Prefill and decode apart: what is asked for, what each server gets, and what is refused."""

from __future__ import annotations

import pytest

from glm_rocm.errors import PlanError, UsageError
from glm_rocm.plan import Disaggregation, Plan, make_plan
from glm_rocm.target import parse_target

PAIR = Disaggregation(1, 1)


def test_the_form_is_read_in_any_order_and_with_blanks() -> None:
    assert Disaggregation.parse("decode=2, prefill=1") == Disaggregation(prefill=1, decode=2)


@pytest.mark.parametrize(
    "text",
    ["", "1,1", "prefill=1", "prefill=1,decode=0", "prefill=1,decode=x", "prefill=1,prefill=1", "prefill=-1,decode=1",
     "prefill=1,decode=1,router=1", "prefill=1;decode=1", "prefill=²,decode=1"],
)  # fmt: skip
def test_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="at least one server of each"):
        Disaggregation.parse(text)


def test_each_server_gets_its_part_of_the_devices() -> None:
    made = make_plan("GLM-4.5-Air", parse_target("h100:8"), engine="sglang", disaggregation=PAIR)
    assert (made.tp, made.devices, made.target.count) == (4, 8, 8)
    assert [PAIR.first_device(server, made.tp) for server in range(2)] == [0, 4]


def test_an_uneven_number_of_devices_leaves_one_idle() -> None:
    made = make_plan("GLM-4.5-Air", parse_target("mi300x:5"), engine="sglang", disaggregation=PAIR)
    assert (made.tp, made.devices) == (2, 4)


def test_a_cpu_is_shared_and_so_is_its_memory() -> None:
    cpu = parse_target("cpu")
    assert PAIR.share(cpu).memory_bytes == cpu.memory_bytes // 2
    assert make_plan("pocket", cpu, engine="sglang", disaggregation=PAIR).devices == 1


def test_more_servers_than_devices_are_refused() -> None:
    with pytest.raises(PlanError, match="a device or more for each"):
        make_plan("pocket", parse_target("h100:1"), engine="sglang", disaggregation=PAIR)


def test_a_degree_beyond_a_servers_part_is_refused() -> None:
    with pytest.raises(PlanError, match="a TP of at most 4"):
        make_plan("GLM-4.5-Air", parse_target("h100:8"), engine="sglang", tp=8, disaggregation=PAIR)


def test_an_engine_that_hands_no_cache_over_is_refused() -> None:
    with pytest.raises(UsageError, match="`--engine sglang`"):
        make_plan("pocket", parse_target("cpu"), engine="vllm", disaggregation=PAIR)


def test_the_plan_holds_it_through_json() -> None:
    made = make_plan("pocket", parse_target("cpu"), engine="sglang", disaggregation=Disaggregation(2, 1))
    assert Plan.from_json(made.to_json()) == made
