"""The body of an upload: multipart/form-data, streamed from its source, rewindable.

A ``io.RawIOBase`` because `requests` and `urllib3` look for ``read``, ``tell``, ``seek`` and iteration; its length is known
before the first byte, so nothing is chunked and nothing is held in memory.
"""

from __future__ import annotations

import hashlib
import io
import re
import secrets
from typing import TYPE_CHECKING, BinaryIO, Final

from airflow_provider_360dialog.exceptions import SourceChangedError, source_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_360dialog.ports import Source

_SAFE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,239}")
_MIME = re.compile(r"[a-z]+/[a-z0-9][a-z0-9.+-]*")
BLOCK_BYTES: Final = 256 * 1024


class MultipartFile(io.RawIOBase):
    """One upload's body: ``messaging_product``, ``type`` and ``file``, in that order.

    Args:
        source: the file. size_bytes: how many of its bytes are sent, as judged; a file that has become shorter is refused.
        mime_type, filename: of the ``file`` part; both already safe (checked again here, as they go into a header).

    Attributes:
        content_type: the request's Content-Type.
        on_read: called before each block; raises to give up (the sender's deadline).
        sent_sha256: lowercase hex of the file's bytes read since the last rewind.
    """

    def __init__(
        self,
        source: Source,
        *,
        size_bytes: int,
        mime_type: str,
        filename: str,
    ) -> None:
        super().__init__()
        if not _SAFE_NAME.fullmatch(filename) or not _MIME.fullmatch(mime_type):
            msg = f"unsafe part header: {filename!r}, {mime_type!r}"
            raise ValueError(msg)
        boundary = f"d360-{secrets.token_hex(16)}"
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="messaging_product"\r\n\r\nwhatsapp\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="type"\r\n\r\n{mime_type}\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
            f"Content-Type: {mime_type}\r\n\r\n"
        ).encode("ascii")
        self._tail = f"\r\n--{boundary}--\r\n".encode("ascii")
        self._source, self._size_bytes = source, size_bytes
        self.on_read: Callable[[], None] | None = None
        self._file: BinaryIO | None = None
        self._ahead = b""
        self._at = 0
        self._sha256 = hashlib.sha256()

    def __len__(self) -> int:
        return len(self._head) + self._size_bytes + len(self._tail)

    @property
    def sent_sha256(self) -> str:
        """Of the file's bytes that were read since the last rewind."""
        return self._sha256.hexdigest()

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always, to its start."""
        return True

    def tell(self) -> int:
        """Bytes read since the last rewind."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Rewind. Only to the start, which is all that a resend needs, or to where it stands already."""
        target = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self)}[whence]
        if target == self._at:
            return target
        if target != 0:
            msg = "an upload's body is rewound to its start only"
            raise io.UnsupportedOperation(msg)
        self._close_file()
        self._at = 0
        self._sha256 = hashlib.sha256()
        return 0

    def look_ahead(self) -> None:
        """Open the file and read its first block, so that what comes first is at hand."""
        if self._file is None and not self._ahead and self._at == 0 and self._size_bytes:
            self._ahead = self._read_file(min(BLOCK_BYTES, self._size_bytes))

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes; fewer only at the end."""
        if self.on_read is not None:
            self.on_read()
        wanted = len(self) - self._at if size < 0 else min(size, len(self) - self._at)
        parts: list[bytes] = []
        while wanted > 0:
            block = self._next(wanted)
            parts.append(block)
            self._at += len(block)
            wanted -= len(block)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _next(self, wanted: int) -> bytes:
        in_file = self._at - len(self._head)
        if in_file < 0:
            return self._head[self._at : self._at + wanted]
        if in_file >= self._size_bytes:
            start = in_file - self._size_bytes
            return self._tail[start : start + wanted]
        block = self._read_file(min(wanted, self._size_bytes - in_file))
        self._sha256.update(block)
        if in_file + len(block) == self._size_bytes:
            self._close_file()
        return block

    def _read_file(self, wanted: int) -> bytes:
        if self._ahead:
            block, self._ahead = self._ahead[:wanted], self._ahead[wanted:]
            return block
        try:
            if self._file is None:
                self._file = self._source.open()
            block = self._file.read(wanted)
        except OSError as fault:
            # Not an OSError any more: urllib3 would take a broken disk for a broken connection.
            raise source_error(self._source.uri, fault) from fault
        if not block:
            raise SourceChangedError(uri=self._source.uri)
        return block

    def _close_file(self) -> None:
        self._ahead = b""
        if self._file is not None:
            self._file.close()
            self._file = None

    def close(self) -> None:
        """Close the file; the body is not used again."""
        self._close_file()
        super().close()
