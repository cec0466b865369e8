"""Train the pocket GLM: `python -m glm_rocm.pocket.train --out RUN_FOLDER`.

A run is a pure function of its settings: batches are drawn from the seed and the step number, so that a run which was
stopped and resumed ends in the same weights (bit for bit with one worker). `--steps` may be changed on resuming; it
moves the decay of the learning rate.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from glm_rocm.pocket.batches import Batch, step_batch
from glm_rocm.pocket.config import PocketConfig
from glm_rocm.pocket.data.dialogue import MIX
from glm_rocm.pocket.model import PocketGLM
from glm_rocm.pocket.optimizer import Optimizer, balance
from glm_rocm.pocket.tokenizer import build_tokenizer


@dataclass(frozen=True)
class Settings:
    """What a run depends on.

    Attributes:
        steps: number of updates.
        tokens: tokens per step, over all workers.
        seed: of weights and data.
        workers: processes of one thread each.
        warmup: steps until the full learning rate.
        decay: fraction of the steps after which the learning rate falls linearly to 2 %.
        mtp_start: fraction of the steps after which the MTP layer is trained too.
        mtp_weight: weight of its loss.
        mtp_every: it is trained in each so-many-th step only, once its start is reached.
        prompt_weight: weight of a token that the model only reads.
        balance: step of the router bias; a quarter of it in the last fifth.
        save_every: steps between two snapshots.
    """

    steps: int = 1400
    tokens: int = 6144
    seed: int = 1
    workers: int = 2
    warmup: int = 40
    decay: float = 0.55
    mtp_start: float = 0.45
    mtp_weight: float = 0.3
    mtp_every: int = 1
    prompt_weight: float = 0.03
    balance: float = 0.004
    save_every: int = 50

    def rate(self, step: int) -> float:
        """Factor of the learning rate at `step` (1-based)."""
        done = step / self.steps
        falling = 1.0 if done < self.decay else max(0.02, 1 - 0.98 * (done - self.decay) / (1 - self.decay))
        return min(1.0, step / self.warmup) * falling


@dataclass
class Losses:
    """Sums over target tokens since the last report: main loss, MTP loss and their token counts."""

    main: float = 0.0
    main_count: int = 0
    mtp: float = 0.0
    mtp_count: int = 0

    def report(self) -> dict[str, float]:
        return {"loss": self.main / max(1, self.main_count), "mtp_loss": self.mtp / max(1, self.mtp_count)}


def batch_loss(model: PocketGLM, batch: Batch, mtp_weight: float, losses: Losses) -> Tensor:
    """The weighted mean next-token loss of `batch`, plus `mtp_weight` times the MTP layer's on target tokens.

    Adds what targets cost to `losses`. With `mtp_weight` 0 the MTP layer is not run.
    """
    hidden = model(batch.ids, batch.positions, batch.lengths)
    following, weight = batch.ahead[1]
    total, chosen = weight.sum(), weight.nonzero().squeeze(1)
    cost = F.cross_entropy(model.logits(hidden[0, chosen]), following[chosen], reduction="none")
    loss = (cost * weight[chosen]).sum() / total
    target = weight[chosen] == 1
    losses.main += float(cost.detach()[target].sum())
    losses.main_count += int(target.sum())
    if mtp_weight:
        further = model.forward_mtp(hidden, following.unsqueeze(0), batch.positions, batch.lengths)
        after, weight = batch.ahead[2]
        chosen = (weight == 1).nonzero().squeeze(1)
        cost = F.cross_entropy(model.logits(further[0, chosen]), after[chosen], reduction="none")
        loss = loss + mtp_weight * cost.sum() / total
        losses.mtp += float(cost.detach().sum())
        losses.mtp_count += len(chosen)
    return loss


class Run:
    """One worker's part of a training run."""

    def __init__(self, settings: Settings, config: PocketConfig, rank: int, mix: dict[str, float]) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.rank, self.mix = settings, rank, mix
        self.model = PocketGLM(config).train()
        self.optimizer = Optimizer(self.model)
        self.tokenizer = build_tokenizer()
        self.step, self.seen = 0, 0
        self.losses, self.worst_load = Losses(), 0.0

    def load(self, path: Path) -> None:
        """Go on from a snapshot."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state(state["optimizer"])
        self.step, self.seen = state["step"], state["seen"]

    def save(self, path: Path) -> None:
        """Write a snapshot, so that a reader never sees half of one."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state(), "step": self.step}
        temporary = path.with_suffix(".tmp")
        torch.save({**state, "seen": self.seen, "settings": asdict(self.settings)}, temporary)
        os.replace(temporary, path)

    def advance(self) -> None:
        """One update."""
        settings = self.settings
        self.step += 1
        drafting = self.step > settings.mtp_start * settings.steps and self.step % settings.mtp_every == 0
        mtp_weight = settings.mtp_weight if drafting else 0.0
        seed = f"{settings.seed}/{self.step}/{self.rank}"
        share = settings.tokens // settings.workers
        batch = step_batch(self.tokenizer, seed, share, settings.prompt_weight, self.mix)
        for parameter in self.model.parameters():
            parameter.grad = None
        batch_loss(self.model, batch, mtp_weight, self.losses).backward()  # type: ignore[no-untyped-call]
        self.seen += self._average(batch.ids.numel())
        self.optimizer.step(settings.rate(self.step))
        late = self.step > 0.8 * settings.steps
        with torch.no_grad():
            self.worst_load = balance(self.model.experts(), settings.balance * (0.25 if late else 1.0))

    def _average(self, tokens: int) -> int:
        """Average the gradients and add up the expert loads over all workers; the number of tokens of all."""
        workers = self.settings.workers
        if workers == 1:
            return tokens
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        loads = [layer.load for layer in self.model.experts()]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        sums = torch.cat([*loads, torch.tensor([float(tokens)])])
        dist.all_reduce(flat)
        dist.all_reduce(sums)
        for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient) / workers)
        for load, part in zip(loads, torch.split(sums[:-1], [load.numel() for load in loads]), strict=True):
            load.copy_(part)
        return int(sums[-1])


