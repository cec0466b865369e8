"""Values that a user may write and a model must copy: most of them strings that nobody has written before."""

from __future__ import annotations

import string
import zlib
from collections.abc import Callable
from random import Random

from glm_rocm.pocket.data import words

TRAIN = "train"
KNOWN = "known"
UNSEEN = "unseen"
"""The three splits. TRAIN is what training draws from; KNOWN holds out phrasings and operand pairs, UNSEEN also every
word and every string that is copied."""


def held_out(text: str) -> bool:
    """Whether `text` belongs to the tenth of all strings that training never draws."""
    return zlib.crc32(text.encode()) % 10 == 0


def drawn(split: str, draw: Callable[[], str]) -> str:
    """Repeat `draw` until its text lies on the right side: held out for UNSEEN, not held out else."""
    while True:
        text = draw()
        if held_out(text) == (split == UNSEEN):
            return text


def _letters(random: Random, alphabet: str, low: int, high: int) -> str:
    return "".join(random.choice(alphabet) for _ in range(random.randint(low, high)))


VOWELS = [*"aeiou", "ai", "ou", "ee"]
ONSETS = [*"bdfghjklmnprstvwz", "st", "tr", "br", "qu", "x", "sch", "gl", "c", "y"]
CODAS = ["", "", "", *"nrlsktx"]


def syllables(random: Random) -> str:
    """A pronounceable word of one to three syllables."""
    count = random.choice([1, 2, 2, 2, 3])
    return "".join(random.choice(ONSETS) + random.choice(VOWELS) + random.choice(CODAS) for _ in range(count))


def random_word(random: Random, split: str) -> str:
    """A word of 2 to 12 letters, as random as they come or pronounceable, in any case."""

    def draw() -> str:
        kind = random.random()
        if kind < 0.12:
            return _letters(random, string.ascii_letters, 2, 10)
        if kind < 0.22:
            return _letters(random, string.ascii_uppercase, 2, 8)
        text = _letters(random, string.ascii_lowercase, 2, 12) if kind < 0.62 else syllables(random)
        return text.capitalize() if random.random() < 0.35 else text

    return drawn(split, draw)


def proper_name(random: Random, split: str, known: list[str], unseen: list[str]) -> str:
    """A name: from the lists, or a capitalised word that nobody bears."""
    if random.random() < 0.4:
        return random.choice(unseen if split == UNSEEN else known)
    return drawn(split, lambda: random_word(random, split).capitalize())


def city(random: Random, split: str) -> str:
    return proper_name(random, split, words.CITIES, words.CITIES_HELD_OUT)


def person(random: Random, split: str) -> str:
    return proper_name(random, split, words.NAMES, words.NAMES_HELD_OUT)


def code(random: Random, split: str) -> str:
    """An identifier: AB-1234, kelbo_77, x7k2p9, 73519, #1234."""

    def draw() -> str:
        kind = random.randrange(5)
        if kind == 0:
            return _letters(random, string.ascii_uppercase, 1, 3) + "-" + _letters(random, string.digits, 2, 5)
        if kind == 1:
            return _letters(random, "123456789", 1, 1) + _letters(random, string.digits, 2, 6)
        if kind == 2:
            return _letters(random, string.ascii_lowercase + string.digits, 4, 9)
        if kind == 3:
            return random_word(random, split).lower() + random.choice("_-.") + _letters(random, string.digits, 1, 3)
        return _letters(random, string.ascii_uppercase + string.digits, 4, 8)

    return drawn(split, draw)


def date(random: Random, split: str) -> str:
    return f"{random.randint(1950, 2049)}-{random.randint(1, 12):02}-{random.randint(1, 28):02}"


def phone(random: Random, split: str) -> str:
    return drawn(split, lambda: f"+{random.randint(1, 99)} {random.randint(100, 999)} {random.randint(1000, 9999999)}")


def email(random: Random, split: str) -> str:
    host = random.choice(["example", random_word(random, split).lower()])
    return f"{random_word(random, split).lower()}@{host}.{random.choice(['com', 'org', 'net', 'de', 'io'])}"


def path(random: Random, split: str) -> str:
    """A file path or a URL."""
    stem = random_word(random, split).lower()
    file = f"{stem}.{random.choice(['txt', 'csv', 'json', 'py', 'pdf', 'log', 'md'])}"
    root = random.choice(["", "/tmp/", "/home/", "./", "data/", "https://example.com/", "http://"])
    return f"{root}{random_word(random, split).lower()}/{file}" if root else file


def signed(random: Random, split: str) -> str:
    """A number as text, often negative or with decimals."""
    number = random.choice([random.randint(-99, 999), round(random.uniform(-50, 500), random.choice([1, 1, 2]))])
    return str(number)


def accented(random: Random, split: str) -> str:
    """A word with letters outside ASCII, which the tokenizer spells in bytes."""

    def draw() -> str:
        text = list(syllables(random))
        text.insert(random.randint(0, len(text)), random.choice("äöüéèñçøåßíółž"))
        return "".join(text).capitalize()

    return drawn(split, draw)


def thing(random: Random, split: str) -> str:
    return random.choice(words.THINGS_HELD_OUT if split == UNSEEN else words.THINGS)


def phrase(random: Random, split: str) -> str:
    """Two or three words."""
    parts = [random.choice([thing, random_word])(random, split) for _ in range(random.choice([2, 2, 3]))]
    return " ".join(parts)


def value(random: Random, split: str) -> str:
    """Any of the above, half of the time one random word."""
    kinds = [city, person, code, date, phone, email, path, signed, accented, thing, phrase]
    weights = [4, 4, 10, 3, 2, 3, 4, 3, 3, 7, 12]
    if random.random() < 0.5:
        return random_word(random, split)
    return random.choices(kinds, weights)[0](random, split)
