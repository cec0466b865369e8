"""Look-up in a passage of one to six facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from glm_rocm.pocket.data import values, words
from glm_rocm.pocket.data.turns import Turn, forms, phrasing


@dataclass(frozen=True)
class Relation:
    """`statement` and `questions` hold `{who}`; the value follows the statement."""

    statement: str
    questions: list[str]
    draw: Callable[[Random, str], str]


RELATIONS = [
    Relation(
        "{who} lives in",
        forms("""
            Where does {who} live? | {who}, where does he live? | Where is {who} at home? |
            {who} lives in which city? | The city of {who}? | Please tell me where {who} lives. |
            I want to know where {who} lives. | What is the city of {who}? | Do you know where {who} lives? |
            Where can I find {who}? | In which city does {who} live? | Tell me where {who} lives. |
            Where is the home of {who}? | {who} lives where? | Can you tell me where {who} lives?
        """),
        values.city,
    ),
    Relation(
        "{who} likes",
        forms("""
            What does {who} like? | What is liked by {who}? | {who} likes which thing? |
            {who}, what does she like? | Please tell me what {who} likes. | I want to know what {who} likes. |
            Do you know what {who} likes? | What would {who} like? | So what does {who} like? |
            Tell me what {who} likes. | What is it that {who} likes? | Which thing does {who} like? |
            {who} likes what? | Can you tell me what {who} likes?
        """),
        values.value,
    ),
    Relation(
        "{who} has the code",
        forms("""
            Which code does {who} have? | The code of {who}, please. | I want the code of {who}. |
            Show me the code of {who}. | {who} has which code? | Do you know the code of {who}? |
            Say the code of {who}. | Please tell me the code of {who}. | Find the code of {who}. |
            What is the code that {who} has? | The code of {who}? | Please give the code of {who}. |
            What is the code of {who}? | Tell me the code of {who}. | What code does {who} have? |
            Give me the code of {who}. | Can you tell me the code of {who}?
        """),
        values.code,
    ),
    Relation(
        "{who} sells",
        forms("""
            What does {who} sell? | What is sold by {who}? | {who} sells which thing? | {who}, what does he sell? |
            Please tell me what {who} sells. | I want to know what {who} sells. | Do you know what {who} sells? |
            So what does {who} sell? | What can one buy at {who}? | Tell me what {who} sells. |
            What can I buy from {who}? | Which thing does {who} sell? | {who} sells what? |
            Can you tell me what {who} sells?
        """),
        values.phrase,
    ),
    Relation(
        "the phone number of {who} is",
        forms("""
            What is the phone number of {who}? | The phone number of {who}, please. |
            I want the phone number of {who}. | Show me the phone number of {who}. | {who} has which phone number? |
            Do you know the phone number of {who}? | Which number should I call for {who}? |
            Find the phone number of {who}. | Tell me the phone number of {who}. | How can I call {who}? |
            Which phone number does {who} have? | Give me the phone number of {who}. |
            I need the phone number of {who}.
        """),
        values.phone,
    ),
    Relation(
        "{who} was born on",
        forms("""
            When was {who} born? | {who}, when was she born? | The birthday of {who}? |
            {who} was born on which day? | Please tell me when {who} was born. |
            I want to know when {who} was born. | Do you know when {who} was born? | On what date was {who} born? |
            When is the birthday of {who}? | Tell me when {who} was born. | On which day was {who} born? |
            What is the birthday of {who}? | {who} was born when? | Can you tell me when {who} was born?
        """),
        values.date,
    ),
    Relation(
        "the password of {who} is",
        forms("""
            What is the password of {who}? | The password of {who}, please. | I want the password of {who}. |
            Show me the password of {who}. | {who} has which password? | Do you know the password of {who}? |
            Find the password of {who}. | Tell me the password of {who}. | Which password does {who} have? |
            What password does {who} use? | Give me the password of {who}. | I need the password of {who}.
        """),
        values.random_word,
    ),
    Relation(
        "the email of {who} is",
        forms("""
            What is the email of {who}? | The email of {who}, please. | I want the email of {who}. |
            Show me the email of {who}. | {who} has which email? | Do you know the email of {who}? |
            Find the email of {who}. | What email does {who} have? | Tell me the email of {who}. |
            Where can I write to {who}? | Which email does {who} have? | Give me the email of {who}. |
            I need the email of {who}.
        """),
        values.email,
    ),
]

FRAMES = [
    "{text}\nMy question: {question}",
    "I have a text: {text}\n{question}",
    "Given: {text} {question}",
    "{text} Now tell me: {question}",
    "{text} {question}",
    "{text}\n{question}",
    "Text: {text}\nQuestion: {question}",
    "{question}\n{text}",
    "Read this: {text}\n{question}",
    "{text}\n\n{question}",
    "Here is a text. {text} {question}",
    "Please read the text.\n{text}\n{question}",
]


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def passage(random: Random, split: str, turns: int) -> list[Turn]:
    """A passage with a question about one of its facts, then more questions about the same passage, one a turn.

    Names and values are mostly strings without meaning.
    """
    people: list[str] = []
    count = random.choice([1, 2, 3, 3, 4])
    while len(people) < count:
        name = values.proper_name(random, split, words.NAMES, words.NAMES_HELD_OUT)
        if name not in people:
            people.append(name)
    relations = random.sample(RELATIONS, random.choice([1, 1, 2]))
    facts = [(who, relation, relation.draw(random, split)) for who in people for relation in relations]
    random.shuffle(facts)
    facts = facts[:6] if len("".join(value for *_, value in facts)) < 90 else facts[:3]
    text = " ".join(_capital(f"{each.statement.format(who=name)} {value}.") for name, each, value in facts)
    asked = random.sample(facts, min(turns, len(facts)))
    found: list[Turn] = []
    for who, relation, value in asked:
        question = phrasing(random, split, relation.questions).format(who=who)
        if not found:
            question = phrasing(random, split, FRAMES).format(text=text, question=question)
        answer = _capital(f"{relation.statement.format(who=who)} {value}.")
        found.append(Turn(question, f"I look for {who}.", answer, "lookup"))
    return found


def lookup(random: Random, split: str) -> Turn:
    """A passage of one to six facts and a question about one of them."""
    return passage(random, split, 1)[0]
