"""Thrift's compact protocol, read and written generically, as far as Parquet needs it.

A struct is a list of `Field`s in ascending id order, so that fields which this code does
not know pass through unchanged. Integers stay zigzag-encoded; `zigzag` and `unzigzag`
convert those that are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, STRUCT = (
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12,
)  # fmt: skip
_MAX_DEPTH = 32


@dataclass(slots=True)
class Field:
    """One field: its id, compact type and raw value."""

    id: int
    type: int
    value: Any


@dataclass(slots=True)
class Items:
    """A list or set of one element type."""

    type: int
    values: list[Any]


class Struct:
    """A struct, changed in place by field id."""

    __slots__ = ("fields",)

    def __init__(self, fields: list[Field]) -> None:
        self.fields = fields

    def get(self, field_id: int) -> Any:
        """The raw value of a field, or None where it is absent."""
        return next((f.value for f in self.fields if f.id == field_id), None)

    def integer(self, field_id: int) -> int:
        """The value of an integer field; raises ValueError where it is absent."""
        value = self.get(field_id)
        if not isinstance(value, int):
            raise ValueError(f"field {field_id} is no integer")  # noqa: TRY004 - data, not code
        return unzigzag(value)

    def structs(self, field_id: int) -> list[Struct]:
        """The members of a list of structs; raises ValueError where it is none."""
        value = self.get(field_id)
        if not isinstance(value, Items) or value.type != STRUCT:
            raise ValueError(f"field {field_id} was expected to be a list of structs")
        return value.values

    def put(self, field_id: int, kind: int, value: Any) -> None:
        """Set a field, in its place by id."""
        for field in self.fields:
            if field.id == field_id:
                field.type, field.value = kind, value
                return
        self.fields.append(Field(field_id, kind, value))
        self.fields.sort(key=lambda field: field.id)

    def put_integer(self, field_id: int, kind: int, value: int) -> None:
        """Set an integer field."""
        self.put(field_id, kind, zigzag(value))

    def drop(self, *field_ids: int) -> None:
        """Remove fields; those that are absent are no error."""
        self.fields = [field for field in self.fields if field.id not in field_ids]


def zigzag(value: int) -> int:
    """Return a signed 64-bit integer as zigzag."""
    return (value << 1) ^ (value >> 63)


def unzigzag(value: int) -> int:
    """Return the signed integer of a zigzag."""
    return (value >> 1) ^ -(value & 1)


class Reader:
    """Reads structs from `data` at `position`; raises ValueError or IndexError on junk."""

    def __init__(self, data: bytes | memoryview, position: int = 0) -> None:
        self._data = data
        self.position = position

    def struct(self, depth: int = 0) -> Struct:
        """Return the struct that starts here and stand behind it."""
        if depth > _MAX_DEPTH:
            raise ValueError("a struct is nested too deep")
        fields, last = [], 0
        while head := self._byte():
            kind, delta = head & 15, head >> 4
            last = last + delta if delta else unzigzag(self._varint())
            fields.append(Field(last, kind, self._value(kind, depth)))
        return Struct(fields)

    def _byte(self) -> int:
        value = self._data[self.position]
        self.position += 1
        return value

    def _varint(self) -> int:
        result = shift = 0
        while True:
            byte = self._byte()
            result |= (byte & 127) << shift
            if byte < 128:
                return result
            shift += 7
            if shift > 63:
                raise ValueError("an integer has more than 64 bits")

    def _take(self, count: int) -> bytes:
        taken = bytes(self._data[self.position : self.position + count])
        if len(taken) != count:
            raise ValueError("a value ends outside the data")
        self.position += count
        return taken

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (TRUE, FALSE):
            return kind == TRUE
        if kind == BYTE:
            return self._byte()
        if kind in (I16, I32, I64):
            return self._varint()
        if kind == DOUBLE:
            return self._take(8)
        if kind == BINARY:
            return self._take(self._varint())
        if kind in (LIST, SET):
            return self._items(depth)
        if kind == STRUCT:
            return self.struct(depth + 1)
        raise ValueError(f"{kind} is no type of Parquet metadata")

    def _items(self, depth: int) -> Items:
        head = self._byte()
        count, kind = head >> 4, head & 15
        if count == 15:
            count = self._varint()
        if kind in (TRUE, FALSE):
            return Items(kind, list(self._take(count)))
        return Items(kind, [self._value(kind, depth + 1) for _ in range(count)])


def write_struct(out: bytearray, struct: Struct) -> None:
    """Append `struct` to `out`."""
    last = 0
    for field in struct.fields:
        kind = field.type
        if kind in (TRUE, FALSE):
            kind = TRUE if field.value else FALSE
        delta = field.id - last
        if 0 < delta <= 15:
            out.append(delta << 4 | kind)
        else:
            out.append(kind)
            _write_varint(out, zigzag(field.id))
        last = field.id
        _write_value(out, kind, field.value)
    out.append(0)


def _write_varint(out: bytearray, value: int) -> None:
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


def _write_value(out: bytearray, kind: int, value: Any) -> None:
    if kind == BYTE:
        out.append(value)
    elif kind in (I16, I32, I64):
        _write_varint(out, value)
    elif kind == DOUBLE:
        out += value
    elif kind == BINARY:
        _write_varint(out, len(value))
        out += value
    elif kind in (LIST, SET):
        _write_items(out, value)
    elif kind == STRUCT:
        write_struct(out, value)


def _write_items(out: bytearray, items: Items) -> None:
    count = len(items.values)
    if count < 15:
        out.append(count << 4 | items.type)
    else:
        out.append(0xF0 | items.type)
        _write_varint(out, count)
    for value in items.values:
        if items.type in (TRUE, FALSE):
            out.append(value)
        else:
            _write_value(out, items.type, value)
