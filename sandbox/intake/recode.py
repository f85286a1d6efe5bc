"""An upload's text as UTF-8: its encoding found or confirmed, other ones recoded."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterator, Sequence

from charset_normalizer import from_bytes

from sandbox.errors import UploadRejected
from sandbox.intake.upload import Upload, head_of

_HEAD_BYTES = 8
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


class NotUtf8(Exception):
    """The text was taken for UTF-8, nobody having said so, and is not."""


class Text:
    """An upload as UTF-8 without mark and without NUL, decoded as it is read."""

    def __init__(
        self, upload: Upload, encoding: str, warnings: Sequence[str], *, stated: bool
    ) -> None:
        self._upload = upload
        self._stated = stated
        self.encoding = encoding
        self.warnings = tuple(warnings)

    @classmethod
    def of(cls, upload: Upload, named: str | None) -> Text:
        """Return the text of `upload` in the encoding that is named or that it begins in.

        Raises UploadRejected: `upload_empty`, `upload_compressed`, `upload_is_parquet`,
        `upload_encoding`.
        """
        head = upload.head(_HEAD_BYTES)
        _check_head(head)
        found, stated = _encoding(head, named)
        return cls(upload, found, (), stated=stated)

    def guessed(self) -> Text:
        """Return the same upload's text in the encoding that its beginning looks like."""
        found = _guess(self._upload.head(_SAMPLE_BYTES))
        warning = (
            f"The encoding was not stated and was taken to be {found}: look at names and"
            " texts."
        )
        return Text(self._upload, found, [warning], stated=True)

    @property
    def upload_bytes(self) -> int:
        """How many bytes the upload has, in its own encoding."""
        return self._upload.size_bytes

    def blocks(self) -> Iterator[bytes]:
        """Yield the text in order; what was yielded is whole and valid UTF-8 together.

        Raises NotUtf8 where the encoding was not stated; UploadRejected `upload_encoding`
        or `upload_nul`, with the line.
        """
        codec = _CODECS[self.encoding]
        decoder = codecs.getincrementaldecoder(codec)()
        is_utf8 = codec == "utf-8"
        for number, block in enumerate(self._blocks()):
            # What is ASCII, not within a character, is the same in UTF-8: nearly all is.
            if is_utf8 and block.isascii() and not decoder.getstate()[0]:
                if b"\0" in block:
                    raise self._nul(number, block.decode())
                yield block
                continue
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                if not self._stated:
                    raise NotUtf8 from error
                # The decoder may have kept a few bytes of the block before: no line break.
                line = self._line(number) + error.object[: error.start].count(b"\n")
                raise UploadRejected(
                    f"line {line} is not {self.encoding}",
                    code="upload_encoding",
                    line=line,
                    hint="State the file's encoding, or save it as UTF-8.",
                ) from error
            if "\0" in text:
                raise self._nul(number, text)
            yield text.encode()

    def head(self, count: int) -> bytes:
        """Return the first `count` bytes of the text, or all if there are fewer."""
        return head_of(self.blocks(), count)

    def lines_before(self, position: int) -> int:
        """Return how many lines end before that byte of the text, as `csv` counts them."""
        lines, last = 0, b""
        for block in self.blocks():
            part = block[:position]
            lines += part.count(b"\n") + part.count(b"\r") - part.count(b"\r\n")
            lines -= last == b"\r" and part.startswith(b"\n")
            last = part[-1:] or last
            position -= len(part)
            if position <= 0:
                break
        return lines

    def _blocks(self) -> Iterator[bytes]:
        yield from self._upload.blocks()
        yield b""

    def _line(self, number: int) -> int:
        """The line on which that block of the upload begins: read again, being rare."""
        decoder = codecs.getincrementaldecoder(_CODECS[self.encoding])()
        before = itertools.islice(self._upload.blocks(), number)
        return 1 + sum(decoder.decode(block).count("\n") for block in before)

    def _nul(self, number: int, text: str) -> UploadRejected:
        line = self._line(number) + text[: text.index("\0")].count("\n")
        return UploadRejected(
            f"line {line} holds a NUL character, which no CSV has",
            code="upload_nul",
            line=line,
            hint="State the encoding (UTF-16?), or export the file again.",
        )


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


def _encoding(head: bytes, named: str | None) -> tuple[str, bool]:
    """The encoding to read in, and whether anything says that it is this one."""
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
        return _CODECS[name], True
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig", True
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", True
    return "utf-8", False


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