def work(rank: int, settings: Settings, config: PocketConfig, out: Path, mix: dict[str, float], port: int) -> None:
    """The life of one worker: start or go on from `out`/last.pt, train to the last step, keep a log beside it."""
    torch.set_num_threads(1)
    if settings.workers > 1:
        address = f"tcp://127.0.0.1:{port}"
        dist.init_process_group("gloo", init_method=address, rank=rank, world_size=settings.workers)
    run = Run(settings, config, rank, mix)
    snapshot = out / "last.pt"
    if snapshot.exists():
        run.load(snapshot)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeRemainingColumn())
    with Progress(*columns, disable=rank > 0) as progress:
        bar = progress.add_task("training", total=settings.steps, completed=run.step, told="")
        started, seen = time.monotonic(), run.seen
        while run.step < settings.steps:
            run.advance()
            speed = (run.seen - seen) / (time.monotonic() - started)
            if rank == 0 and run.step % 10 == 0:
                entry = {"step": run.step, "tokens": run.seen, "speed": round(speed), "load": round(run.worst_load, 2)}
                entry |= {name: round(loss, 4) for name, loss in run.losses.report().items()}
                run.losses = Losses()
                with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                    log.write(json.dumps(entry) + "\n")
                told = f"{run.seen / 1e6:.2f}M tokens, {speed:.0f}/s, loss {entry['loss']} mtp {entry['mtp_loss']}"
                progress.update(bar, told=told)
            progress.update(bar, completed=run.step)
            if rank == 0 and (run.step % settings.save_every == 0 or run.step == settings.steps):
                run.save(snapshot)
    if settings.workers > 1:
        dist.destroy_process_group()


def train(
    settings: Settings, out: Path, config: PocketConfig | None = None, mix: dict[str, float] | None = None
) -> None:
    """Train into the folder `out`, going on from its `last.pt` if there is one."""
    out.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = (settings, config or PocketConfig(), out, mix or MIX, port)
    if settings.workers == 1:
        work(0, *arguments)
    else:
        spawn(work, arguments, nprocs=settings.workers)  # type: ignore[no-untyped-call]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m glm_rocm.pocket.train", description="Train the pocket GLM.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an unfinished run in it goes on")
    for name, default in asdict(Settings()).items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(default), default=default, help=f"default {default}"
        )
    options = vars(parser.parse_args())
    train(out=options.pop("out"), settings=Settings(**options))


if __name__ == "__main__":
    main()
