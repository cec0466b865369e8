"""Sums: with thinking digit by digit, without thinking at a glance."""

from __future__ import annotations

from random import Random

from glm_rocm.pocket.data.turns import Turn, forms, phrasing
from glm_rocm.pocket.data.values import TRAIN, held_out

QUESTIONS = {
    "+": forms("""
            What is {a} + {b}? | {a} + {b} | {a}+{b}=? | Compute {a} + {b}. | What is {a} plus {b}? |
            Add {a} and {b}. | {a} plus {b} | What is the sum of {a} and {b}? | How much is {a} + {b}? |
            Calculate {a} plus {b}. | I have {a} apples and get {b} more. How many apples do I have? |
            Please add {b} to {a}. | {a}+{b} | A shop has {a} books and buys {b} more. How many books are there? |
            Hello, what is {a}+{b}? | {a} + {b} = ? | What do you get when you add {a} and {b}? | Solve {a} + {b}. |
            There are {a} birds and {b} more come. How many? | Can you tell me {a} + {b}? | What is {a}+{b}? |
            Find the sum of {a} and {b}.
        """),
    "-": forms("""
            What is {a} - {b}? | {a} - {b} | {a}-{b}=? | Compute {a} - {b}. | What is {a} minus {b}? |
            Subtract {b} from {a}. | {a} minus {b} | What is the difference of {a} and {b}? |
            How much is {a} - {b}? | Calculate {a} minus {b}. | I have {a} apples and eat {b}. How many are left? |
            Take {b} away from {a}. | {a}-{b} | A shop has {a} books and sells {b}. How many books are left? |
            Hello, what is {a}-{b}? | {a} - {b} = ? | What do you get when you take {b} from {a}? |
            Solve {a} - {b}. | There are {a} birds and {b} fly away. How many are left? |
            Can you tell me {a} - {b}? | What is {a}-{b}? | Find the difference of {a} and {b}.
        """),
    "*": forms("""
            What is {a} * {b}? | {a} * {b} | {a}*{b}=? | Compute {a} * {b}. | What is {a} times {b}? |
            Multiply {a} by {b}. | {a} times {b} | What is the product of {a} and {b}? | How much is {a} * {b}? |
            Calculate {a} times {b}. | There are {b} boxes with {a} apples each. How many apples are there? |
            {a} x {b} | {a}*{b} | A shop sells {b} bags of {a} books. How many books is that? |
            Hello, what is {a}*{b}? | {a} * {b} = ? | What do you get when you multiply {a} by {b}? |
            Solve {a} * {b}. | What is {a} x {b}? | Can you tell me {a} * {b}? | What is {a}*{b}? |
            Find the product of {a} and {b}.
        """),
}


def result(a: int, operator: str, b: int) -> int:
    return a + b if operator == "+" else a - b if operator == "-" else a * b


def steps(a: int, operator: str, b: int) -> str:
    """The digits of `a operator b`, least significant first, each as a little sum with its carry.

    `487+356` gives `7+6=13, 8+5+1=14, 4+3+1=8`; a borrow shows as a leading 1: `52-17` gives `12-7=5, 5-1-1=3`; a
    product is worked out before its carry is added: `27*4` gives `7*4=28, 2*4+2=8+2=10`.
    """
    parts, carry = [], 0
    first, second = str(a)[::-1], str(b)[::-1]
    for place in range(max(len(first), len(second) if operator != "*" else 0)):
        x = int(first[place]) if place < len(first) else 0
        y = b if operator == "*" else int(second[place]) if place < len(second) else 0
        if operator == "-":
            borrow = int(x - y - carry < 0)
            parts.append(f"{10 * borrow + x}-{y}{'-1' if carry else ''}={10 * borrow + x - y - carry}")
            carry = borrow
            continue
        total = x + y + carry if operator == "+" else x * y + carry
        between = f"={x * y}+{carry}" if operator == "*" and carry else ""
        parts.append(f"{x}{operator}{y}{f'+{carry}' if carry else ''}{between}={total}")
        carry = total // 10
    return ", ".join(parts)


def _limits(random: Random, split: str) -> tuple[int, int]:
    """Upper bounds of the operands of a sum below 100. Training sees small numbers more often: they teach digits."""
    if split != TRAIN or random.random() < 0.5:
        return 100, 100
    return random.choice([(10, 10), (20, 20), (100, 10), (10, 100)])


def _operands(random: Random, split: str, thinking: bool) -> tuple[int, str, int]:
    if not thinking:
        operator = random.choice("+-")
        a, b = (random.randrange(limit) for limit in _limits(random, split))
    else:
        operator = random.choice("++--**")
        limit = random.choice([100, 1000, 1000])
        a, b = random.randrange(1, limit), random.randrange(1, random.choice([100, limit]))
        if operator == "*":
            b = random.randrange(2, 10)
        elif operator == "+" and random.random() < 0.5:
            a, b = b, a
    return (b, operator, a) if operator == "-" and b > a else (a, operator, b)


def arithmetic(random: Random, split: str, thinking: bool) -> Turn:
    """A sum. With thinking: +, - of numbers below 1000, times one digit. Without: + and - of numbers below 100.

    A tenth of all (a, operator, b) is held out of training.
    """
    while True:
        a, operator, b = _operands(random, split, thinking)
        if held_out(f"{a}{operator}{b}") != (split == TRAIN):
            break
    total = result(a, operator, b)
    return Turn(
        question=phrasing(random, split, QUESTIONS[operator]).format(a=a, b=b),
        reasoning=f"{a}{operator}{b}: {steps(a, operator, b)}. So {total}.",
        answer=f"{a}{operator}{b}={total}.",
        task="arithmetic",
        plain=operator in "+-" and a < 100 and b < 100,
    )
