"""What transformers says to some questions in float32, greedily: `golden.py TOKENS`, the questions as JSON on stdin.

A process of its own: transformers imports sentencepiece where it is installed, as SGLang wants it, and 0.2.1 of it may
crash a process that ends with much in it.
"""

import json
import sys

from glm_rocm.engines.sglang import torchvision
from glm_rocm.pocket import checkpoint_path

torchvision.watch()  # transformers imports it too

import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

read = AutoTokenizer.from_pretrained(checkpoint_path())
model = AutoModelForCausalLM.from_pretrained(checkpoint_path(), dtype=torch.float32)
model.generation_config.eos_token_id = None
prompts, tokens = [], []
for question in json.load(sys.stdin):
    turn = [{"role": "user", "content": question}]
    chat = read.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    prompts.append(read.encode(chat, add_special_tokens=False))
    whole = model.generate(torch.tensor([prompts[-1]]), do_sample=False, max_new_tokens=int(sys.argv[1]))
    tokens.append(whole[0, len(prompts[-1]) :].tolist())
print("RESULT " + json.dumps({"prompts": prompts, "tokens": tokens}))
