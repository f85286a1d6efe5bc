"""Thrift's compact protocol, read and written generically, as far as Parquet needs it.

A struct is a list of `Field`s in ascending id order, so that fields which this code does
not know pass through unchanged. A field keeps the bytes it was read from until somebody
asks for its value: of a footer with thousands of column chunks few are ever looked at.
Integers stay zigzag-encoded; `zigzag` and `unzigzag` convert those that are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, STRUCT = (
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12,
)  # fmt: skip
_MAX_DEPTH = 32
_UNREAD = object()
# By field id, which structs and lists are read at once: those that will be asked for.
# Skipped over and read later they would be walked twice, at every level.
# `LATER` in the place of what is below a list has its structs read one by one when used.
Depth = Mapping[int, "Depth"]
_NO_DEPTH: Depth = {}
LATER: Depth = {-1: _NO_DEPTH}


class Field:
    """One field: its id, compact type and raw value."""

    __slots__ = ("_raw", "_value", "id", "type")

    def __init__(
        self, field_id: int, kind: int, value: Any = _UNREAD, raw: bytes = b""
    ) -> None:
        self.id = field_id
        self.type = kind
        self._value = value
        self._raw = raw

    @property
    def value(self) -> Any:
        """The value; what is returned of a struct or list may be changed in place."""
        if self._value is _UNREAD:
            self._value = Reader(self._raw).value(self.type)
        return self._value

    @value.setter
    def value(self, value: Any) -> None:
        self._value = value

    def write(self, out: bytearray) -> None:
        """Append the value to `out`."""
        if self._value is _UNREAD:
            out += self._raw
        else:
            _write_value(out, self.type, self._value)


@dataclass(slots=True)
class Items:
    """A list or set of one element type."""

    type: int
    values: list[Any]


class Struct:
    """A struct, changed in place by field id; read from `raw` when it is first used."""

    __slots__ = ("_fields", "_raw")

    def __init__(self, fields: list[Field] | None = None, raw: bytes = b"") -> None:
        self._fields = fields
        self._raw = raw

    @property
    def fields(self) -> list[Field]:
        """The fields, in ascending id order."""
        if self._fields is None:
            self._fields = Reader(self._raw).struct().fields
        return self._fields

    @fields.setter
    def fields(self, fields: list[Field]) -> None:
        self._fields = fields

    def write(self, out: bytearray) -> None:
        """Append the struct to `out`."""
        if self._fields is None:
            out += self._raw
        else:
            _write_fields(out, self._fields)

    def get(self, field_id: int) -> Any:
        """The raw value of a field, or None where it is absent."""
        for field in self.fields:
            if field.id == field_id:
                return field.value
        return None

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
        for place, field in enumerate(self.fields):
            if field.id == field_id:
                field.type, field.value = kind, value
                return
            if field.id > field_id:
                self.fields.insert(place, Field(field_id, kind, value))
                return
        self.fields.append(Field(field_id, kind, value))

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

    def struct(self, depth: Depth = _NO_DEPTH) -> Struct:
        """Return the struct that starts here and stand behind it.

        What `depth` names is read at once, the rest when it is asked for.
        """
        data, position = self._data, self.position
        fields, last = [], 0
        while True:
            head = data[position]
            position += 1
            if not head:
                break
            kind, delta = head & 15, head >> 4
            if delta:
                last += delta
            else:
                self.position = position
                last = unzigzag(self._varint())
                position = self.position
            if last in depth and kind in (LIST, SET, STRUCT):
                self.position = position
                value = self.value(kind, depth[last])
                fields.append(Field(last, kind, value))
                position = self.position
                continue
            start = position
            if kind in (I32, I64):
                while data[position] > 127:
                    position += 1
                position += 1
            else:
                position = _skip(data, position, kind, 0)
            fields.append(Field(last, kind, _UNREAD, bytes(data[start:position])))
        self.position = position
        return Struct(fields)

    def value(self, kind: int, depth: Depth = _NO_DEPTH) -> Any:
        """Return the value of this type that starts here and stand behind it."""
        if kind in (TRUE, FALSE):
            return kind == TRUE
        if kind == BYTE:
            return self._take(1)[0]
        if kind in (I16, I32, I64):
            return self._varint()
        if kind == DOUBLE:
            return self._take(8)
        if kind == BINARY:
            return self._take(self._varint())
        if kind in (LIST, SET):
            return self._items(depth)
        if kind == STRUCT and depth is LATER:
            start, self.position = self.position, _skip(self._data, self.position, kind, 0)
            return Struct(raw=bytes(self._data[start : self.position]))
        if kind == STRUCT:
            return self.struct(depth)
        raise ValueError(f"{kind} is no type of Parquet metadata")

    def _varint(self) -> int:
        data, position = self._data, self.position
        result = shift = 0
        while True:
            byte = data[position]
            position += 1
            result |= (byte & 127) << shift
            if byte < 128:
                self.position = position
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

    def _items(self, depth: Depth) -> Items:
        head = self._take(1)[0]
        count, kind = head >> 4, head & 15
        if count == 15:
            count = self._varint()
        if kind in (TRUE, FALSE):
            return Items(kind, list(self._take(count)))
        return Items(kind, [self.value(kind, depth) for _ in range(count)])


def _skip(  # noqa: C901 - one function and few calls: it walks over most of a footer
    data: bytes | memoryview, position: int, kind: int, level: int
) -> int:
    """Where the value of this type that begins at `position` ends."""
    if kind in (I32, I64, I16):
        return _varint_end(data, position)
    if kind in (TRUE, FALSE):
        return position
    if kind == BINARY:
        length, position = _length(data, position)
        position += length
    elif kind == STRUCT:
        if level > _MAX_DEPTH:
            raise ValueError("a struct is nested too deep")
        while head := data[position]:
            position += 1
            if head < 16:
                position = _varint_end(data, position)
            kind = head & 15
            # Integers and texts are most of what there is: without a call for each of them
            # a footer takes half the time.
            if kind in (I64, I32):
                while data[position] > 127:
                    position += 1
                position += 1
            elif kind == BINARY and data[position] < 128:
                position += 1 + data[position]
            else:
                position = _skip(data, position, kind, level + 1)
        return position + 1
    elif kind in (LIST, SET):
        head = data[position]
        count, kind, position = head >> 4, head & 15, position + 1
        if count == 15:
            count, position = _length(data, position)
        if kind in (TRUE, FALSE, BYTE):
            position += count
        else:
            for _ in range(count):
                position = _skip(data, position, kind, level + 1)
    elif kind == BYTE:
        position += 1
    elif kind == DOUBLE:
        position += 8
    else:
        raise ValueError(f"{kind} is no type of Parquet metadata")
    if position > len(data):
        raise ValueError("a value ends outside the data")
    return position


def _varint_end(data: bytes | memoryview, position: int) -> int:
    """Where the integer that begins at `position` ends."""
    while data[position] > 127:
        position += 1
    return position + 1


def _length(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """The length that is written here, and where what it is of begins."""
    result = shift = 0
    while True:
        byte = data[position]
        position += 1
        result |= (byte & 127) << shift
        if byte < 128:
            return result, position
        shift += 7
        if shift > 63:
            raise ValueError("an integer has more than 64 bits")


def write_struct(out: bytearray, struct: Struct) -> None:
    """Append `struct` to `out`."""
    struct.write(out)


def _write_fields(out: bytearray, fields: list[Field]) -> None:
    last = 0
    for field in fields:
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
        field.write(out)
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
