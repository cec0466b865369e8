"""Generate in a real vLLM of this process: `generate.py MODEL OPTIONS`; stdin has {"prompts", "tokens", "logprobs"}.

The answers are generated twice: once to the end that the model gives them, of which only the drafts are counted (not
where "once" is asked for), and once to a fixed number of tokens.

OPTIONS is JSON for `LLM()`. Without GLM_ROCM_PLAN it is vLLM alone. Kernel calls are counted at the functions that the
plan's kernels name, so that a fallback to vLLM's own shows.
"""

import collections
import functools
import importlib
import json
import sys
from typing import Any

from glm_rocm.engines.active import active_plan

calls: collections.Counter[str] = collections.Counter()


def count(module: str, name: str) -> None:
    found = importlib.import_module(module)
    original = getattr(found, name)

    @functools.wraps(original)
    def counted(*arguments: Any, **options: Any) -> Any:
        calls[name] += 1
        return original(*arguments, **options)

    setattr(found, name, counted)


def count_kernels() -> None:
    """Those of the plan; without one the torch kernels, which nobody should then call."""
    plan = active_plan()
    emulated = plan is not None and plan.emulate
    package = "glm_rocm_kernels" if emulated else "glm_rocm.backends.torch_kernels"
    for module, names in {"attention": ("attention", "store_kv"), "moe": ("experts",), "linear": ("linear",)}.items():
        for name in names:
            count(f"{package}.{module}", name)


def main() -> None:
    count_kernels()
    from vllm import LLM, SamplingParams
    from vllm.v1.metrics.reader import Counter

    asked = json.load(sys.stdin)
    options = {"dtype": "float32", "enforce_eager": True, "max_model_len": 512, "max_num_seqs": 8, "block_size": 128}
    options |= {"kv_cache_memory_bytes": 64 << 20, "disable_log_stats": False, "max_logprobs": -1}
    llm = LLM(model=sys.argv[1], **options | json.loads(sys.argv[2]))
    sampling = SamplingParams(
        temperature=0, ignore_eos=True, max_tokens=asked["tokens"], prompt_logprobs=asked.get("logprobs")
    )
    prompts = [{"prompt_token_ids": prompt} for prompt in asked["prompts"]]
    if not asked.get("once"):
        llm.generate(prompts, SamplingParams(temperature=0, max_tokens=64), use_tqdm=False)
    drafts = {metric.name: metric.value for metric in llm.get_metrics() if isinstance(metric, Counter)}
    calls.clear()
    llm.reset_prefix_cache()
    outputs = llm.generate(prompts, sampling, use_tqdm=False)
    answer = {
        "tokens": [list(output.outputs[0].token_ids) for output in outputs],
        "calls": calls,
        "drafts": {name: value for name, value in drafts.items() if "spec_decode" in name},
    }
    if asked.get("logprobs") is not None:
        answer["logprobs"] = [
            [[position[token].logprob for token in sorted(position)] for position in output.prompt_logprobs[1:]]
            for output in outputs
        ]
    print("RESULT " + json.dumps(answer))


if __name__ == "__main__":
    main()
