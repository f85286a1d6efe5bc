"""The header of a Parquet page, rewritten without reading what it says of the values.

A header begins with its type and two sizes and may go on with a checksum; all else passes
through byte by byte. Each page of an image meets this, so it is no generic Thrift tree: of
a generic one the headers cost more than the cipher. Source: parquet-format, parquet.thrift.
"""

from __future__ import annotations

DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 0, 2, 3
# A field head of the compact protocol: an i32 whose id is the last one's plus one.
_NEXT_I32 = 0x15
_MOST_VARINT_BYTES = 5


def rewrite_page_header(raw: bytes, *, body_bytes: int, is_dictionary: bool) -> bytes:
    """Return the header of the same page when its body lies in clear in `body_bytes` bytes.

    Its checksum is left out: it is of the encrypted page. Raises ValueError or IndexError
    unless the header starts with type, unpacked and packed size, as every writer does, and
    the type is one of this kind of page.
    """
    kind, after = _i32(raw, 0)
    if kind not in ((DICTIONARY_PAGE,) if is_dictionary else (DATA_PAGE, DATA_PAGE_V2)):
        raise ValueError(f"a page of type {kind} stands where another kind belongs")
    _, sizes_end = _i32(raw, after)
    _, after = _i32(raw, sizes_end)
    head = raw[:sizes_end] + bytes((_NEXT_I32,)) + _varint(body_bytes << 1)
    following = raw[after]
    if following != _NEXT_I32:
        return head + raw[after:]
    _, after = _i32(raw, after)  # the checksum
    following = raw[after]
    if following == 0:
        return head + raw[after:]
    if following >> 4 in (0, 15):
        raise ValueError("a page header's fields are further apart than in any format")
    # Ids are written as differences: with the checksum gone, the next is one further off.
    return head + bytes((following + 0x10,)) + raw[after + 1 :]


def _i32(raw: bytes, position: int) -> tuple[int, int]:
    """The value of the i32 field that begins here, and where the next field does."""
    if raw[position] != _NEXT_I32:
        raise ValueError("a page header does not start with its type and sizes")
    position += 1
    byte = raw[position]
    if byte < 128:
        return (byte >> 1) ^ -(byte & 1), position + 1
    result = byte & 127
    for shift in range(7, 7 * _MOST_VARINT_BYTES, 7):
        position += 1
        byte = raw[position]
        result |= (byte & 127) << shift
        if byte < 128:
            return (result >> 1) ^ -(result & 1), position + 1
    raise ValueError("a page header's integer has more than 32 bits")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
