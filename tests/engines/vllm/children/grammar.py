"""Hold texts against the grammar that a parser name gives for a tool choice: cases from stdin."""

import json
import sys
from typing import Any

from transformers import AutoTokenizer
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.parser.parser_manager import ParserManager
from vllm.plugins import load_general_plugins
from xgrammar import Grammar
from xgrammar.testing import _is_grammar_accept_string

from glm_rocm.pocket import checkpoint_path

load_general_plugins()
tokenizer = AutoTokenizer.from_pretrained(checkpoint_path())


def look(case: dict[str, Any], name: str) -> dict[str, Any]:
    made = ParserManager.get_parser(
        tool_parser_name=name, reasoning_parser_name="glm45", enable_auto_tools=True, tokenizer=tokenizer
    )
    request = ChatCompletionRequest(
        model="glm", messages=[{"role": "user", "content": "?"}], tools=case["tools"], **case["request"]
    )
    request = made(tokenizer, request.tools).adjust_request(request)
    if request.structured_outputs is None:
        return {"masked": False, "from first token": request._grammar_from_parser}
    grammar = Grammar.from_structural_tag(request.structured_outputs.structural_tag)
    accepted = [text for text in case["texts"] if _is_grammar_accept_string(grammar, text)]
    return {"masked": True, "accepted": accepted, "from first token": request._grammar_from_parser}


cases = json.load(sys.stdin)
print("RESULT " + json.dumps({name: look(case, sys.argv[1]) for name, case in cases.items()}))
