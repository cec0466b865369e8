"""What GLM-4.5 / 4.6 wrote, taken apart: thinking, text, tool calls; the same whether it comes whole or in pieces.

vLLM 0.32 reads both GLM layouts with one state machine, made for 4.7. Kept from it: the machine, the marks, the typing
of arguments by the tool's schema. Mended on top of it, for a prompt that does not open `<think>` itself (4.5, 4.6):

- Line breaks of the layout are not content: none leads reasoning or text, none is left around calls. vLLM strips the
  text around calls when it answers whole and not when it streams.
- Text after a call is kept. vLLM drops it when it answers whole.
- An answer without `<think>` is text. vLLM takes all of it for reasoning, since 4.7's prompt has opened `<think>`.
- A first argument whose `<arg_key>` the model left out still has its key and value.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import replace
from typing import Any

from vllm.entrypoints.generate.base.protocol import DeltaMessage, ExtractedToolCallInformation
from vllm.parser.engine.adapters import ParserEngineReasoningAdapter, ParserEngineToolAdapter
from vllm.parser.engine.events import EventType, SemanticEvent
from vllm.parser.engine.parser_engine_config import ParserEngineConfig, ParserState, Transition
from vllm.parser.glm47_moe import Glm47MoeParser, glm47_moe_config
from vllm.tool_parsers.tool_strict_level import ToolStrictLevel

from glm_rocm.engines.thinking import opens_thinking
from glm_rocm.engines.vllm import grammar

_ARGUMENT = re.compile(r"(?:<arg_key>)?(?P<key>[^<>]*)</arg_key>\s*<arg_value>(?P<value>.*?)</arg_value>", re.DOTALL)
_OPEN_ARGUMENT = re.compile(r"(?:<arg_key>)?(?P<key>[^<>]*)</arg_key>\s*<arg_value>(?P<value>.*)$", re.DOTALL)


def arguments_json(raw: str, partial: bool) -> str:
    """The arguments between name and `</tool_call>` as a JSON object of strings; their types come from the schema.

    Args:
        raw: the text between the marks, whole or so far.
        partial: whether a value that has not ended yet counts.
    """
    found: dict[str, str] = {}
    rest = 0
    for match in _ARGUMENT.finditer(raw):
        found[match["key"].strip()] = match["value"]
        rest = match.end()
    unfinished = _OPEN_ARGUMENT.search(raw, rest) if partial else None
    if unfinished and unfinished["key"].strip():
        found[unfinished["key"].strip()] = unfinished["value"]
    return json.dumps(found, ensure_ascii=False)


@functools.cache
def config(opens_thinking: bool, thinking: bool) -> ParserEngineConfig:
    """The state machine: vLLM's for 4.7 where the prompt opens `<think>`, else one that starts in the answer's text."""
    stock = glm47_moe_config(thinking=thinking if opens_thinking else True)
    if opens_thinking:
        return stock
    key_left_out = {
        (ParserState.TOOL_NAME, mark): Transition(ParserState.TOOL_ARGS, (EventType.ARG_VALUE_CHUNK,))
        for mark in ("ARG_KEY_END", "ARG_VALUE_START")
    }
    return replace(
        stock,
        name="glm45_moe",
        initial_state=ParserState.CONTENT,
        wait_for_reasoning=True,
        transitions={**stock.transitions, **key_left_out},
        arg_converter=arguments_json,
    )


class Glm45Parser(Glm47MoeParser):  # type: ignore[misc]
    """One answer's parser. vLLM makes two per request: one for thinking, one for what follows."""

    def __init__(self, tokenizer: Any, tools: list[Any] | None = None, **kwargs: Any) -> None:
        chosen = kwargs.get("chat_template_kwargs") or {}
        thinking = chosen.get("enable_thinking", chosen.get("thinking", True)) is not False
        self.opens_thinking = opens_thinking(tokenizer)
        kwargs["parser_engine_config"] = config(self.opens_thinking, thinking)
        super().__init__(tokenizer, tools, **kwargs)
        self._start()
        if not self.opens_thinking:
            # A mark of thinking is one whatever was asked for; the machine starts outside it.
            self.thinking_enabled = True

    def _reset(self, initial_state: ParserState | None = None) -> None:
        super()._reset(initial_state)
        self._start()

    def _start(self) -> None:
        """Nothing seen yet. The parser of what follows thinking is asked to finish even if nothing ever came to it."""
        self._text_begun = False
        self._reasoning_begun = False
        self._withheld = ""
        self._called = False
        self._at_mark = True

    def _events_to_delta(self, events: list[SemanticEvent], finished: bool = False) -> DeltaMessage | None:
        """vLLM's translation for reasoning and calls; the text goes through `_text`."""
        content = "".join(self._text(event) for event in events)
        if finished and not self._called:
            content, self._withheld = content + (self._withheld if self._text_begun else ""), ""
        others = [event for event in events if event.type is not EventType.TEXT_CHUNK]
        delta = super()._events_to_delta(others, finished)
        if delta is not None and delta.reasoning is not None and not self._reasoning_begun:
            delta.reasoning = delta.reasoning.lstrip("\r\n") or None
            self._reasoning_begun = delta.reasoning is not None
        if content:
            delta = delta or DeltaMessage()
            delta.content = content
        if delta is None or not (delta.content or delta.reasoning or delta.tool_calls):
            return None
        return delta

    def _text(self, event: SemanticEvent) -> str:
        """The part of a text event that may go out: without the layout's line breaks; trailing whitespace waits."""
        if event.type is EventType.TOOL_CALL_START and not self._suppress_tool_calls:
            self._called = self._at_mark = True
            self._withheld = ""
        if event.type is not EventType.TEXT_CHUNK:
            return ""
        value: str = self._withheld + event.value
        if self._at_mark:
            value = value.lstrip("\r\n")
            if not value:
                return ""
            value = f"\n{value}" if self._text_begun else value
            self._at_mark = False
        kept = value.rstrip()
        self._withheld = value[len(kept) :]
        if kept:
            self._text_begun = self._reasoning_ended = True
        return kept

    def finish_streaming(self) -> DeltaMessage | None:
        """What was waiting for more. The parser of thinking hands on all of its text, whitespace included."""
        return self._events_to_delta(self._engine.finish(), finished=True)

    def _strip_content_whitespace(self, content: str, tools_called: bool) -> str | None:
        """Nothing: `_text` has left the layout's line breaks out, in pieces as in whole answers."""
        return content or None

    def _build_extracted_result(self, *deltas: DeltaMessage | None) -> ExtractedToolCallInformation:
        """The calls of a whole answer. One that was cut off has the arguments so far, as a stream shows them.

        vLLM closes it with the arguments that were complete: a call that nobody made, ready to be executed.
        """
        result = super()._build_extracted_result(*deltas)
        slots = {slot.id: slot for slot in self._tool_slots}
        for call in result.tool_calls:
            slot = slots[call.id]
            if arguments_json(slot.args, True) != arguments_json(slot.args, False):
                call.function.arguments = slot.streamed_json
        return result

    def _handle_arg_chunk(self, event: SemanticEvent, deltas: list[Any]) -> None:
        """A line break ends the name; what stands behind it is a key whose `<arg_key>` is missing."""
        slot = self._tool_slots[event.tool_index]
        if not slot.name_sent:
            slot.name, _, key = slot.name.strip().partition("\n")
            if key.strip():
                slot.append_args(key)
        super()._handle_arg_chunk(event, deltas)

    def extract_reasoning(self, model_output: str, request: Any) -> tuple[str | None, str | None]:
        """Thinking and the rest of a whole answer."""
        reasoning, content = super().extract_reasoning(model_output, request)
        reasoning = reasoning.lstrip("\r\n") if reasoning else None
        content = content.lstrip("\r\n") if content else None
        return reasoning or None, content or None


