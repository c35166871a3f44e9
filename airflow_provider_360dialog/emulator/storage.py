"""Bytes in files and an append-only journal: what a restart with the same folder still knows.

A journal line is one JSON object that was written whole before the answer left; a torn last line (the process was
killed) is ignored. Nothing here knows what the lines mean.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO


class Spool:
    """One incoming body on its way to disk, hashed as it passes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = path.open("wb", buffering=0)

    def write(self, chunk: bytes | memoryview) -> None:
        """Append a chunk."""
        if self._file is None:
            raise ValueError("the spool is closed")
        self._file.write(chunk)
        self._hash.update(chunk)
        self.size_bytes += len(chunk)

    def close(self) -> str:
        """Close the file and return the sha256 of its bytes in hex."""
        if self._file is not None:
            self._file.close()
            self._file = None
        return self._hash.hexdigest()

    def discard(self) -> None:
        """Close and remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)


class Storage:
    """A folder with a journal and one file per media; temporary unless a folder is given."""

    def __init__(self, data_dir: Path | None = None) -> None:
        self._temporary = None if data_dir else tempfile.TemporaryDirectory(prefix="dialog360-emulator-")
        self.folder = data_dir or Path(self._temporary.name if self._temporary else "")
        self._bytes = self.folder / "bytes"
        self._bytes.mkdir(parents=True, exist_ok=True)
        self._journal_path = self.folder / "journal.jsonl"
        self._journal = self._open_journal() if data_dir else None

    def _open_journal(self) -> BinaryIO:
        journal = self._journal_path.open("ab", buffering=0)
        if journal.tell() and self._journal_path.read_bytes()[-1:] != b"\n":
            journal.write(b"\n")  # ends the line that a kill tore, so that the next one stands alone
        return journal

    def path_of(self, media_id: str) -> Path:
        """Return where the bytes of a media id lie."""
        return self._bytes / media_id

    def spool(self, name: str) -> Spool:
        """Open a new file of the given name for writing."""
        return Spool(self._bytes / name)

    def record(self, event: dict[str, Any]) -> None:
        """Append an event; without a data folder there is nothing to remember."""
        if self._journal is not None:
            self._journal.write(json.dumps(event, separators=(",", ":")).encode() + b"\n")

    def replay(self) -> Iterator[dict[str, Any]]:
        """Yield every whole event of earlier runs, oldest first."""
        if self._journal is None:
            return
        with self._journal_path.open("rb") as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                yield event

    def sweep(self, known: set[str]) -> None:
        """Remove files that no media id owns: what a kill left behind."""
        with os.scandir(self._bytes) as entries:
            for entry in entries:
                if entry.name not in known:
                    Path(entry.path).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the journal and remove a temporary folder."""
        if self._journal is not None:
            self._journal.close()
        if self._temporary is not None:
            self._temporary.cleanup()
