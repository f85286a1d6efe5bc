"""An upload's text as UTF-8: its encoding found or confirmed, other ones recoded."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator

from charset_normalizer import from_bytes

from sandbox.errors import UploadRejected

_BLOCK_BYTES = 1 << 20
_SAMPLE_BYTES = 256 * 1024
# What a name may say, and Python's codec for it. GB18030 holds GB2312 and GBK.
_CODECS = {
    "utf-8": "utf-8",
    "utf-8-sig": "utf-8-sig",
    "utf-16": "utf-16",
    "gb18030": "gb18030",
    "gbk": "gb18030",
    "gb2312": "gb18030",
    "latin-1": "latin-1",
    "iso-8859-1": "latin-1",
}
_PACKED = {
    b"PK\x03\x04": "a ZIP archive (or a spreadsheet)",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "a 7z archive",
}


def to_utf8(source: int, scratch: int, encoding: str | None) -> tuple[int, str, list[str]]:
    """Return a descriptor of the same text in UTF-8 without mark, its encoding, warnings.

    The descriptor is `source` itself where that is UTF-8 already, else `scratch`. The whole
    text is decoded: what comes after is text without NUL.
    Raises UploadRejected: `upload_empty`, `upload_compressed`, `upload_is_parquet`,
    `upload_encoding`, `upload_nul` (the last two with a line).
    """
    head = os.pread(source, 8, 0)
    _check_head(head)
    found, warnings = _encoding(source, head, encoding)
    codec = _CODECS[found]
    if codec == "utf-8":
        for _ in _decoded(source, codec, found):
            pass
        return source, found, warnings
    with os.fdopen(os.dup(scratch), "wb") as target:
        for text in _decoded(source, codec, found):
            target.write(text.encode())
    return scratch, found, warnings


def _check_head(head: bytes) -> None:
    if not head.strip():
        raise UploadRejected(
            "the file is empty", code="upload_empty", hint="Upload a file with rows."
        )
    for magic, name in _PACKED.items():
        if head.startswith(magic):
            raise UploadRejected(
                f"a CSV was expected, {name} came",
                code="upload_compressed",
                hint="Unpack it first, or upload Parquet, which is compressed inside.",
            )
    if head.startswith((b"PAR1", b"PARE")):
        raise UploadRejected(
            "a CSV was expected, Parquet came",
            code="upload_is_parquet",
            hint="Upload it with the format Parquet.",
        )


def _encoding(source: int, head: bytes, named: str | None) -> tuple[str, list[str]]:
    if named is not None:
        name = named.strip().lower().replace("_", "-").replace("utf8", "utf-8")
        if name == "utf-8" and head.startswith(codecs.BOM_UTF8):
            name = "utf-8-sig"
        if name not in _CODECS:
            raise UploadRejected(
                "the encoding's name is not one of this node's",
                code="upload_encoding",
                hint=f"Use one of: {', '.join(sorted(_CODECS))}.",
            )
        return _CODECS[name], []
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig", []
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", []
    if _is_utf8(source):
        return "utf-8", []
    found = _guess(os.pread(source, _SAMPLE_BYTES, 0))
    return found, [
        f"The encoding was not stated and was taken to be {found}: look at names and texts."
    ]


def _is_utf8(source: int) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in _blocks(source):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _guess(sample: bytes) -> str:
    """GB18030 where the sample reads as Chinese, else Latin-1, which fits any bytes."""
    cut = sample[: sample.rfind(b"\n") + 1] or sample
    try:
        text = cut.decode("gb18030")
    except UnicodeDecodeError:
        return "latin-1"
    wide = [character for character in text if ord(character) > 127]
    common = [c for c in wide if "\u4e00" <= c <= "\u9fff" or "\u3000" <= c <= "\u303f"]
    if len(common) * 10 < len(wide) * 8:
        return "latin-1"
    best = from_bytes(
        cut, cp_isolation=["gb18030", "latin_1"], explain=False, threshold=0.5
    ).best()
    return "latin-1" if best is not None and best.encoding == "latin_1" else "gb18030"


def _decoded(source: int, codec: str, name: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(codec)()
    lines = 1
    for block in _blocks(source, then=b""):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            # The decoder may have kept a few bytes of the block before: no line break.
            line = lines + error.object[: error.start].count(b"\n")
            raise UploadRejected(
                f"line {line} is not {name}",
                code="upload_encoding",
                line=line,
                hint="State the file's encoding, or save it as UTF-8.",
            ) from error
        if "\0" in text:
            line = lines + text[: text.index("\0")].count("\n")
            raise UploadRejected(
                f"line {line} holds a NUL character, which no CSV has",
                code="upload_nul",
                line=line,
                hint="State the encoding (UTF-16?), or export the file again.",
            )
        lines += text.count("\n")
        yield text


def _blocks(source: int, *, then: bytes | None = None) -> Iterator[bytes]:
    offset = 0
    while block := os.pread(source, _BLOCK_BYTES, offset):
        offset += len(block)
        yield block
    if then is not None:
        yield then
