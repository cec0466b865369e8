"""Load a model for a plan, and generate: chat template, greedy decoding, text as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    Glm4MoeConfig,
    Glm4MoeForCausalLM,
    TextStreamer,
)
from transformers.utils import logging as transformers_logging

from glm_rocm.engines.transformers.active import NAME
from glm_rocm.engines.transformers.install import install
from glm_rocm.errors import EngineError, UsageError
from glm_rocm.model.checkpoint import check_checkpoint, local_folder
from glm_rocm.plan import Plan

DEVICES = {"cpu": "cpu", "rocm": "cuda", "cuda": "cuda"}
"""torch's word for a vendor's device; ROCm builds answer to `cuda`."""


@dataclass(frozen=True)
class Generation:
    """One answer.

    Attributes:
        text: the continuation, special tokens left out; GLM's `<think>` and `<tool_call>` marks are plain text.
        tokens: its token ids, the end-of-turn token included.
        prompt_tokens: how many tokens the prompt had.
        finish_reason: `stop` at an end-of-turn token, `length` at `max_new_tokens`.
    """

    text: str
    tokens: tuple[int, ...]
    prompt_tokens: int
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True)
class Loaded:
    """A model ready to generate, with its tokenizer and the plan that it runs by."""

    plan: Plan
    model: Any
    tokenizer: Any

    def generate(
        self,
        prompt: str | Sequence[Mapping[str, Any]],
        *,
        max_new_tokens: int = 128,
        thinking: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        stream: Callable[[str], None] | None = None,
    ) -> Generation:
        """See `glm_rocm.engines.transformers.generate`."""
        ids = self.prompt_ids(prompt, thinking=thinking, tools=tools)
        length = int(ids.shape[1])
        if length + max_new_tokens > self.plan.context:
            raise UsageError(
                f"{length} prompt tokens and {max_new_tokens} new ones",
                required=f"at most {self.plan.context} together, the plan's context",
                hint=f"`--max-new-tokens {max(self.plan.context - length, 1)}`, or a shorter prompt",
            )
        ends = self.end_tokens
        config = GenerationConfig(
            max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=ends, pad_token_id=ends[0]
        )
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=config,
                streamer=None if stream is None else _Streamer(self.tokenizer, stream),
            )
        tokens = tuple(out[0, length:].tolist())
        reason: Literal["stop", "length"] = "stop" if tokens and tokens[-1] in ends else "length"
        text = self.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return Generation(text, tokens, length, reason)

    def prompt_ids(
        self,
        prompt: str | Sequence[Mapping[str, Any]],
        *,
        thinking: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> torch.Tensor:
        """Token ids `[1, T]` of the prompt in the model's own chat template."""
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(m) for m in prompt]
        if not messages or any("role" not in message for message in messages):
            raise UsageError(
                "a chat without messages, or a message without a role",
                required="a list of `{role, content}`",
                hint="pass the question as one string",
            )
        encoded = self.tokenizer.apply_chat_template(
            messages,
            tools=None if tools is None else [dict(tool) for tool in tools],
            add_generation_prompt=True,
            enable_thinking=thinking,
            return_dict=True,
            return_tensors="pt",
        )
        ids: torch.Tensor = encoded["input_ids"].to(self.model.device)
        return ids

    @property
    def end_tokens(self) -> list[int]:
        """The tokens that end a turn; for GLM `<|endoftext|>`, `<|user|>` and `<|observation|>`."""
        ends = self.model.generation_config.eos_token_id
        if ends is None:
            ends = self.model.config.eos_token_id
        return [ends] if isinstance(ends, int) else list(ends)


class _Streamer(TextStreamer):  # type: ignore[misc]  # transformers is untyped
    """Hands each finished piece of text to a function instead of printing it."""

    def __init__(self, tokenizer: Any, stream: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.stream = stream

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self.stream(text)


def load(plan: Plan, *, progress: bool = False) -> Loaded:
    """Install the plan's kernels and load its model and tokenizer on one device. Arguments and errors: `load_model`."""
    return Loaded(plan, load_model(plan, progress=progress), AutoTokenizer.from_pretrained(local_folder(plan.model)))


def load_model(plan: Plan, *, progress: bool = False) -> Any:
    """Install the plan's kernels and load its model, a `Glm4MoeForCausalLM` that runs them.

    Args:
        progress: let transformers draw its bars on stderr.

    Raises:
        EngineError: transformers is not as it must be; the plan's device is not on this machine.
        CheckpointError: the plan's model has no files here, or they are damaged or contradict its config.
    """
    install(plan)
    device = _device(plan)
    folder = local_folder(plan.model)
    check_checkpoint(folder, plan.model)
    config = Glm4MoeConfig.from_pretrained(folder)
    quantization = plan.model.quantization
    if quantization.scheme != "none":
        config.quantization_config = {
            "quant_method": NAME,
            "scheme": quantization.scheme,
            "ignore": list(quantization.ignore),
        }
    with _progress_bars(progress):
        model = _without_mtp(plan.model.layers).from_pretrained(
            folder,
            config=config,
            dtype=getattr(torch, plan.dtype),
            attn_implementation=NAME,
            experts_implementation=NAME,
        )
    # Without gradients: our kernels have no backward pass.
    return model.to(device).eval().requires_grad_(False)


@contextmanager
def _progress_bars(wanted: bool) -> Iterator[None]:
    """transformers' bars on stderr, or none; afterwards as it was."""
    shown = transformers_logging.is_progress_bar_enabled()
    (transformers_logging.enable_progress_bar if wanted else transformers_logging.disable_progress_bar)()
    try:
        yield
    finally:
        (transformers_logging.enable_progress_bar if shown else transformers_logging.disable_progress_bar)()


def _without_mtp(layers: int) -> Any:
    """The model's class, told that the MTP layer's tensors are no mistake (transformers knows layers 46 and 92)."""
    ignored = [rf"model\.layers\.{layers}\..*"]
    return type("Glm4MoeForCausalLM", (Glm4MoeForCausalLM,), {"_keys_to_ignore_on_load_unexpected": ignored})


def _device(plan: Plan) -> torch.device:
    device = DEVICES[plan.target.vendor]
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineError(
            f"the plan is for `{plan.target.device}`, and torch sees no such device here",
            required="the machine that the plan was made for",
            hint="glm-rocm generate --target cpu PROMPT",
        )
    return torch.device(device)
