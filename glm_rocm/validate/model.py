"""The model level: a checkpoint in BF16 and as FP8 on the same text, layer by layer.

FP8 has three parts, weights, activations and cache; each is looked at alone and all together. Every variant goes
through a layer before the next one is read, so memory holds at most three and a half layers in BF16 (one as stored, its
FP8 copy, and one that is being widened) and the hidden states, however deep the model is: 16 GB for GLM-4.5-Air, whose
layer has 4.5.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from glm_rocm.model.spec import ModelSpec
from glm_rocm.numerics import calc_diff
from glm_rocm.reference.norm_rope import cos_sin_table
from glm_rocm.reference.weights import load_block, load_mtp
from glm_rocm.validate.block import empty_pages
from glm_rocm.validate.layer import Chain, Stage, stages_of
from glm_rocm.validate.machine import Machine
from glm_rocm.validate.results import Case, Check, check
from glm_rocm.validate.statistics import binned, mcnemar, paired_interval
from glm_rocm.validate.text import Packed
from glm_rocm.validate.trial import worst
from glm_rocm.validate.weights import layer_bytes, quantized, tensors_of, widened

BASE = "BF16"
UNCALIBRATED = (1.0, 1.0)
"""Scales of an FP8 cache where a checkpoint brings none, as no GLM does: what engines take."""
ROWS = 512
"""Rows whose logits are held at once."""


@dataclass(frozen=True)
class Variant:
    """Which parts are FP8."""

    name: str
    weights: bool = False
    activations: bool = False
    cache: bool = False


VARIANTS = (
    Variant(BASE),
    Variant("weight FP8", weights=True),
    Variant("activation FP8", activations=True),
    Variant("cache FP8", cache=True),
    Variant("weight and activation FP8", weights=True, activations=True),
    Variant("all FP8", weights=True, activations=True, cache=True),
)


@dataclass
class Figures:
    """What a variant's logits say, row by row, beside the base's."""

    kl: Tensor
    best: Tensor
    logprob: Tensor
    draft: Tensor


def model_cases(
    spec: ModelSpec,
    machine: Machine,
    packed: Packed,
    kernels: Mapping[str, Stage],
    *,
    variants: tuple[Variant, ...] = VARIANTS,
    tell: Callable[[str], None] = lambda words: None,
) -> Iterator[Case]:
    """Hidden states, logits, MTP and accuracy of every variant against the first.

    Args:
        kernels: the functions of each op, of `block.kernels_of`.
        tell: told what is at hand.
    """
    begun = time.monotonic()
    runner = Runner(spec, machine, packed, kernels, variants)
    checks = runner.hidden(tell)
    figures = runner.figures(tell)
    took = round((time.monotonic() - begun) / max(1, len(variants) - 1), 3)
    tokens = len(packed.tokens)
    base = figures[BASE]
    for variant in variants[1:]:
        mine = figures[variant.name]
        kernel = machine.name
        for op, found, notes in (
            ("hidden", tuple(checks[variant.name]), (runner.bound,)),
            ("logits", logits_checks(mine, base, packed), ()),
            ("mtp", *mtp_checks(mine, base, packed)),
            ("accuracy", *accuracy_checks(mine, base, packed)),
        ):
            if found:
                yield Case(
                    "model", op, kernel, variant.name, spec.name, tokens, found, evidence=machine.evidence,
                    seconds=took if op == "hidden" else 0.0, notes=notes,
                    histogram=binned(mine.kl[~packed.last].tolist()) if op == "logits" else (),
                )  # fmt: skip


@dataclass
class Runner:
    """The variants' hidden states on their way through the layers."""

    spec: ModelSpec
    machine: Machine
    packed: Packed
    kernels: Mapping[str, Stage]
    variants: tuple[Variant, ...]

    def __post_init__(self) -> None:
        self.tensors = tensors_of(self.spec)
        self.cos_sin = cos_sin_table(
            int(self.packed.batch.positions.max()) + 1, self.spec.rotary_dim, self.spec.rope_theta
        )
        self.largest = 0
        self.embedded = self._embed(self.packed.tokens)
        self.states = {variant.name: self.embedded for variant in self.variants}

    def hidden(self, tell: Callable[[str], None]) -> dict[str, list[Check]]:
        """Every layer, every variant; the mean and the worst token of each, which a near tie of the router decides."""
        checks: dict[str, list[Check]] = {variant.name: [] for variant in self.variants}
        for layer in range(self.spec.layers):
            tell(f"layer {layer + 1} of {self.spec.layers}")
            weights = load_block(self.tensors, layer, self.spec)
            self.largest = max(self.largest, layer_bytes(weights))
            self._through(weights)
            del weights
            for variant in self.variants[1:]:
                values = calc_diff(self.states[variant.name], self.states[BASE])
                where, diff = worst(values)
                checks[variant.name] += [
                    check("model.hidden_mean", float(values.mean()), where=f"layer {layer}"),
                    check("model.hidden", diff, where=f"layer {layer}, {where}"),
                ]
        return checks

    @property
    def bound(self) -> str:
        """What was held at once, in words."""
        return f"one layer at a time, the largest {self.largest / 1e6:.1f} MB as stored"

    def figures(self, tell: Callable[[str], None]) -> dict[str, Figures]:
        """The logits of every variant, in chunks, and its MTP layer's drafts."""
        tell("logits")
        norm, head = self.tensors["model.norm.weight"], self._head()
        normed = {
            variant.name: self._chain(variant).run("final_norm", self.states[variant.name], norm, self.spec.rms_eps)
            for variant in self.variants
        }
        drafts = self._drafts(normed, tell)
        found: dict[str, list[tuple[Tensor, ...]]] = {variant.name: [] for variant in self.variants}
        following = self.packed.tokens.roll(-1)
        for begin in range(0, len(following), ROWS):
            rows = slice(begin, begin + ROWS)
            base: Tensor | None = None
            for variant in self.variants:
                logits = self._chain(variant).run("head", normed[variant.name][rows], head)
                log = torch.log_softmax(logits.double(), -1)
                base = log if base is None else base
                kl = (base.exp() * (base - log)).sum(-1)
                likely = log.gather(1, following[rows, None])[:, 0]
                found[variant.name].append((kl, log.argmax(-1), likely))
        joined = {name: [torch.cat(parts) for parts in zip(*chunks, strict=True)] for name, chunks in found.items()}
        return {name: Figures(kl, best, likely, drafts[name]) for name, (kl, best, likely) in joined.items()}

    def _through(self, weights: Any) -> None:
        """One layer for every variant; what it is quantised to is made once."""
        coded = quantized(weights, self.machine.fp8) if any(variant.weights for variant in self.variants) else weights
        for variant in self.variants:
            cache = empty_pages(self.packed.pages, self.spec, self._cache_dtype(variant), UNCALIBRATED)
            self.states[variant.name] = self._chain(variant).layer(
                self.states[variant.name],
                self._weights(variant, weights, coded),
                cache,
                self.packed.batch,
                self.cos_sin,
            )

    def _drafts(self, normed: Mapping[str, Tensor], tell: Callable[[str], None]) -> dict[str, Tensor]:
        """Each row's MTP guess of the token after the next, `[T]`; -1 where the checkpoint has no MTP layer."""
        nothing = torch.full_like(self.packed.tokens, -1)
        if not self.spec.mtp_layers:
            return {variant.name: nothing for variant in self.variants}
        tell("MTP layer")
        weights = load_mtp(self.tensors, self.spec)
        coded = quantized(weights, self.machine.fp8)
        following = self._embed(self.packed.tokens.roll(-1))
        drafts = {}
        for variant in self.variants:
            cache = empty_pages(self.packed.pages, self.spec, self._cache_dtype(variant), UNCALIBRATED)
            mine = self._weights(variant, weights, coded)
            logits = self._chain(variant).mtp(
                following, normed[variant.name], mine, cache, self.packed.batch, self.cos_sin
            )
            drafts[variant.name] = logits.argmax(-1)
        return drafts

    def _chain(self, variant: Variant) -> Chain:
        fake = self.machine.fp8 if variant.activations and not variant.weights else None
        return Chain(stages_of(self.kernels, fake=fake), self.spec, torch.bfloat16)

    def _weights(self, variant: Variant, plain: Any, coded: Any) -> Any:
        if variant.weights and variant.activations:
            return coded
        return widened(coded if variant.weights else plain, torch.bfloat16)

    def _cache_dtype(self, variant: Variant) -> torch.dtype:
        return self.machine.fp8 if variant.cache else torch.bfloat16

    def _embed(self, tokens: Tensor) -> Tensor:
        return self.tensors["model.embed_tokens.weight"][tokens].to(torch.bfloat16)

    def _head(self) -> Tensor:
        return self.tensors["model.embed_tokens.weight" if self.spec.tied_embeddings else "lm_head.weight"]


