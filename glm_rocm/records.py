"""Frozen dataclasses to plain JSON values and back, exactly: what is written and read again compares equal."""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


class RecordError(ValueError):
    """A value that does not have the type it is read as; the message says where and what was required."""


def encode(value: Any) -> Any:
    """A dataclass as a dict, a tuple as a list, a number, string, bool or None as itself."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: encode(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    return value


def decode(kind: type[Record], value: Any, where: str = "record") -> Record:
    """`value` as a `kind`, every field checked.

    Args:
        kind: a dataclass whose fields are int, float, str, bool, None, Literal, tuples, unions and dataclasses.
        value: what `encode` gave, after JSON.
        where: the path that an error names.

    Raises:
        RecordError: a missing, unknown or mistyped value.
    """
    decoded: Record = _decode(kind, value, where)
    return decoded


def _decode(kind: Any, value: Any, where: str) -> Any:
    origin = get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _decode_dataclass(kind, value, where)
    if origin is Literal:
        if value not in get_args(kind):
            raise RecordError(f"{where} is {value!r}, required one of {', '.join(map(repr, get_args(kind)))}")
        return value
    if origin in (Union, types.UnionType):
        return _decode_union(get_args(kind), value, where)
    if origin is tuple:
        return _decode_tuple(get_args(kind), value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    # A bool is an int to isinstance, and must not pass for one.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise RecordError(f"{where} is {value!r}, required {kind.__name__}")
    return value


def _decode_dataclass(kind: type, value: Any, where: str) -> Any:
    hints = get_type_hints(kind)
    names = [item.name for item in dataclasses.fields(kind)]
    if not isinstance(value, dict) or set(value) != set(names):
        got = ", ".join(sorted(value)) if isinstance(value, dict) else repr(value)
        raise RecordError(f"{where} has {got}, required the fields {', '.join(names)}")
    return kind(**{name: _decode(hints[name], value[name], f"{where}.{name}") for name in names})


def _decode_tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise RecordError(f"{where} is {value!r}, required a list")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(value) != len(kinds):
        raise RecordError(f"{where} has {len(value)} items, required {len(kinds)}")
    return tuple(
        _decode(kind, item, f"{where}[{index}]") for index, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _decode_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """The first member that fits; members that are dataclasses are told apart by their fields' names."""
    for kind in kinds:
        try:
            return _decode(kind, value, where)
        except RecordError:
            pass
    raise RecordError(f"{where} is {value!r}, which none of its types takes")
