"""What one file of the labelled set is: its bytes, what is said of it, and the truth about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Labelled:
    """One file of the set.

    Attributes:
        id: what the file is, as a sentence would say it; names its row in the tables.
        name: its file name. make: gives its bytes, the same ones whenever it is asked.
        accepted: the truth, known to whoever made the file: WhatsApp takes this type, these codecs, for this kind of message.
            A damaged or too large file of such a type is accepted in this sense; a file is not, however well it is dressed.
        mime_type, kind: what the caller says of the file.
    """

    id: str
    name: str
    make: Callable[[], bytes]
    accepted: bool = True
    mime_type: str | None = None
    kind: str | None = None


def cut(data: bytes, share: float = 0.5) -> bytes:
    """The beginning of a file whose copy broke off."""
    return data[: int(len(data) * share)]


def damaged(data: bytes, start: int, end: int) -> bytes:
    """Every byte of a range with all its bits turned."""
    return data[:start] + bytes(byte ^ 0xFF for byte in data[start:end]) + data[end:]
