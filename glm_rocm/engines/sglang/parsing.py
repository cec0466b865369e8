"""SGLang's parsers `glm`, `glm45` of tool calls and `glm45` of thinking, read by `answer.py`.

SGLang 0.5.23 takes an answer apart differently when it streams and when it answers whole, and loses some of it:
text after a call, a call in 4.7's layout, the blanks of a value; an answer without `<think>` becomes thinking.
docs/parsers.md has the table. Kept from SGLang: all else that it asks of the two, a forced call's grammar above all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sglang.srt.function_call.core_types import StreamingParseResult, ToolCallItem
from sglang.srt.function_call.glm4_moe_detector import Glm4MoeDetector
from sglang.srt.parser import reasoning_parser

from glm_rocm.engines.sglang.answer import Calls, Pieces, Thinking
from glm_rocm.engines.thinking import opens_thinking


class GlmThinking(reasoning_parser.Glm45Detector):  # type: ignore[misc]
    """`--reasoning-parser glm45`: one answer's."""

    def __init__(
        self,
        stream_reasoning: bool = True,
        force_reasoning: bool = False,
        force_nonempty_content: bool = False,
        continue_final_message: bool = False,
        previous_content: str = "",
        reasoning_default: str = "enable_thinking",
        tokenizer: Any = None,
    ) -> None:
        super().__init__(
            stream_reasoning=stream_reasoning,
            # SGLang forces it whenever thinking is on; GLM-4.5 and 4.6 open it themselves, or skip it.
            force_reasoning=force_reasoning and opens_thinking(tokenizer),
            force_nonempty_content=force_nonempty_content,
            continue_final_message=continue_final_message,
            previous_content=previous_content,
            reasoning_default=reasoning_default,
        )
        inside: bool = self._in_reasoning  # type: ignore[has-type]
        self._answer = Thinking(inside)
        self._withheld = ""
        self._rest_begun = False

    def detect_and_parse(self, text: str) -> reasoning_parser.StreamingParseResult:
        """A whole answer."""
        thinking, rest = self._answer.feed(text)
        last_thinking, last_rest = self._answer.finish()
        result = reasoning_parser.StreamingParseResult(rest + last_rest, thinking + last_thinking)
        return self._maybe_apply_force_nonempty_content(result)

    def parse_streaming_increment(self, new_text: str) -> reasoning_parser.StreamingParseResult:
        """The next piece of one."""
        return self._result(*self._answer.feed(new_text), last=False)

    def finish(self) -> reasoning_parser.StreamingParseResult:
        """What waited for more."""
        return self._result(*self._answer.finish(), last=True)

    def _result(self, thinking: str, rest: str, *, last: bool) -> reasoning_parser.StreamingParseResult:
        self._in_reasoning = self._answer.inside
        self._rest_begun = self._rest_begun or bool(rest)
        if not self.stream_reasoning or self._force_nonempty_content:
            self._withheld += thinking
            thinking = ""
            if last or self._rest_begun:
                thinking, self._withheld = self._withheld, ""
        if last and self._force_nonempty_content and not self._rest_begun:
            thinking, rest = "", thinking
        return reasoning_parser.StreamingParseResult(rest, thinking)


class GlmCalls(Glm4MoeDetector):  # type: ignore[misc]
    """`--tool-call-parser glm`: one answer's."""

    def __init__(self) -> None:
        super().__init__()
        self._answer: Calls | None = None

    def detect_and_parse(self, text: str, tools: Sequence[Any]) -> StreamingParseResult:
        """A whole answer, thinking taken off."""
        answer = Calls(_schemas(tools))
        pieces, last = answer.feed(text), answer.finish()
        calls: list[ToolCallItem] = []
        for delta in pieces.deltas:
            if delta.name is not None:
                calls.append(ToolCallItem(tool_index=delta.index, name=delta.name, parameters=""))
            calls[-1].parameters += delta.arguments
        return StreamingParseResult(normal_text=pieces.text + last.text, calls=calls)

    def parse_streaming_increment(self, new_text: str, tools: Sequence[Any]) -> StreamingParseResult:
        """The next piece of one."""
        self._answer = self._answer or Calls(_schemas(tools))
        return _result(self._answer.feed(new_text))

    def finish(self, tools: Sequence[Any]) -> StreamingParseResult:
        """What waited for more."""
        self._answer = self._answer or Calls(_schemas(tools))
        return _result(self._answer.finish())


def _result(pieces: Pieces) -> StreamingParseResult:
    calls = [ToolCallItem(tool_index=d.index, name=d.name, parameters=d.arguments) for d in pieces.deltas]
    return StreamingParseResult(normal_text=pieces.text, calls=calls)


def _schemas(tools: Sequence[Any]) -> dict[str, dict[str, Any]]:
    return {tool.function.name: tool.function.parameters or {} for tool in tools}