def logits_checks(mine: Figures, base: Figures, packed: Packed) -> tuple[Check, ...]:
    """KL divergence and best guess over every row with a next token, perplexity over the answers."""
    rows = ~packed.last
    kl = mine.kl[rows]
    where, largest = worst(kl)
    same = (mine.best == base.best)[rows].double().mean()
    ratio = (base.logprob[packed.answer].mean() - mine.logprob[packed.answer].mean()).exp()
    return (
        check("model.kl_mean", float(kl.mean())),
        check("model.kl_p99", float(kl.quantile(0.99)) if len(kl) < 2**24 else largest),
        check("model.kl_max", largest, where=where),
        check("model.top1", float(same)),
        check("model.perplexity", float(ratio)),
    )


def mtp_checks(mine: Figures, base: Figures, packed: Packed) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """How often the MTP layer's draft is what the model itself says next, over the answers."""
    if bool((mine.draft < 0).all()):
        return (), ()
    rows = packed.answer & ~packed.last.roll(-1)
    rates = [float((one.draft[rows] == one.best.roll(-1)[rows]).double().mean()) for one in (base, mine)]
    note = f"accepted drafts: BF16 {rates[0]:.4f}, FP8 {rates[1]:.4f} of {int(rows.sum())}"
    return (check("model.mtp", rates[1] - rates[0]),), (note,)


