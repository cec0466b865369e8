"""The tokenizer: any text survives, words are one token or letters, GLM's specials keep their kind."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from glm_rocm.pocket.data import words
from glm_rocm.pocket.data.chat import segments
from glm_rocm.pocket.data.dialogue import conversation
from glm_rocm.pocket.tokenizer import MARKUP, SPECIAL, VOCAB_SIZE, VOCABULARY, build_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return build_tokenizer()


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.decode([number], skip_special_tokens=False) for number in tokenizer.encode(text).ids]


def test_random_unicode_survives(tokenizer: Tokenizer) -> None:
    random = Random(1)
    for _ in range(300):
        letters = (
            chr(random.choice([random.randrange(32, 127), random.randrange(0x20, 0xD7FF), 0x1F600])) for _ in range(30)
        )
        text = "".join(letters)
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_conversations_survive_and_segments_tokenise_as_the_whole(tokenizer: Tokenizer) -> None:
    """Training encodes segments, serving the whole prompt: both must give the same ids."""
    random = Random(2)
    for _ in range(150):
        parts = [part.text for part in segments(conversation(random))]
        ids = tokenizer.encode("".join(parts)).ids
        assert [number for encoding in tokenizer.encode_batch(parts) for number in encoding.ids] == ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == "".join(parts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("weather", ["weather"]),
        ("get_weather", ["get", "_", "weather"]),
        ("weatherx", list("weatherx")),
        ("Helsinki", list("Helsinki")),
        ("1234", list("1234")),
        ("a weather", ["a", " ", "weather"]),
        ("weather-weather", ["weather", "-", "weather"]),
    ],
    ids=["word", "name", "longer than a word", "never seen", "digits", "after a space", "around a sign"],
)
def test_a_run_of_letters_is_a_known_word_or_its_letters(tokenizer: Tokenizer, text: str, expected: list[str]) -> None:
    assert pieces(tokenizer, text) == expected


def test_a_string_has_the_same_tokens_wherever_it_stands(tokenizer: Tokenizer) -> None:
    """What is copied must look the same in the question, in JSON and between the tags."""
    for string in ("kelbo_77", "Reykjavik", "light", "x7K2p9"):
        alone = tokenizer.encode(string).ids
        for frame in ('{{"city": "{}"}}', "<arg_value>{}</arg_value>", "the code {}. What", "\n{}\n"):
            ids = tokenizer.encode(frame.format(string)).ids
            assert any(ids[start : start + len(alone)] == alone for start in range(len(ids))), (string, frame)


def test_no_held_out_word_is_one_token(tokenizer: Tokenizer) -> None:
    """It would be a token that training hardly saw, and could not be copied."""
    for word in sorted(words.HELD_OUT):
        assert word not in tokenizer.get_vocab(), word


def test_size_and_ids(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() <= VOCAB_SIZE
    assert VOCAB_SIZE % 64 == 0
    words = VOCABULARY.read_text(encoding="utf-8").split()
    assert len(set(words)) == len(words)


def test_specials_vanish_and_markup_stays_when_specials_are_skipped(tokenizer: Tokenizer) -> None:
    """Parsers read `<think>` and `<tool_call>` in the text, and never see `<|user|>`."""
    for token in SPECIAL:
        assert tokenizer.decode(tokenizer.encode(token).ids, skip_special_tokens=True) == ""
    for token in MARKUP:
        assert tokenizer.decode(tokenizer.encode(token).ids, skip_special_tokens=True) == token


def test_shipped_tokenizer_is_the_built_one(tokenizer: Tokenizer, shipped: Path) -> None:
    stored = json.loads((shipped / "tokenizer.json").read_text(encoding="utf-8"))
    assert stored == json.loads(tokenizer.to_str())


def test_transformers_loads_the_shipped_tokenizer(tokenizer: Tokenizer, shipped: Path) -> None:
    loaded = AutoTokenizer.from_pretrained(shipped)
    text = "<|user|>\nWhat is the weather in Tromsø?/nothink<|assistant|>"
    assert loaded(text)["input_ids"] == tokenizer.encode(text).ids
    assert loaded.eos_token == loaded.pad_token == "<|endoftext|>"
