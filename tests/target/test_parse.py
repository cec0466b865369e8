"""Targets stated in words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_rocm.errors import TargetError
from glm_rocm.target import known_devices, parse_target
from glm_rocm.target.cards import ARCHS, CARDS


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.key)
def test_every_card_is_stated_by_its_word_and_described_by_its_row(card) -> None:
    target = parse_target(f"{card.key}:4")
    assert (target.device, target.arch, target.count, target.stated) == (card.key, card.arch, 4, True)
    assert target.fp8_dtype == ARCHS[card.arch].fp8_dtype
    assert target.memory_bytes == card.memory_bytes
    assert card.name in target.describe()


def test_fp8_format_is_fnuz_on_cdna3_alone() -> None:
    fnuz = {arch.name for arch in ARCHS.values() if arch.fp8_dtype == "float8_e4m3fnuz"}
    none = {arch.name for arch in ARCHS.values() if arch.fp8_dtype is None}
    assert fnuz == {"gfx942"}
    assert none == {"gfx90a", "gfx1100", "sm80"}


@pytest.mark.parametrize(("arch", "card"), [("gfx942", "mi300x"), ("gfx950", "mi350x"), ("sm90", "h100")])
def test_architecture_stands_for_its_first_card(arch, card) -> None:
    assert parse_target(f"{arch}:2") == parse_target(f"{card}:2")


def test_case_and_spaces_around_do_not_matter() -> None:
    assert parse_target(" MI300X:8 ") == parse_target("mi300x:8")


def test_cpu_is_this_machine() -> None:
    target = parse_target("cpu")
    assert (target.vendor, target.count, target.stated) == ("cpu", 1, True)
    assert target.memory_bytes > 1 << 30


@pytest.mark.parametrize(
    "text",
    [
        "mi300x:0",
        "mi300x:-1",
        "mi300x:",
        "mi300x:eight",
        "mi300x:8:8",
        "mi300x:1.5",
        "mi300x:1025",
        "mi300x:²",
        "mi300x:" + "9" * 5000,
    ],
)
def test_count_that_is_no_number_of_devices_is_refused(text) -> None:
    with pytest.raises(TargetError, match="1 to 1024") as caught:
        parse_target(text)
    assert "--target mi300x:1" in caught.value.hint


def test_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TargetError) as caught:
        parse_target("mi999:8")
    assert "`mi999`" in caught.value.found
    assert "`mi300x`" in caught.value.required
    assert caught.value.exit_code == 2


def test_many_cpus_are_refused() -> None:
    with pytest.raises(TargetError, match="whole machine"):
        parse_target("cpu:2")


@settings(deadline=None)
@given(st.sampled_from(known_devices()), st.integers(1, 1024))
def test_what_is_stated_is_what_comes_back(kind, count) -> None:
    target = parse_target(f"{kind}:{1 if kind == 'cpu' else count}")
    assert target.count == (1 if kind == "cpu" else count)
    assert kind in (target.device, target.arch)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_a_target_or_an_error_with_a_cure(text) -> None:
    refusal = None
    try:
        parse_target(text)
    except TargetError as error:
        refusal = error
    assert refusal is None or (refusal.found and refusal.hint)
