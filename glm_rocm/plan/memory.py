"""Does it fit: weights, KV cache, activations, graphs and runtime of one rank against one device's memory.

Weights and KV cache are exact. The other three are estimates, and every constant says whether it is derived from the
engine's source, measured, or assumed. Bytes throughout; the smallest TP wins only when everything is counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from glm_rocm.model.spec import DTYPE_BYTES, LARGEST_TP, ModelSpec, WeightBytes
from glm_rocm.target import Target

GIB = 1 << 30

MEMORY_FRACTION = 0.92
"""Share of a device that the engine takes: vLLM 0.32's default of `--gpu-memory-utilization` (config/cache.py)."""

RUNTIME_BYTES = 2 * GIB
"""Device context, collective library's buffers, allocator's slack. Assumed, not measured."""

GRAPH_BYTES = GIB
"""CUDA or HIP graphs of some fifty captured batch sizes. Assumed; the engine measures its own when it starts."""

CPU_RUNTIME_BYTES = 3 * GIB
"""Resident memory of vLLM 0.32's three processes on a CPU, measured with a model of 20 MB (3.1 GB)."""

MOST_OFFLOAD_SHARE = 0.25
"""Largest share of the weights that a plan puts into host memory of its own accord. GLM's README offloads 16 of 89 GB
per H100; what lies there crosses the host link in every step."""

OFFLOAD_UNIT = GIB
"""vLLM takes `--cpu-offload-gb` in GiB per device (config/offload.py)."""


@dataclass(frozen=True)
class Workload:
    """What is asked of the memory.

    Attributes:
        context: tokens of a request, its answer included.
        requests: requests that hold `context` tokens each at the same time.
        max_seqs: requests that may be in flight at all; sizes the logits.
        dtype: of activations and of what is not FP8.
        kv_dtype: of the cache.
        mtp: draft tokens per step; above 0 the MTP layer is loaded and has its share of the cache.
        fraction: share of the device's memory that the engine may take.
    """

    context: int
    requests: int
    max_seqs: int
    dtype: str
    kv_dtype: str
    mtp: int
    fraction: float = MEMORY_FRACTION


@dataclass(frozen=True)
class MemoryFit:
    """One rank's memory, item by item.

    Attributes:
        budget: what the engine may take of a device.
        weights: by what they belong to.
        offload: weights held in host memory instead, per device.
        activations, graphs, runtime: estimates, see the constants of this module.
        kv_per_token: bytes of KV cache per token.
        kv_asked: bytes for the context and number of requests asked for.
        context, requests: those.
        smallest_tp: the smallest TP at which this workload fits the same card without offload; None where none does.
    """

    tp: int
    budget: int
    weights: WeightBytes
    offload: int
    activations: int
    graphs: int
    runtime: int
    kv_per_token: int
    kv_asked: int
    context: int
    requests: int
    smallest_tp: int | None

    @property
    def fixed(self) -> int:
        """All but the KV cache."""
        return self.weights.total - self.offload + self.activations + self.graphs + self.runtime

    @property
    def needed(self) -> int:
        """All of it, the KV cache asked for included."""
        return self.fixed + self.kv_asked

    @property
    def fits(self) -> bool:
        """Whether the budget holds it."""
        return self.needed <= self.budget

    @property
    def free(self) -> int:
        """Bytes left of the budget; negative: bytes missing."""
        return self.budget - self.needed

    @property
    def kv_tokens(self) -> int:
        """Tokens that the cache can hold when it takes all that the rest leaves."""
        return max(0, (self.budget - self.fixed) // self.kv_per_token)

    @property
    def full_requests(self) -> int:
        """Requests of `context` tokens that the cache holds at once."""
        return self.kv_tokens // self.context


def batched_tokens(target: Target) -> int:
    """Tokens of one step while prompts are read: vLLM 0.32's own defaults (engine/arg_utils.py, API server)."""
    if target.vendor == "cpu":
        return 2048
    if target.memory_bytes >= 160 * GIB:
        return 16384
    return 8192 if target.memory_bytes >= 70 * GIB and target.arch != "sm80" else 2048


def estimate(spec: ModelSpec, target: Target, tp: int, work: Workload, *, offload: int = 0) -> MemoryFit:
    """One rank's memory at `tp`, with `offload` bytes of its weights in host memory.

    Raises:
        PlanError: the model cannot be cut in `tp`.
    """
    on_cpu = target.vendor == "cpu"
    per_token = spec.kv_bytes_per_token(tp, work.kv_dtype, mtp=work.mtp > 0)
    return MemoryFit(
        tp=tp,
        budget=int(target.memory_bytes * work.fraction),
        weights=spec.weight_bytes(tp, mtp=work.mtp > 0, dtype=work.dtype),
        offload=offload,
        activations=activation_bytes(spec, target, tp, work),
        graphs=0 if on_cpu else GRAPH_BYTES,
        runtime=CPU_RUNTIME_BYTES if on_cpu else RUNTIME_BYTES,
        kv_per_token=per_token,
        kv_asked=per_token * work.context * work.requests,
        context=work.context,
        requests=work.requests,
        smallest_tp=None,
    )


def activation_bytes(spec: ModelSpec, target: Target, tp: int, work: Workload) -> int:
    """Peak of one step's temporaries, derived from the tensors that vLLM's model and its Triton experts hold at once.

    For T tokens: residual, normed input and two temporaries of `[T, H]`; beside them the largest of q, k, v and the
    attention's output, the experts' two workspaces `[T, K, max(2N, H)]` (vLLM 0.32, experts/triton_moe.py,
    workspace_shapes), a dense MLP's three. Then float32 logits and one copy, per request and draft token.
    """
    rank = spec.per_rank(tp)
    tokens = min(batched_tokens(target), work.context * work.requests)
    size = DTYPE_BYTES[work.dtype]
    stream = 4 * spec.hidden
    attention = (2 * rank.heads + 2 * rank.kv_heads) * spec.head_dim
    experts = 2 * spec.top_k * max(2 * rank.moe_intermediate, spec.hidden)
    dense = 3 * rank.intermediate if spec.first_dense else 0
    logits = 2 * 4 * work.max_seqs * (1 + work.mtp) * spec.padded_vocab
    return tokens * size * (stream + max(attention, experts, dense)) + logits


def smallest_tp(spec: ModelSpec, target: Target, work: Workload) -> int | None:
    """The smallest TP at which the workload fits devices of this kind without offload, however many there would be."""
    return next((tp for tp in spec.valid_tps(LARGEST_TP) if estimate(spec, target, tp, work).fits), None)


def offload_needed(fit: MemoryFit) -> int | None:
    """Bytes per device to put into host memory so that it fits, in whole GiB.

    None where that would be more than a quarter of the weights.
    """
    missing = -(min(0, fit.free) // OFFLOAD_UNIT) * OFFLOAD_UNIT
    return missing if missing <= MOST_OFFLOAD_SHARE * fit.weights.total else None
