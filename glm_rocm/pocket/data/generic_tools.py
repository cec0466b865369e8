"""Tools nobody has heard of: made of a verb and a noun or of random words, with arguments the user names."""

from __future__ import annotations

from random import Random
from typing import Any

from glm_rocm.pocket.data import values, words
from glm_rocm.pocket.data.known_tools import spoken
from glm_rocm.pocket.data.requests import Argument, Request, Tool
from glm_rocm.pocket.data.turns import forms, phrasing
from glm_rocm.pocket.data.values import KNOWN, TRAIN, UNSEEN

ENUM_WORDS = forms("""
    low | medium | high | red | green | blue | small | big | daily | weekly | open | closed | asc | desc | json | csv |
    fast | slow
""")


HELD_OUT_COUNTS = [0, 1, 1, 1, 2, 2, 2, 3, 3, 4]
TRAIN_COUNTS = [0, 1, 1, 2, 2, 3, 3, 3, 4, 4]
"""How many arguments a tool may have, each as likely. Training dwells on the many: they are where calls go wrong."""


def _pick(random: Random, split: str, known: list[str], unseen: list[str]) -> str:
    return random.choice(unseen if split == UNSEEN and random.random() < 0.6 else known)


def _camel(parts: list[str]) -> str:
    return parts[0] + "".join(part.capitalize() for part in parts[1:])


def _name(random: Random, split: str) -> tuple[str, str, str]:
    """(tool name, verb, noun); the verb is empty where the name is a random word."""
    verb = _pick(random, split, words.VERBS, words.VERBS_HELD_OUT)
    if split == TRAIN and random.random() < 0.45:
        verb = values.random_word(random, split).lower()
    invented = random.random() < (0.25 if split == KNOWN else 0.4)
    noun = (
        values.random_word(random, split).lower()
        if invented
        else _pick(random, split, words.NOUNS, words.NOUNS_HELD_OUT)
    )
    style = random.random()
    if style < 0.12:
        name = values.random_word(random, split).lower()
        return (name if random.random() < 0.5 else f"{name}_{values.random_word(random, split).lower()}"), "", ""
    if style < 0.22:
        return _camel([verb, noun]), verb, noun
    if style < 0.30:
        return f"{noun}.{verb}", verb, noun
    return f"{verb}_{noun}", verb, noun


def _argument(random: Random, split: str, noun: str) -> Argument:
    kind = random.random()
    if kind < 0.64:
        name, kind_name = _pick(random, split, words.STRING_ARGUMENTS, words.STRING_ARGUMENTS_HELD_OUT), "string"
        if random.random() < 0.25:
            name = random.choice(
                [values.random_word(random, split).lower(), f"{name}_id", f"{name}_{random.choice(words.NOUNS)}"]
            )
    elif kind < 0.80:
        name, kind_name = _pick(random, split, words.INTEGER_ARGUMENTS, words.INTEGER_ARGUMENTS_HELD_OUT), "integer"
    elif kind < 0.90:
        name, kind_name = _pick(random, split, words.NUMBER_ARGUMENTS, words.NUMBER_ARGUMENTS_HELD_OUT), "number"
    elif kind < 0.97:
        name, kind_name = _pick(random, split, words.BOOLEAN_ARGUMENTS, words.BOOLEAN_ARGUMENTS_HELD_OUT), "boolean"
    else:
        name, kind_name = random.choice(["tags", "ids", "names", "items"]), "array"
    if split == TRAIN and random.random() < 0.5:
        name = values.random_word(random, split).lower()
    enum = (
        tuple(random.sample(ENUM_WORDS, random.choice([2, 3])))
        if kind_name == "string" and random.random() < 0.07
        else ()
    )
    description = random.choice(
        [f"The {name}.", f"The {name} of the {noun}." if noun else "", f"The {name} to use.", ""]
    )
    return Argument(name, kind_name, description, enum)


def _value(random: Random, split: str, argument: Argument) -> Any:
    if argument.enum:
        return random.choice(argument.enum)
    if argument.type == "integer":
        return random.choice([random.randint(0, 20), random.randint(1, 1000), random.randint(-50, 99999)])
    if argument.type == "number":
        return random.choice(
            [random.randint(1, 500), round(random.uniform(-20, 200), 1), round(random.uniform(0, 50), 2)]
        )
    if argument.type == "boolean":
        return random.random() < 0.5
    if argument.type == "array":
        return [values.random_word(random, split) for _ in range(random.choice([1, 2, 2]))]
    return values.value(random, split)


