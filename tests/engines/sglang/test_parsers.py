"""GLM's golden messages taken apart by SGLang's parsers and by ours in their place: whole, and in every cut.

docs/parsers.md shows the outcomes held here. Where SGLang mends something, its test fails, and the cure can go.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

GOLDEN_FOLDER = Path(__file__).parents[2] / "golden"
GOLDEN = json.loads((GOLDEN_FOLDER / "messages.json").read_text(encoding="utf-8"))
OUTCOMES = json.loads((GOLDEN_FOLDER / "outcomes.json").read_text(encoding="utf-8"))["sglang"]
MESSAGES: dict[str, dict[str, Any]] = GOLDEN["messages"]


def parsed(whose: str) -> Any:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "children/parsing.py"), whose],
        input=json.dumps(GOLDEN),
        capture_output=True,
        text=True,
        timeout=500,
    )
    result = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert result, done.stderr[-2000:]
    return json.loads(result[0].removeprefix("RESULT "))


@pytest.fixture(scope="module")
def ours() -> Any:
    return parsed("ours")


@pytest.fixture(scope="module")
def sglangs() -> Any:
    return parsed("stock")


def plain(outcome: dict[str, Any]) -> tuple[Any, ...]:
    """Reasoning, content and calls, their arguments read from JSON where they are JSON."""

    def read(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    return outcome["reasoning"], outcome["content"], [[name, read(arguments)] for name, arguments in outcome["calls"]]


def expected(name: str) -> tuple[Any, ...]:
    message = MESSAGES[name]
    return message["reasoning"], message["content"], message["calls"]


def word(name: str, result: dict[str, Any]) -> str:
    """`right`, `wrong` (and the same in every cut) or `torn` (a cut gives something else than the whole)."""
    whole = plain(result["whole"])
    if any(plain(outcome) != whole for outcome, _ in result["streamed"]):
        return "torn"
    return "right" if whole == expected(name) else "wrong"


@pytest.mark.parametrize("name", MESSAGES)
def test_a_whole_answer_is_taken_apart(name: str, ours: Any) -> None:
    assert plain(ours[name]["whole"]) == expected(name)


@pytest.mark.parametrize("name", MESSAGES)
def test_every_cut_of_the_answer_gives_the_same(name: str, ours: Any) -> None:
    for outcome, cuts in ours[name]["streamed"]:
        assert plain(outcome) == expected(name), cuts


def test_the_table_says_what_sglangs_parsers_do(sglangs: Any) -> None:
    assert {name: word(name, sglangs[name]) for name in MESSAGES} == OUTCOMES["stock"]


def test_the_table_says_what_ours_do(ours: Any) -> None:
    assert {name: word(name, ours[name]) for name in MESSAGES} == OUTCOMES["ours"]
