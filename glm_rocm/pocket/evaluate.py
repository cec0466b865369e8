"""Score a pocket GLM on the held-out sets: `python -m glm_rocm.pocket.evaluate [FOLDER]`."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from glm_rocm.pocket import checkpoint_path
from glm_rocm.pocket.data.heldout import SEED, TASKS, Question, questions
from glm_rocm.pocket.export import load, stop_ids
from glm_rocm.pocket.generate import draft_agreement, generate
from glm_rocm.pocket.model import PocketGLM
from glm_rocm.pocket.tokenizer import build_tokenizer

MTP = "mtp"
MTP_REQUIRED = 0.8
ROWS = 50
"""Prompts generated at once."""


@dataclass(frozen=True)
class Score:
    """`right` of `count`, with the 95 % Wilson interval, and what is required."""

    title: str
    right: int
    count: int
    rate: float
    low: float
    high: float
    required: float


@dataclass(frozen=True)
class Answer:
    """A question, what the model wrote (token ids), and the text of it after the reasoning."""

    question: Question
    prompt: list[int]
    written: list[int]
    text: str

    @property
    def right(self) -> bool:
        return self.text == self.question.answer


def wilson(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a rate (Wilson, 1927)."""
    rate = right / count
    middle = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def score(title: str, right: int, count: int, required: float) -> Score:
    low, high = wilson(right, count)
    return Score(title, right, count, round(right / count, 4), round(low, 4), round(high, 4), required)


def answer_all(model: PocketGLM, asked: list[Question], advance: Callable[[int], None]) -> list[Answer]:
    """Answer `asked` greedily; prompts of similar length go together. `advance` is told how many are done."""
    tokenizer = build_tokenizer()
    stop = set(stop_ids(tokenizer))
    prompts = [encoding.ids for encoding in tokenizer.encode_batch([each.prompt for each in asked])]
    order = sorted(range(len(asked)), key=lambda index: len(prompts[index]))
    answers: dict[int, Answer] = {}
    for start in range(0, len(order), ROWS):
        rows = order[start : start + ROWS]
        for index, written in zip(rows, generate(model, [prompts[row] for row in rows], stop), strict=True):
            text = tokenizer.decode(written, skip_special_tokens=False).split("</think>")[-1]
            answers[index] = Answer(asked[index], prompts[index], written, text)
        advance(len(rows))
    return [answers[index] for index in range(len(asked))]


def evaluate(
    model: PocketGLM, count: int, tasks: list[str], seed: int = SEED
) -> tuple[dict[str, Score], dict[str, list[Answer]]]:
    """Scores and answers by task; `MTP` is the share of tokens that the MTP layer foresaw, over every second answer."""
    scores, answers = {}, {}
    agreed = drafted = 0
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("held-out questions", total=count * len(tasks))
        for task in tasks:
            answers[task] = answer_all(model, questions(task, count, seed), lambda done: progress.advance(bar, done))
            right = sum(each.right for each in answers[task])
            scores[task] = score(TASKS[task].title, right, count, TASKS[task].required)
            for each in answers[task][::2]:
                if len(each.written) > 1:
                    accepted, tried = draft_agreement(model, each.prompt, each.written)
                    agreed, drafted = agreed + accepted, drafted + tried
    scores[MTP] = score("MTP drafts accepted (k=1)", agreed, drafted, MTP_REQUIRED)
    return scores, answers


def table(scores: dict[str, Score]) -> Table:
    """The scores as a table."""
    drawn = Table("task", "right", "of", "rate", "95 % interval", "required")
    for each in scores.values():
        colour = "green" if each.rate >= each.required else "red"
        interval = f"{each.low:.3f} - {each.high:.3f}"
        rate = f"[{colour}]{each.rate:.3f}[/]"
        drawn.add_row(each.title, str(each.right), str(each.count), rate, interval, f"{each.required:.2f}")
    return drawn


def markdown(scores: dict[str, Score]) -> str:
    """The scores as the table of the model card."""
    rows = ["| held-out set | right | exact match | 95 % interval | required |", "| --- | --- | --- | --- | --- |"]
    for each in scores.values():
        interval = f"{each.low:.3f} to {each.high:.3f}"
        rows.append(
            f"| {each.title} | {each.right} / {each.count} | {each.rate:.3f} | {interval} | {each.required:.2f} |"
        )
    return "\n".join(rows)


def read_scores(folder: Path) -> dict[str, Score]:
    """The published scores of a checkpoint folder."""
    content = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return {name: Score(**each) for name, each in content["scores"].items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m glm_rocm.pocket.evaluate", description="Score a pocket GLM.")
    parser.add_argument("folder", type=Path, nargs="?", default=checkpoint_path(), help="checkpoint folder")
    parser.add_argument("--count", type=int, default=300, help="questions per task")
    parser.add_argument("--seed", type=int, default=SEED, help="of the held-out sets")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tasks", nargs="*", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--misses", type=int, default=0, help="show so many wrong answers per task")
    parser.add_argument("--write", action="store_true", help="write scores.json into the folder; print its table")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    scores, answers = evaluate(load(options.folder), options.count, options.tasks, options.seed)
    console = Console()
    console.print(table(scores))
    for task, given in answers.items():
        for each in [each for each in given if not each.right][: options.misses]:
            console.print(f"{task}: wrote {each.text!r}\n  expected {each.question.answer!r}", markup=False)
    if options.write:
        content = {"seed": options.seed, "scores": {name: asdict(each) for name, each in scores.items()}}
        (options.folder / "scores.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        console.print(markdown(scores), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
