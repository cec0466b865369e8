"""What a forced tool call may look like: a grammar that admits GLM-4.5 / 4.6's layout, and 4.7's.

GLM-4.5 and 4.6 write

    <tool_call>name
    <arg_key>key</arg_key>
    <arg_value>value</arg_value>
    </tool_call>

and GLM-4.7 the same without line breaks. vLLM 0.32 parses both under the name `glm45`, but masks both with the grammar
of 4.7, also when `tool_choice` is `auto`: after the name only `<arg_key>` and `</tool_call>` are left of the tokens,
and a model that would break the line takes the latter, so that its arguments are lost. Here `auto` is not masked,
unless a tool asks for `strict`, and a forced call is held to its tool's schema in either layout.
"""

from __future__ import annotations

from typing import Any

from vllm.tool_parsers.structural_tag_registry import register_vllm_structural_tag
from xgrammar import Grammar, StructuralTag
from xgrammar.openai_tool_call_schema import BuiltinToolParam, FunctionToolParam
from xgrammar.structural_tag import (
    AnyTextFormat,
    Format,
    JSONSchemaFormat,
    OptionalFormat,
    OrFormat,
    SequenceFormat,
    TagFormat,
    TagsWithSeparatorFormat,
    TriggeredTagsFormat,
)

MODEL = "glm_4_5"
"""The grammar's name in vLLM's registry, beside its own `glm_4_7`."""

MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")
LINE_BREAKS = 2
"""Whitespace allowed between the marks of a call; unbounded, a model could break lines for ever."""


def structural_tag(
    function_tools: list[FunctionToolParam],
    builtin_tools: list[BuiltinToolParam],
    tool_choice: Any,
    reasoning: bool,
    token_suffix: str = "",
) -> StructuralTag:
    """The grammar of one answer.

    Args:
        function_tools: the tools that may be called.
        builtin_tools, token_suffix: of other models; unused.
        tool_choice: `auto` (a call may come, amid text), `required` (at least one call and nothing else) or `forced`
            (exactly one).
        reasoning: unused: thinking is optional in the grammar, so that it holds from the answer's first token as well
            as from the end of thinking.
    """
    calls = [_call(tool) for tool in function_tools]
    if tool_choice == "auto":
        text_excludes = [mark for mark in MARKS if mark != "<tool_call>"]
        return StructuralTag(format=TriggeredTagsFormat(triggers=["<tool_call>"], tags=calls, excludes=text_excludes))
    on_new_line = [call.model_copy(update={"begin": f"\n{call.begin}"}) for call in calls]
    forced = TagsWithSeparatorFormat(
        tags=[*calls, *on_new_line], separator="", at_least_one=True, stop_after_first=tool_choice == "forced"
    )
    return StructuralTag(format=SequenceFormat(elements=[OptionalFormat(content=_thinking()), forced]))


def _thinking() -> Format:
    """`<think>...</think>`, on the prompt's line (GLM-4.7) or a new one (4.5, 4.6)."""
    inside = AnyTextFormat(excludes=list(MARKS))
    return OrFormat(
        elements=[TagFormat(begin=begin, content=inside, end="</think>") for begin in ("<think>", "\n<think>")]
    )


def _call(tool: FunctionToolParam) -> TagFormat:
    """One tool's call: its required arguments, each of its type, in the schema's order."""
    schema = tool.function.parameters
    tag = _tag(tool.function.name, True if schema is None else schema)
    try:
        Grammar.from_structural_tag(StructuralTag(format=tag))
    except RuntimeError:
        # A schema that xgrammar cannot express: the call is still guaranteed, its arguments are free.
        return _tag(tool.function.name, True)
    return tag


def _tag(name: str, schema: bool | dict[str, Any]) -> TagFormat:
    # `glm_xml` allows whitespace between the marks: xgrammar's form for GLM fits both layouts.
    arguments = JSONSchemaFormat(json_schema=schema, style="glm_xml", max_whitespace_cnt=LINE_BREAKS)
    return TagFormat(begin=f"<tool_call>{name}", content=arguments, end="</tool_call>")


register_vllm_structural_tag(MODEL)(structural_tag)