class Glm45ReasoningParser(ParserEngineReasoningAdapter):  # type: ignore[misc]
    """`--reasoning-parser glm45`."""

    _parser_engine_cls = Glm45Parser

    def extract_content_ids(self, input_ids: list[int]) -> list[int]:
        """The tokens of a step that follow its thinking, or all of them where there is none in it."""
        ends = self._parser_engine.reasoning_end_token_ids
        close = self._parser_engine._reasoning_end_token_id
        for position, token in enumerate(input_ids):
            if token in ends:
                return list(input_ids[position + 1 :] if token == close else input_ids[position:])
        return list(input_ids)


class Glm45ToolParser(ParserEngineToolAdapter):  # type: ignore[misc]
    """`--tool-call-parser glm45`."""

    _parser_engine_cls = Glm45Parser
    supports_required_and_named = False
    structural_tag_model = grammar.MODEL
    default_tool_strict_level = ToolStrictLevel.AUTO

    def adjust_request(self, request: Any) -> Any:
        """Hold a forced call to its grammar from the first token on: the grammar knows how thinking ends."""
        request = super().adjust_request(request)
        constrained = request.structured_outputs is not None and request.structured_outputs.structural_tag is not None
        forced = request.tool_choice not in ("auto", "none", None)
        if (
            constrained
            and forced
            and not self._parser_engine.opens_thinking
            and hasattr(request, "_grammar_from_parser")
        ):
            request._grammar_from_parser = True
        return request


Glm45Parser.reasoning_parser_cls = Glm45ReasoningParser
Glm45Parser.tool_parser_cls = Glm45ToolParser