def accuracy_checks(mine: Figures, base: Figures, packed: Packed) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """Held-out questions answered to the letter, with the paired test."""
    right = [answered(one, packed) for one in (base, mine)]
    count, before, after = len(right[0]), int(right[0].sum()), int(right[1].sum())
    lost, gained = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    low, high = paired_interval(lost, gained, count)
    note = (
        f"BF16 {before} and FP8 {after} of {count}; only BF16 {lost}, only FP8 {gained}; "
        f"McNemar p = {mcnemar(lost, gained):.3g}, difference {low:+.3f} to {high:+.3f} (95 %)"
    )
    if before == 0:
        return (), ("the model answers none of the pocket GLM's questions: no accuracy to compare",)
    checks = [check("model.recovery", after / before)]
    if count >= ENOUGH:
        checks.append(check("model.recovery_low", low))
    return tuple(checks), (note,)


ENOUGH = 200
"""Questions from which on the interval of their difference can be narrower than the margin."""


def answered(figures: Figures, packed: Packed) -> Tensor:
    """`[sequences]` bool: every token of the answer is the best guess."""
    wrong = packed.answer & (figures.best != packed.tokens.roll(-1))
    missed = torch.zeros(len(packed.sequences), dtype=torch.int64).index_add_(0, packed.owner, wrong.long())
    return missed == 0
