"""A GLM answer read piece by piece: thinking, then text and tool calls; the same whatever the pieces are.

    <think>thinking</think>
    text
    <tool_call>name
    <arg_key>key</arg_key>
    <arg_value>value</arg_value>
    </tool_call>

GLM-4.7 writes the same without line breaks. Line breaks of the layout are no content: none leads thinking or text, none
is left around calls. A value's type comes from the tool's schema: what is a string there stays as it was written.
Text is handed on as soon as it cannot be part of a mark any more, arguments as pieces of one JSON object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BREAKS = "\r\n"
JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "array": (list,),
    "object": (dict,),
}


def split_at_mark(text: str, marks: Sequence[str]) -> tuple[str, str, str]:
    """(before, mark, after) at the first of `marks`.

    Without one: the text that is surely before any, an empty mark, and the end that may yet become one.
    """
    found = [(at, mark) for mark in marks if (at := text.find(mark)) >= 0]
    if found:
        at, mark = min(found)
        return text[:at], mark, text[at + len(mark) :]
    longest = max((len(mark) for mark in marks), default=1) - 1
    for at in range(max(0, len(text) - longest), len(text)):
        if any(mark.startswith(text[at:]) for mark in marks):
            return text[:at], "", text[at:]
    return text, "", ""


class Thinking:
    """Tells thinking from what follows it.

    Attributes:
        inside: whether thinking goes on; at the start, whether the prompt has opened it.
    """

    def __init__(self, inside: bool) -> None:
        self.inside = inside
        self._held = ""
        self._blank = ""
        self._thought = self._answered = self._interrupted = False

    def feed(self, text: str) -> tuple[str, str]:
        """(thinking, rest) that `text` completes."""
        self._held += text
        thinking = rest = ""
        while True:
            before, mark, self._held = split_at_mark(self._held, self._marks())
            if self.inside:
                thinking += self._thinking(before)
            else:
                rest += self._rest(before)
            if not mark:
                return thinking, rest
            if not self.inside and self._answered and not self._interrupted:
                rest += mark  # text came before it, so it is text as well
                continue
            if mark == "</think>" and self.inside:
                thinking, self._blank = thinking + (self._blank if self._thought else ""), ""
            elif mark == "<tool_call>":  # a call ends thinking that was not closed; its mark is the call's
                rest += self._rest(mark)
                self._interrupted, self._blank = True, ""
            self.inside = mark == "<think>"
            self._interrupted = self._interrupted and mark != "</think>"

    def finish(self) -> tuple[str, str]:
        """What waited for more."""
        held, self._held = self._held, ""
        if not self.inside:
            return "", self._rest(held)
        thinking = self._thinking(held) + (self._blank if self._thought else "")
        self._blank = ""
        return thinking, ""

    def _marks(self) -> tuple[str, ...]:
        """What changes something from here on: thinking begins before any text, and is closed late only once."""
        if self.inside:
            return ("</think>", "<tool_call>")
        return ("</think>",) if self._interrupted else () if self._answered else ("<think>", "</think>")

    def _thinking(self, text: str) -> str:
        """Without the line breaks that lead it; blanks at its end wait."""
        text = self._blank + (text if self._thought else text.lstrip(BREAKS))
        kept = text.rstrip()
        self._blank = text[len(kept) :]
        self._thought = self._thought or bool(kept)
        return kept

    def _rest(self, text: str) -> str:
        text = text if self._answered else text.lstrip(BREAKS)
        self._answered = self._answered or bool(text)
        return text


@dataclass
class Delta:
    """A piece of one call.

    Attributes:
        index: of the call in the answer, from 0.
        name: the tool's, in the call's first piece; else None.
        arguments: the next characters of the JSON object.
    """

    index: int
    name: str | None
    arguments: str


@dataclass
class Pieces:
    """What a piece of an answer completes: text, and pieces of calls."""

    text: str = ""
    deltas: list[Delta] = field(default_factory=list)


class Calls:
    """Tells text from tool calls, and reads the calls.

    Args:
        schemas: the JSON schema of each tool's parameters, by the tool's name.
    """

    def __init__(self, schemas: Mapping[str, Mapping[str, Any]]) -> None:
        self.schemas = schemas
        self._state = self._in_text
        self._held = ""
        self._index = 0
        self._name = self._key = ""
        self._first = True
        self._blank = ""
        self._text_begun = self._called = False
        self._at_mark = True
        self._out = Pieces()

    def feed(self, text: str) -> Pieces:
        """What `text` completes."""
        self._held += text
        while self._state():
            pass
        out, self._out = self._out, Pieces()
        return out

    def finish(self) -> Pieces:
        """What waited for more. A call that was cut off stays as it is: it is not closed, and so cannot be executed."""
        if self._state == self._in_text:
            text = self._text(self._held)
            if not self._called and self._text_begun:
                text += self._blank
            self._held = self._blank = ""
            return Pieces(text)
        return Pieces()

    def _in_text(self) -> bool:
        before, mark, self._held = split_at_mark(self._held, ("<tool_call>",))
        self._out.text += self._text(before)
        if mark:
            self._called = self._at_mark = True
            self._blank = ""
            self._state = self._in_name
        return bool(mark)

    def _in_name(self) -> bool:
        self._held = self._held.lstrip()
        before, mark, after = split_at_mark(self._held, ("\n", "<arg_key>", "</tool_call>"))
        if not mark:
            return False
        self._name, self._first = before.strip(), True
        self._held = after if mark == "\n" else mark + after
        self._out.deltas.append(Delta(self._index, self._name, ""))
        self._state = self._in_key
        return True

    def _in_key(self) -> bool:
        """To the next key, whose opening mark a model may leave out, or to the call's end."""
        before, mark, after = split_at_mark(self._held, ("</arg_key>", "</tool_call>"))
        if not mark:
            return False
        self._held = after
        if mark == "</tool_call>":
            return self._close("{}" if self._first else "}")
        self._key = before.replace("<arg_key>", "").strip()
        self._add(("{" if self._first else ", ") + json.dumps(self._key, ensure_ascii=False) + ": ")
        self._first = False
        self._state = self._before_value
        return True

    def _before_value(self) -> bool:
        _, mark, after = split_at_mark(self._held, ("<arg_value>", "</tool_call>"))
        if not mark:
            return False
        self._held = after
        if mark == "</tool_call>":
            return self._close("null}")
        if self._types() == {"string"}:
            self._add('"')
            self._state = self._in_string
        else:
            self._state = self._in_value
        return True

    def _in_string(self) -> bool:
        before, mark, self._held = split_at_mark(self._held, ("</arg_value>",))
        self._add(json.dumps(before, ensure_ascii=False)[1:-1])
        if mark:
            self._add('"')
            self._state = self._in_key
        return bool(mark)

    def _in_value(self) -> bool:
        before, mark, after = split_at_mark(self._held, ("</arg_value>",))
        if not mark:
            return False
        self._held = after
        self._add(json_value(before, self._types()))
        self._state = self._in_key
        return True

    def _close(self, rest: str) -> bool:
        self._add(rest)
        self._index += 1
        self._state = self._in_text
        return True

    def _add(self, arguments: str) -> None:
        if not arguments:
            return
        last = self._out.deltas[-1] if self._out.deltas else None
        if last and last.index == self._index and last.name is None:
            last.arguments += arguments
        else:
            self._out.deltas.append(Delta(self._index, None, arguments))

    def _types(self) -> set[str]:
        properties = self.schemas.get(self._name, {}).get("properties", {})
        return json_types(properties.get(self._key, {}) if isinstance(properties, Mapping) else {})

    def _text(self, value: str) -> str:
        """The part of a text that may go out: without the layout's line breaks; blanks at its end wait."""
        value = self._blank + value
        if self._at_mark:
            value = value.lstrip(BREAKS)
            if not value:
                self._blank = ""
                return ""
            value = f"\n{value}" if self._text_begun else value
            self._at_mark = False
        kept = value.rstrip()
        self._blank = value[len(kept) :]
        self._text_begun = self._text_begun or bool(kept)
        return kept


def json_types(schema: Any) -> set[str]:
    """The types that a property's schema allows; empty where it does not say."""
    if not isinstance(schema, Mapping):
        return set()
    stated = schema.get("type", [])
    types = {stated} if isinstance(stated, str) else set(stated)
    for word in ("anyOf", "oneOf"):
        for choice in schema.get(word, []):
            types |= json_types(choice)
    if not types and isinstance(schema.get("enum"), list) and all(isinstance(item, str) for item in schema["enum"]):
        return {"string"}
    return types


def json_value(raw: str, types: set[str]) -> str:
    """A written value as JSON: JSON as it is, anything else a string; where strings are allowed, what fits no other."""
    try:
        value = json.loads(raw, parse_constant=_no_constant)
    except ValueError:
        return json.dumps(raw, ensure_ascii=False)
    fits = any(isinstance(value, JSON_TYPES.get(name, ())) for name in types)
    if "string" in types and not fits:
        return json.dumps(raw, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
