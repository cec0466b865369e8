"""The generator: reproducible, and what is held out is never trained."""

from __future__ import annotations

import re
from random import Random

import pytest

from glm_rocm.pocket.data import words
from glm_rocm.pocket.data.arithmetic import QUESTIONS, result, steps
from glm_rocm.pocket.data.chat import Conversation, prompt_and_answer, segments
from glm_rocm.pocket.data.dialogue import MIX, conversation
from glm_rocm.pocket.data.heldout import TASKS, questions
from glm_rocm.pocket.data.identity import SUBJECTS
from glm_rocm.pocket.data.values import TRAIN, UNSEEN, held_out, random_word, value


def training_text(count: int, seed: int, task: str | None = None) -> list[str]:
    random = Random(seed)
    return ["".join(part.text for part in segments(conversation(random, task))) for _ in range(count)]


def test_same_seed_gives_the_same_conversations() -> None:
    assert training_text(40, seed=3) == training_text(40, seed=3)
    assert training_text(40, seed=3) != training_text(40, seed=4)


@pytest.mark.parametrize("task", list(TASKS))
def test_held_out_sets_do_not_change_from_call_to_call(task: str) -> None:
    assert questions(task, 10) == questions(task, 10)
    assert questions(task, 10) != questions(task, 10, seed=1)


def test_operands_of_the_held_out_sums_are_never_trained() -> None:
    equation = re.compile(r"(\d+)([-+*])(\d+)=(\d+)\.<\|user\|>")
    asked = {m[:3] for q in questions("arithmetic", 300) + questions("sums", 300) for m in equation.findall(q.answer)}
    trained = {
        m[:3]
        for text in training_text(1500, 5, "arithmetic") + training_text(300, 5, "sums")
        for m in equation.findall(text)
    }
    assert len(asked) > 250
    assert len(trained) > 2000
    assert not asked & trained


def test_held_out_phrasings_are_never_trained() -> None:
    """The last two phrasings of each question, as a pattern, in thousands of training questions."""
    kept_back = [form for forms in QUESTIONS.values() for form in forms[-2:]]
    patterns = [re.compile(re.escape(form).replace(r"\{a\}", r"\d+").replace(r"\{b\}", r"\d+")) for form in kept_back]
    asked = "\n".join(question.prompt for question in questions("arithmetic", 300))
    trained = "\n".join(training_text(1500, 6, "arithmetic"))
    assert all(pattern.search(asked) for pattern in patterns)
    assert not any(re.search(r"<\|user\|>\n?" + pattern.pattern + "<", trained) for pattern in patterns)
    small_talk = "\n".join(training_text(800, 6, "identity")).lower()
    for _, forms in SUBJECTS:
        for form in forms[-2:]:
            stem = re.escape(form.rstrip("?.!").lower())
            assert not re.search(rf"<\|user\|>\n?{stem}[?.!]?(/nothink)?<", small_talk), form


def test_words_of_the_unseen_sets_are_never_trained() -> None:
    kept_back = {
        *words.NAMES_HELD_OUT, *words.THINGS_HELD_OUT, *words.VERBS_HELD_OUT, *words.NOUNS_HELD_OUT,
        *(part for city in words.CITIES_HELD_OUT for part in city.split()),
    }  # fmt: skip
    trained = set(re.findall(r"\w+", " ".join(training_text(1500, 7))))
    assert not kept_back & trained


def test_strings_are_split_by_their_hash_and_not_by_luck() -> None:
    random = Random(8)
    trained = {random_word(random, TRAIN) for _ in range(3000)}
    unseen = {random_word(random, UNSEEN) for _ in range(300)}
    assert all(held_out(word) for word in unseen)
    assert not any(held_out(word) for word in trained)


def test_values_cover_what_users_write() -> None:
    random = Random(9)
    text = "\n".join(value(random, TRAIN) for _ in range(2000))
    for pattern in (
        r"^-\d",
        r"\d\.\d",
        r"@",
        r"/\w",
        r"^\+\d",
        r"^\d{4}-\d\d-\d\d$",
        r"[äöüéèñçøåßíółž]",
        r"^[A-Z]{4,}$",
        r"\w \w",
    ):
        assert re.search(pattern, text, re.MULTILINE), pattern


@pytest.mark.parametrize(
    ("sum_", "expected"),
    [
        ((487, "+", 356), "7+6=13, 8+5+1=14, 4+3+1=8"),
        ((52, "-", 17), "12-7=5, 5-1-1=3"),
        ((100, "-", 1), "10-1=9, 10-0-1=9, 1-0-1=0"),
        ((99, "+", 9), "9+9=18, 9+0+1=10"),
        ((234, "*", 7), "4*7=28, 3*7+2=21+2=23, 2*7+2=14+2=16"),
    ],
    ids=["carries", "borrow", "borrow through a zero", "carry beyond the shorter number", "carries of a product"],
)
def test_reasoning_goes_digit_by_digit(sum_: tuple[int, str, int], expected: str) -> None:
    assert steps(*sum_) == expected


def test_the_steps_add_up_to_the_result() -> None:
    """The last digits of the steps, read backwards, are the result, whatever the operands."""
    random = Random(10)
    for _ in range(2000):
        operator = random.choice("+-*")
        a = random.randrange(1, 1000)
        b = random.randrange(2, 10) if operator == "*" else random.randrange(0, a + 1)
        parts = [part.split("=")[-1] for part in steps(a, operator, b).split(", ")]
        digits = parts[-1] + "".join(part[-1] for part in reversed(parts[:-1]))
        assert int(digits) == result(a, operator, b), (a, operator, b)


@pytest.mark.parametrize("task", list(MIX))
def test_every_training_conversation_has_something_to_learn(task: str) -> None:
    random = Random(11)
    for _ in range(60):
        drawn = conversation(random, task)
        assert drawn.targets
        assert any(part.target for part in segments(drawn))


def test_hard_sums_are_learnt_only_with_their_reasoning() -> None:
    """A sum above 100 whose reasoning the template drops is read, not learnt."""
    random, seen = Random(12), 0
    for _ in range(400):
        drawn = conversation(random, "arithmetic")
        for index, message in enumerate(drawn.messages[:-1]):
            match = re.fullmatch(r"(\d+)[-+*](\d+)=\d+\.", message["content"])
            if message["role"] == "assistant" and match and max(int(match[1]), int(match[2])) >= 100:
                seen += 1
                assert index not in drawn.targets
    assert seen


def test_prompt_and_answer_are_the_conversation() -> None:
    drawn: Conversation = conversation(Random(13), "tools")
    prompt, answer = prompt_and_answer(drawn)
    assert prompt + answer == "".join(part.text for part in segments(drawn))
