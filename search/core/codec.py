"""Dataclasses as plain JSON values and back, decoded by their types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

D = TypeVar("D")


class DecodeError(ValueError):
    """A record of another shape; the message names the field and what is wrong with it."""


_adapters: dict[Any, TypeAdapter[Any]] = {}


def adapter_of(kind: Any) -> TypeAdapter[Any]:
    """pydantic's for a type, made once."""
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def encode(item: Any) -> dict[str, Any]:
    """A dataclass as plain JSON values; decode reads it again."""
    return dict(adapter_of(type(item)).dump_python(item, mode="json"))


def decode(kind: type[D], record: Mapping[str, Any]) -> D:
    """The dataclass that encode wrote; unknown fields are left out. Raises DecodeError."""
    return checked(adapter_of(kind).validate_python, record)


def checked(validate: Any, record: Any) -> Any:
    """What a pydantic validator makes of a record. Raises DecodeError naming the first field that is wrong."""
    try:
        return validate(record)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the record"
        raise DecodeError(f"{field}: {first['msg']}") from error
