"""FlashInfer and XFormers by the book: what their documentation says a call computes, in plain torch, on any machine.

The libraries need a card to run. Here their calls are recorded (test_signatures.py binds each to the installed library)
and answered from the very arguments that the adapter hands over, so that a wrong page list gives a wrong result.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from glm_rocm.backends.cuda import flashinfer_attention, flashinfer_experts, xformers_attention


@dataclass(frozen=True)
class Call:
    """A call as it was made: function, number of positional arguments, names of the others."""

    function: str
    positional: int
    named: tuple[str, ...]


@dataclass
class Book:
    """What was called, and the plans that were made."""

    calls: list[Call] = field(default_factory=list)
    plans: list[dict[str, Any]] = field(default_factory=list)
    wrappers: list[Any] = field(default_factory=list)

    def note(self, function: str, positional: int, named: dict[str, Any]) -> None:
        self.calls.append(Call(function, positional, tuple(named)))


class PrefillWrapper:
    """`BatchPrefillWithPagedKVCacheWrapper`, its plan in the order of the documentation."""

    book: Book
    PLAN = ("indptr", "page_indptr", "indices", "last", "heads", "kv_heads", "head_dim", "page_size")

    def __init__(self, *args: Any, **options: Any) -> None:
        self.book.note("prefill.__init__", len(args), options)
        self.book.wrappers.append(self)
        self.workspace, layout = args
        assert layout == "NHD"
        self.options = options
        self.planned: dict[str, Any] = {}

    def plan(self, *args: Any, **options: Any) -> None:
        self.book.note("prefill.plan", len(args), options)
        self.planned = dict(zip(self.PLAN, args, strict=True)) | options
        self.book.plans.append(self.planned)
        for name in ("indptr", "page_indptr", "indices", "last"):
            assert self.planned[name].dtype == torch.int32
        if self.options.get("use_cuda_graph"):  # the kernel reads the buffers; their lengths are what it was made for
            into = ("qo_indptr_buf", "paged_kv_indptr_buf", "paged_kv_indices_buf", "paged_kv_last_page_len_buf")
            for name, buffer in zip(self.PLAN[:4], into, strict=True):
                values = self.planned[name]
                assert len(values) <= len(self.options[buffer])
                self.options[buffer][: len(values)].copy_(values)

    def run(self, q: Tensor, caches: tuple[Tensor, Tensor], **options: Any) -> Tensor:
        self.book.note("prefill.run", 2, options)
        with _disable_current_modes():
            return self._compute(q, caches, options)

    def _compute(self, q: Tensor, caches: tuple[Tensor, Tensor], options: dict[str, Any]) -> Tensor:
        plan, out = self.planned, options["out"]
        assert caches[0].stride() == caches[1].stride()
        assert q.dtype == plan["q_data_type"]
        assert out.dtype == plan["o_data_type"]
        assert caches[0].dtype == plan["kv_data_type"]
        assert plan["causal"] is True
        names = ("qo_indptr_buf", "paged_kv_indptr_buf", "paged_kv_indices_buf", "paged_kv_last_page_len_buf")
        graph = self.options.get("use_cuda_graph")
        indptr, page_indptr, indices, last = (
            self.options[buffer] if graph else plan[name] for name, buffer in zip(self.PLAN[:4], names, strict=True)
        )
        factor = plan["sm_scale"] * (options["q_scale"] or 1.0) * (options["k_scale"] or 1.0)
        size, groups = plan["page_size"], plan["heads"] // plan["kv_heads"]
        for b in range(len(last)):
            start, end = int(indptr[b]), int(indptr[b + 1])
            pages = indices[int(page_indptr[b]) : int(page_indptr[b + 1])].long()
            if start == end:
                continue
            length = (len(pages) - 1) * size + int(last[b])
            # FP8 is read as bytes: torch cannot index it everywhere.
            k, v = (
                bits_of(cache)[pages].view(cache.dtype).float().flatten(0, 1)[:length].repeat_interleave(groups, 1)
                for cache in caches
            )
            scores = torch.einsum("thd,lhd->htl", q[start:end].float(), k) * factor
            seen = torch.arange(length) <= (length - (end - start) + torch.arange(end - start))[:, None]
            weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
            out[start:end] = torch.einsum("htl,lhd->thd", weights, v) * (options["v_scale"] or 1.0)
        return out


def bits_of(cache: Tensor) -> Tensor:
    return cache.view(torch.uint8) if cache.element_size() == 1 else cache


def cutlass_fused_moe(book: Book) -> Callable[..., Tensor]:
    """`flashinfer.fused_moe.cutlass_fused_moe` with SwiGLU: the first half of fc1 times silu of the second."""

    def fused(**options: Any) -> Tensor:
        book.note("cutlass_fused_moe", 0, options)
        x, ids, weights, fc1, fc2, out = (
            options[name]
            for name in (
                "input",
                "token_selected_experts",
                "token_final_scales",
                "fc1_expert_weights",
                "fc2_expert_weights",
                "output",
            )
        )
        assert ids.dtype == torch.int32
        assert weights.dtype == torch.float32
        assert 0 <= int(ids.min()) <= int(ids.max()) < fc1.shape[0]
        if options["use_deepseek_fp8_block_scale"]:
            fc1, fc2 = (widen(w, scale) for w, scale in zip((fc1, fc2), options["quant_scales"], strict=True))
        total = torch.zeros(x.shape, dtype=torch.float32)
        for slot in range(ids.shape[1]):
            for token in range(x.shape[0]):
                up, gate = (fc1[ids[token, slot]].float() @ x[token].float()).chunk(2)
                inner = torch.nn.functional.silu(gate) * up
                total[token] += weights[token, slot] * (fc2[ids[token, slot]].float() @ inner)
        return out.copy_(total)

    return fused


def widen(w: Tensor, scale: Tensor) -> Tensor:
    """FP8 blocks of 128 x 128 in fp32."""
    return w.float() * scale.repeat_interleave(128, 1).repeat_interleave(128, 2)


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> Iterator[Book]:
    """The libraries answered by the book; what is called is kept."""
    found = Book()
    wrapper = type("Wrapper", (PrefillWrapper,), {"book": found})
    monkeypatch.setattr(flashinfer_attention, "WORKSPACE_BYTES", 16)
    monkeypatch.setattr(flashinfer_attention, "_wrapper_class", lambda: wrapper)
    monkeypatch.setattr(flashinfer_experts, "_fused_moe", lambda: cutlass_fused_moe(found))
    monkeypatch.setattr(flashinfer_experts, "_deterministic", dict)
    flashinfer_attention.planner.cache_clear()
    yield found
    flashinfer_attention.planner.cache_clear()


class Mask:
    """`BlockDiagonalCausalFromBottomRightMask`: the newest query of a block sees all of the block's keys."""

    def __init__(self, queries: list[int], lengths: list[int]) -> None:
        self.queries, self.lengths = queries, lengths

    def materialize(self) -> Tensor:
        mask = torch.full((sum(self.queries), sum(self.lengths)), float("-inf"))
        row = column = 0
        for queries, length in zip(self.queries, self.lengths, strict=True):
            for query in range(queries):
                mask[row + query, column : column + length - queries + query + 1] = 0.0
            row, column = row + queries, column + length
        return mask


