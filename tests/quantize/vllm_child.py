"""Load a checkpoint into this process's vLLM with MTP and generate: `vllm_child.py FOLDER DTYPE TOKEN...`."""

from __future__ import annotations

import json
import sys


def main() -> None:
    from vllm import LLM, SamplingParams

    folder, dtype, *prompt = sys.argv[1:]
    llm = LLM(
        model=folder,
        skip_tokenizer_init=True,
        enforce_eager=True,
        dtype=dtype,
        max_model_len=128,
        max_num_seqs=2,
        speculative_config={"method": "mtp", "num_speculative_tokens": 1},
        disable_log_stats=False,
    )
    sampling = SamplingParams(temperature=0.0, max_tokens=16, ignore_eos=True, logprobs=1, detokenize=False)
    (request,) = llm.generate([{"prompt_token_ids": [int(token) for token in prompt]}], sampling, use_tqdm=False)
    (answer,) = request.outputs
    tokens = list(answer.token_ids)
    logprobs = [step[token].logprob for step, token in zip(answer.logprobs or [], tokens, strict=True)]
    drafts = [metric.value for metric in llm.get_metrics() if metric.name == "vllm:spec_decode_num_drafts"]
    print("RESULT " + json.dumps({"tokens": tokens, "logprobs": logprobs, "drafts": drafts}))


if __name__ == "__main__":
    main()
