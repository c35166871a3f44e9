"""Whether a secret stands where none may: in logs, tables, messages. Looks at everything that a run has left behind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.postgres import Postgres

_URL_HASH = re.compile(rb"(?<![\w-])AT[\w-]{44}(?![\w-])")
"""What makes a media URL of the emulator a secret: a mark, 8 random bytes and 25 bytes of signature, in base64."""
_LINE_BYTES = 200


@dataclass
class Leaks:
    """What was found.

    Attributes:
        secrets: what may not be seen, and its name. looked_at: kind of place -> bytes. found: places with a secret, in words.
    """

    secrets: dict[bytes, str]
    looked_at: Counter[str] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)

    def look(self, content: bytes, kind: str, where: str) -> None:
        """Look at something."""
        self.looked_at[kind] += len(content)
        for secret, name in self.secrets.items():
            if secret in content:
                self._note(name, where, content, content.index(secret), len(secret))
        for match in _URL_HASH.finditer(content):
            self._note("a media URL's hash", where, content, match.start(), len(match.group()))

    def _note(self, name: str, where: str, content: bytes, at: int, length: int) -> None:
        line = content[max(0, at - _LINE_BYTES) : at] + b"***" + content[at + length : at + length + 60]
        self.found.append(f"{name} in {where}: {line.decode(errors='replace')!r}")

    def look_at_folder(self, folder: Path, *, but: Iterable[Path] = ()) -> None:
        """Look at every file, except below some folders."""
        hidden = set(but)
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and not hidden & {path, *path.parents}:
                kind = "logs" if path.suffix == ".log" else "other files"
                self.look(path.read_bytes(), kind, str(path.relative_to(folder)))

    def look_at_database(self, server: Postgres, url: str, kind: str) -> None:
        """Look at every row of every table."""
        for table, content in tables_of(server, url):
            self.look(content, kind, f"{kind}, table {table}")


def tables_of(server: Postgres, url: str) -> Iterator[tuple[str, bytes]]:
    """Each table of a database, and all its rows as text."""
    listed = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'public'"
    with server.connect(url) as db:
        for (table,) in db.execute(listed).fetchall():
            with db.cursor().copy(f"COPY {table} TO STDOUT") as rows:
                yield table, b"".join(bytes(row) for row in rows)
