"""Every limit of the suite with the place that it comes from. A limit is data: nothing else in the suite holds one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from glm_rocm.ops.kernel import Kernel

Sense = Literal["at most", "at least"]
DEEPGEMM = "DeepGEMM, deep_gemm/testing/numeric.py (calc_diff), bf16 1e-5, FP8 1e-3; here per token, the worst one"
FORMAT = "FP8's own error on Gaussian data: 7.0e-4 for a product, 2.1e-3 for an expert, in fn and in fnuz alike"
NARROW = "6.4e-3 is the worst of 8,192 tokens at H = N = 192 and top-2, where few terms average the format's error out"
BITS = "the op's definition fixes each bit"
POCKET = "three times what the shipped pocket GLM and its FP8 show, rounded up"
LLM_COMPRESSOR = "llm-compressor, tests/lmeval, recovery_threshold"


@dataclass(frozen=True)
class Gate:
    """One limit.

    Attributes:
        name: how checks and baselines refer to it.
        what: the measured figure, in words.
        limit: the largest, or smallest, figure that passes.
        source: where the limit comes from.
    """

    name: str
    what: str
    limit: float
    source: str
    sense: Sense = "at most"

    def holds(self, measured: float, limit: float | None = None) -> bool:
        """Whether a figure passes; NaN never does. `limit`: a kernel's own, where it declares a stricter one."""
        bound = self.limit if limit is None else limit
        return measured <= bound if self.sense == "at most" else measured >= bound


GATES = {
    gate.name: gate
    for gate in (
        Gate("same_bits.float8", "calc_diff of the worst token, same FP8 bits", 1e-3, DEEPGEMM),
        Gate("same_bits.bfloat16", "calc_diff of the worst token", 1e-5, DEEPGEMM),
        Gate("same_bits.float16", "calc_diff of the worst token", 1e-5, DEEPGEMM),
        Gate("same_bits.float32", "calc_diff of the worst token", 1e-10, "fp32 sums in another order"),
        Gate("largest", "largest error of an element over its row's RMS", 1e-1, "the kernel's declared tolerance"),
        Gate("format.product", "calc_diff of the worst token against BF16", 2e-3, FORMAT),
        Gate("format.experts", "calc_diff of the worst token against BF16", 5e-3, FORMAT),
        Gate("format.narrow", "calc_diff of the worst token against BF16, sums of few products", 1e-2, NARROW),
        Gate("format.mean", "mean calc_diff over the tokens against BF16", 3e-3, FORMAT),
        Gate("format.attention", "calc_diff of the worst token against a BF16 cache", 5e-3, FORMAT),
        Gate("finite", "valid or silent padded rows with NaN or Inf", 0, "flashinfer 3650, aiter 4032 and 4528"),
        Gate("padding", "elements that a padded row changed", 0, "flashinfer 3650"),
        Gate("repeat", "elements that differ between two equal calls", 0, BITS),
        Gate("ids", "experts chosen otherwise than by the reference", 0, BITS),
        Gate("weights", "largest relative error of a routing weight", 1e-5, "fp32 with one exponential"),
        Gate("codes", "FP8 codes and scales that differ", 0, BITS),
        Gate("cache", "cache elements that differ from the reference's store", 0, BITS),
        Gate("carried.bfloat16", "calc_diff of the worst token after the layer, errors carried along", 2e-4, POCKET),
        Gate("carried.float8", "calc_diff of the worst token after the layer, errors carried along", 2e-2, POCKET),
        Gate("checkpoint", "troubles of the checkpoint's own", 0, "a checkpoint is as it was published or it is not"),
        Gate("model.hidden", "calc_diff of the worst token's hidden state after a layer", 1.0, POCKET),
        Gate("model.hidden_mean", "mean calc_diff of the hidden states after a layer", 6e-3, POCKET),
        Gate("model.kl_mean", "mean KL divergence of the next token, nats", 6e-3, POCKET),
        Gate("model.kl_p99", "99th percentile of the KL divergence, nats", 8e-2, POCKET),
        Gate("model.kl_max", "largest KL divergence, nats", 3.2, POCKET),
        Gate("model.top1", "share of tokens with the same best guess", 0.95, POCKET, "at least"),
        Gate("model.perplexity", "perplexity, FP8 over BF16", 1.02, POCKET),
        Gate("model.mtp", "MTP acceptance, FP8 minus BF16", -0.02, POCKET, "at least"),
        Gate("model.recovery", "accuracy, FP8 over BF16", 0.95, LLM_COMPRESSOR, "at least"),
        Gate("model.recovery_low", "lower end of the paired difference's 95 % interval", -0.02,
             "non-inferiority margin of sglang 37057", "at least"),
        Gate("server.logprob", "mean absolute difference of a prompt token's logprob, nats", 5e-2, POCKET),
        Gate("server.logprob_max", "largest difference of a prompt token's logprob, nats", 2.0, POCKET),
        Gate("server.top1", "share of prompt tokens with the same best guess", 0.95, POCKET, "at least"),
    )
}  # fmt: skip


def kernel_limits(kernel: Kernel, kind: str) -> tuple[float, float]:
    """The largest calc_diff and largest element of a kernel's results.

    The element's bound is the kernel's own. Its calc_diff is not: kernels declare it for the few tokens of their tests,
    and among 8,192 tokens a code that rounds the other way weighs more in one of them.

    Args:
        kind: `float8`, or the dtype of the activations.
    """
    declared = kernel.tolerance.get(kind)
    largest = GATES["largest"].limit
    return GATES[f"same_bits.{kind}"].limit, largest if declared is None else min(largest, declared.max_abs)
