"""Ask a served GLM, and see its thoughts and its answer as they come.

    make serve                                              # in one terminal
    python examples/chat.py "What is 12 + 30?"              # in another
    python examples/chat.py --no-thinking "Who are you?"

Needs `pip install openai`. OPENAI_BASE_URL and OPENAI_API_KEY, where set, go before the defaults.
"""

from __future__ import annotations

import argparse
import os

from openai import OpenAI


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask a served GLM.")
    parser.add_argument("question")
    parser.add_argument("--no-thinking", dest="thinking", action="store_false", help="answer at once")
    asked = parser.parse_args()

    client = OpenAI(
        base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
    )
    model = client.models.list().data[0].id
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": asked.question}],
        temperature=0,
        stream=True,
        extra_body={"chat_template_kwargs": {"enable_thinking": asked.thinking}},
    )
    for chunk in stream:
        for choice in chunk.choices:
            # vLLM sends thoughts in a field of its own, which the OpenAI types do not know.
            thought = getattr(choice.delta, "reasoning", None)
            if thought:
                print(f"\033[2m{thought}\033[0m", end="", flush=True)
            print(choice.delta.content or "", end="", flush=True)
    print()


if __name__ == "__main__":
    main()
