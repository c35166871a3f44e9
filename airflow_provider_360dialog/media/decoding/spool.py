"""Bring the bytes that were judged to this machine's disk, for those who need a file: they are the same, or nothing goes on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from airflow_provider_360dialog.exceptions import SourceChangedError, source_error

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from airflow_provider_360dialog.ports import Source

_BLOCK_BYTES: Final = 256 * 1024


def spool(source: Source, path: Path, *, sha256: str) -> None:
    """Copy a file in flat memory.

    Args:
        source: the file. path: where to; nothing may stand there. sha256: lowercase hex of the bytes that are meant.

    Raises:
        SourceChangedError: other bytes are there by now. SourceUnreadableError, StorageFailedError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with source.open() as handle, path.open("xb") as file:
            while block := handle.read(_BLOCK_BYTES):
                digest.update(block)
                file.write(block)
    except OSError as fault:
        raise source_error(source.uri, fault) from fault
    if digest.hexdigest() != sha256:
        raise SourceChangedError(uri=source.uri)


class SpooledSource:
    """A file of this machine that stands for another.

    Args:
        path: of the file. name: to be sent with.
    """

    def __init__(self, path: Path, *, name: str) -> None:
        self._path, self.uri, self.name = path, str(path), name

    def size_bytes(self) -> int:
        """Its size now."""
        return self._path.stat().st_size

    def open(self) -> BinaryIO:
        """A new handle at the first byte."""
        return self._path.open("rb")

    def stamp(self) -> None:
        """None: it does not live long enough to be remembered."""
        return
