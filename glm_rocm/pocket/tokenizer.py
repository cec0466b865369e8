"""The pocket GLM's tokenizer: whole words where the generator uses them all the time, letters everywhere else.

Text is cut into runs of ASCII letters and single other characters. A run that is in the vocabulary is one token
wherever it stands; any other run is spelled letter by letter, and whatever is not ASCII byte by byte. There are no
merges: the same string has the same tokens everywhere, which is what lets a small model copy strings it never saw.

GLM's own special tokens keep their names and their kind (`<think>`, `<tool_call>` and their like are not special, so
that parsers see them in the text). Fixed pieces of the chat template and of JSON schemas are single tokens.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from random import Random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from glm_rocm.pocket.data import words
from glm_rocm.pocket.data.chat import GLM45, GLM47, TOOLS_HEAD, TOOLS_TAIL, segments
from glm_rocm.pocket.data.dialogue import conversation

VOCAB_SIZE = 1024
VOCABULARY = Path(__file__).with_name("vocabulary.txt")
LETTER_RUN = "[A-Za-z]+"
LEAST_COUNT = 30
"""Below this many uses in 30000 conversations a letter run may be a random string."""

SPECIAL = [
    "<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>",
    "<|observation|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>",
    "<|begin_of_audio|>", "<|end_of_audio|>", "<|begin_of_transcription|>", "<|end_of_transcription|>",
    "<|code_prefix|>", "<|code_middle|>", "<|code_suffix|>", "/nothink",
]  # fmt: skip
MARKUP = [
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<arg_key>",
    "</arg_key>", "<arg_value>", "</arg_value>",
]  # fmt: skip
STOP_TOKENS = ["<|endoftext|>", "<|user|>", "<|observation|>"]

CHUNKS = [
    TOOLS_HEAD.removeprefix("<|system|>"), TOOLS_TAIL[GLM45], TOOLS_TAIL[GLM47],
    '{"type": "function", "function": {"name": "', '", "description": "',
    '", "parameters": {"type": "object", "properties": {"', '", "parameters": {"type": "object", "properties": {}',
    '": {"type": "string"', '": {"type": "integer"', '": {"type": "number"', '": {"type": "boolean"',
    '": {"type": "array", "items": {"type": "string"}', ', "enum": ["', ', "description": "', '"}, "', '}, "',
    '}}, "required": ["', '"}}, "required": ["', '"]}}, "required": ["', '"]}}}\n', '"]}, "',
    '"], "additionalProperties": false}}}\n', '"], "additionalProperties": false}, "strict": true}}\n', '{"',
    '": "', '", "', '"}', '": ', ', "', "print(", "https://", "The result is ", "I have the result.", "I call ",
    "I look for ", "What is the ", "What is ", "How much is ", "Tell me the ", "Can you ", "Please ",
    "Use python to ", " lives in ", " the code ", "The phone number of ", "The password of ", "The email of ",
    " was born on ", " likes ", " sells ", " and ", " is ", " with ", " of the ", " of ", " in the ", " from ",
    " to ", " the ", ", the ", " on ", " for ", " in ", " + ", " - ", " = ", " * ", ", ", ". ", ": ", ". So ",
]  # fmt: skip


def count_words(conversations: int = 30000, seed: int = 20) -> list[str]:
    """The letter runs that training conversations use most, but for cities, people and held-out words: those must be
    spelled. A held-out word that was one token, seen elsewhere a few times, could not be copied."""
    spelled = {part for name in [*words.CITIES, *words.NAMES] for part in name.split()} | words.HELD_OUT
    not_ascii = re.compile(r"\w*[^\x00-\x7f]\w*")
    random, counts = Random(seed), Counter[str]()
    for _ in range(conversations):
        text = "".join(segment.text for segment in segments(conversation(random)))
        for fixed in [*CHUNKS[:3], *SPECIAL, *MARKUP]:
            text = text.replace(fixed, " ")
        runs = re.findall(LETTER_RUN, not_ascii.sub(" ", text))
        counts.update({run for run in runs if len(run) > 1} - spelled)
    free = VOCAB_SIZE - 256 - len(SPECIAL) - len(MARKUP) - len(CHUNKS)
    return sorted(word for word, count in counts.most_common(free) if count >= LEAST_COUNT)


def build_tokenizer() -> Tokenizer:
    """The tokenizer made from `vocabulary.txt`; at most `VOCAB_SIZE` tokens. `<unused>` there keeps a number taken."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [*alphabet, *VOCABULARY.read_text(encoding="utf-8").split()]
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(f"{LETTER_RUN}|[^A-Za-z]"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in MARKUP + CHUNKS])
    return tokenizer


def tokenizer_config() -> dict[str, object]:
    """What `tokenizer_config.json` says."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 4096,
        "model_input_names": ["input_ids", "attention_mask"],
    }


def save_tokenizer(folder: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` into `folder`."""
    build_tokenizer().save(str(folder / "tokenizer.json"))
    text = json.dumps(tokenizer_config(), indent=2)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    VOCABULARY.write_text("\n".join(count_words()) + "\n", encoding="utf-8")