def generic_tool(random: Random, split: str) -> tuple[Tool, str, str]:
    """A tool of one to four arguments, rarely none; with its verb and noun."""
    name, verb, noun = _name(random, split)
    arguments: list[Argument] = []
    for _ in range(random.choice(TRAIN_COUNTS if split == TRAIN else HELD_OUT_COUNTS)):
        argument = _argument(random, split, noun)
        if argument.name not in [each.name for each in arguments]:
            arguments.append(argument)
    if len(arguments) > 1 and random.random() < 0.2:
        last = arguments[-1]
        arguments[-1] = Argument(last.name, last.type, last.description, last.enum, required=False)
    descriptions = [
        f"{verb.capitalize()} the {noun}.",
        f"{verb.capitalize()} a {noun}.",
        f"Use this to {verb} a {noun}.",
        "",
    ]
    description = (
        random.choice(descriptions) if verb else random.choice([f"The tool {name}.", "", "A tool.", "Call this."])
    )
    if random.random() < 0.05:
        description = values.phrase(random, split)
    return Tool(name, description, tuple(arguments)), verb, noun


OPENERS = forms("""
    {Verb} the {noun} | Would you {verb} the {noun} | I have to {verb} a {noun} | I must {verb} the {noun} |
    Let us {verb} the {noun} | It is time to {verb} a {noun} | Now {verb} the {noun} |
    You should {verb} this {noun} | Hello, please {verb} my {noun} | {Verb} my {noun} |
    I am here to {verb} a {noun} | My task is to {verb} a {noun} | You can {verb} the {noun} |
    Would you please {verb} this {noun} | Someone should {verb} the {noun} | I would love to {verb} the {noun} |
    Can you help me {verb} the {noun} | I am trying to {verb} the {noun} | Could you please {verb} a {noun} |
    We want to {verb} the {noun} | We need you to {verb} a {noun} | Be so kind and {verb} the {noun} |
    I wish to {verb} a {noun} | Help us and {verb} that {noun} | Go and {verb} a {noun} | Please {verb} the {noun} |
    Can you {verb} the {noun} | I want to {verb} the {noun} | {Verb} a {noun} | {verb} {noun} |
    I need to {verb} a {noun} | Could you {verb} the {noun} | Use {tool} to {verb} the {noun} | Call {tool} |
    I would like to {verb} a {noun} | Help me to {verb} the {noun}
""")
NAMELESS_OPENERS = forms("""
    Call {tool} | Use {tool} | Please call {tool} | Run {tool} | {tool} | I need {tool} | Start {tool} |
    Please use {tool}
""")
ENDS = [
    " having {pairs}.", " given {pairs}.", " - {pairs}", "; {pairs}.", " by {pairs}.", " and use {pairs}.",
    " via {pairs}.", " and set {pairs}.", " if {sentences_lower}", "\n{pairs}", ". Take {pairs}.",
    " but with {pairs}.", " under {pairs}.", " with {pairs}.", ": {pairs}.", ", {pairs}.", " with {pairs}",
    ". {sentences}", " ({pairs})", ". Use {pairs}.", " where {sentences_lower}", " using {pairs}.",
    " and take {pairs}.",
]  # fmt: skip
PAIRS = forms("""
    {key} {value} | {key} {value} | {key} {value} | {key}: {value} | {key}={value} | the {key} {value} |
    {key} "{value}" | {key} = {value}
""")


def _said(random: Random, argument: Any) -> str:
    if isinstance(argument, bool):
        return ("true" if argument else "false") if random.random() < 0.6 else ("yes" if argument else "no")
    return spoken(argument)


def _joined(random: Random, parts: list[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    return ", ".join(parts[:-1]) + random.choice([" and ", " and ", ", "]) + parts[-1]


def _spaced(key: str, random: Random) -> str:
    return key.replace("_", " ") if random.random() < 0.4 else key


def generic_request(random: Random, split: str, tool: tuple[Tool, str, str] | None = None) -> Request:
    """A request for a generic tool, its arguments named in any order; optional ones may be left out."""
    declared, verb, noun = tool or generic_tool(random, split)
    arguments = {
        each.name: _value(random, split, each) for each in declared.arguments if each.required or random.random() < 0.5
    }
    form = random.choice(PAIRS)
    said = [(_spaced(key, random), _said(random, argument)) for key, argument in arguments.items()]
    if random.random() < 0.3:
        random.shuffle(said)
    opener = phrasing(random, split, OPENERS if verb else NAMELESS_OPENERS)
    text = opener.format(verb=verb, Verb=verb.capitalize(), noun=noun, tool=declared.name)
    if said:
        sentences = [f"The {key} is {value}." for key, value in said]
        text += phrasing(random, split, ENDS).format(
            pairs=_joined(random, [form.format(key=key, value=value) for key, value in said]),
            sentences=" ".join(sentences),
            sentences_lower=_joined(random, [f"the {key} is {value}" for key, value in said]) + ".",
        )
    else:
        text += random.choice([".", ".", "", ", please."])
    return Request(declared, text, arguments)
