"""Frozen dataclasses to plain JSON values and back, exactly: what is written and read again compares equal."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


class RecordError(ValueError):
    """A value that does not have the type it is read as; the message says where and what was required."""


@dataclasses.dataclass(frozen=True)
class Codec:
    """How a type that is not plain data is written and read (a kernel by its name, a problem with its op)."""

    write: Callable[[Any], Any]
    read: Callable[[Any, str], Any]


Codecs = Mapping[Any, Codec]
NO_CODECS: Codecs = types.MappingProxyType({})


def encode(value: Any, codecs: Codecs = NO_CODECS, *, kind: Any = None) -> Any:
    """A dataclass as a dict, a tuple as a list, a number, string, bool or None as itself.

    Args:
        codecs: by the type that a field is annotated with.
        kind: that annotation; None for the outermost value.
    """
    if kind in codecs:
        return codecs[kind].write(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = get_type_hints(type(value))
        names = [item.name for item in dataclasses.fields(value)]
        return {name: encode(getattr(value, name), codecs, kind=hints[name]) for name in names}
    if isinstance(value, tuple):
        member = next(iter(get_args(kind)), None)
        return [encode(item, codecs, kind=member) for item in value]
    return value


def decode(kind: type[Record], value: Any, codecs: Codecs = NO_CODECS, *, where: str = "record") -> Record:
    """`value` as a `kind`, every field checked.

    Args:
        kind: a dataclass whose fields are int, float, str, bool, None, Literal, tuples, unions, dataclasses and what
            `codecs` knows.
        value: what `encode` gave, after JSON.
        where: the path that an error names.

    Raises:
        RecordError: a missing, unknown or mistyped value.
    """
    decoded: Record = _Reader(codecs).read(kind, value, where)
    return decoded


@dataclasses.dataclass(frozen=True)
class _Reader:
    codecs: Codecs

    def read(self, kind: Any, value: Any, where: str) -> Any:
        origin = get_origin(kind)
        if kind in self.codecs:
            return self.codecs[kind].read(value, where)
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self._dataclass(kind, value, where)
        if origin is Literal:
            if value not in get_args(kind):
                raise RecordError(f"{where} is {value!r}, required one of {', '.join(map(repr, get_args(kind)))}")
            return value
        if origin in (Union, types.UnionType):
            return self._union(get_args(kind), value, where)
        if origin is tuple:
            return self._tuple(get_args(kind), value, where)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        # A bool is an int to isinstance, and must not pass for one.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise RecordError(f"{where} is {value!r}, required {kind.__name__}")
        return value

    def _dataclass(self, kind: type, value: Any, where: str) -> Any:
        names = [item.name for item in dataclasses.fields(kind)]
        if not isinstance(value, dict) or set(value) != set(names):
            got = ", ".join(sorted(value)) if isinstance(value, dict) else repr(value)
            raise RecordError(f"{where} has {got}, required the fields {', '.join(names)}")
        hints = get_type_hints(kind)
        return kind(**{name: self.read(hints[name], value[name], f"{where}.{name}") for name in names})

    def _tuple(self, kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise RecordError(f"{where} is {value!r}, required a list")
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            kinds = (kinds[0],) * len(value)
        if len(value) != len(kinds):
            raise RecordError(f"{where} has {len(value)} items, required {len(kinds)}")
        pairs = enumerate(zip(kinds, value, strict=True))
        return tuple(self.read(kind, item, f"{where}[{index}]") for index, (kind, item) in pairs)

    def _union(self, kinds: tuple[Any, ...], value: Any, where: str) -> Any:
        """The first member that fits; dataclasses are told apart by their fields' names."""
        for kind in kinds:
            try:
                return self.read(kind, value, where)
            except RecordError:
                pass
        raise RecordError(f"{where} is {value!r}, which none of its types takes")