@pytest.fixture
def xbook(monkeypatch: pytest.MonkeyPatch) -> Book:
    """XFormers answered by the book, for grouped heads `[1, T, groups, heads of a group, D]`."""
    found = Book()

    def forward(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        found.note("memory_efficient_attention_forward", 3, options)
        scores = torch.einsum("btghd,blghd->bghtl", q.float(), k.float()) * options["scale"]
        weights = (scores + options["attn_bias"].materialize()).softmax(-1)
        return torch.einsum("bghtl,blghd->btghd", weights, v.float()).to(q.dtype)

    monkeypatch.setattr(xformers_attention, "_forward", lambda: forward)
    monkeypatch.setattr(xformers_attention, "causal_mask", lambda queries, lengths, device: Mask(queries, lengths))
    return found


READS_BACK = ("_local_scalar_dense", "nonzero", "item", "is_nonzero", "equal", "masked_select", "unique")
ALLOCATES = ("empty", "zeros", "ones", "full", "rand", "arange", "clone", "_to_copy", "cat", "new_", "like")


class Captured(TorchDispatchMode):
    """Raises at what a captured graph cannot hold: reading from the device, and, where `fixed`, taking memory."""

    def __init__(self, *, fixed: bool) -> None:
        super().__init__()
        self.forbidden = READS_BACK + (ALLOCATES if fixed else ())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if any(name == word or (word in ALLOCATES and word in name) for word in self.forbidden):
            raise AssertionError(f"aten::{name} while a graph is captured")
        return func(*args, **(kwargs or {}))


@pytest.fixture
def captured() -> Callable[..., contextlib.AbstractContextManager[Any]]:
    """`with captured(fixed=True)`: as under graph capture; `fixed`: no memory may be taken either."""
    return Captured
