"""From the facts of a document to its problems: pure, every finding at once, one function per format.

Severity follows the reader of the message: an error where nobody can open the document, a warning where somebody can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow_provider_360dialog.media.papers import BIG_PART_BYTES, OleFacts, PdfFacts, ZipFacts
from airflow_provider_360dialog.media.problems import error, warning

if TYPE_CHECKING:
    from airflow_provider_360dialog.media.papers import PaperFacts
    from airflow_provider_360dialog.media.text import TextFacts
    from airflow_provider_360dialog.ports import Problem

UNPACKED_MAX_BYTES: Final = 4 * 2**30
"""No document unpacks to more; workbooks of a million rows and 32 columns reach 0.9 GiB (measured, XlsxWriter)."""

LARGE_UNPACKED_BYTES: Final = 2**30
"""Above this the ratio of the whole counts."""

WHOLE_MAX_RATIO: Final = 100
"""Unpacked to packed bytes of a whole document above `LARGE_UNPACKED_BYTES`; full sheets reach 16 (measured, openpyxl)."""

PART_MAX_RATIO: Final = 1000
"""The same of one part above `BIG_PART_BYTES`; sheets of nothing but equal rows reach 300, zeros 1,032 (measured, zlib)."""

_NEWLINE_BYTES = 2  # an editor or a mail program may take the last one away
_AGAIN = "Open the file yourself, and save or copy it again."
_SEPARATOR_NAMES = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas"}


def paper_problems(facts: PaperFacts, *, said_plain: bool = False) -> list[Problem]:
    """What is wrong with a document.

    Args:
        facts: from `papers.read_paper` or `text.text_walk`.
        said_plain: the caller declared ``text/plain``, or the name ends in an extension of plain text.

    Returns:
        All findings, in no special order; empty where there is nothing to say.
    """
    if isinstance(facts, PdfFacts):
        return _pdf_problems(facts)
    if isinstance(facts, ZipFacts):
        return _zip_problems(facts)
    if isinstance(facts, OleFacts):
        return _ole_problems(facts)
    return _text_problems(facts, said_plain=said_plain)


def _pdf_problems(facts: PdfFacts) -> list[Problem]:
    problems = []
    if facts.ends is False:
        problems.append(error("pdf_truncated", "The PDF is cut off: it has no end mark in its last 64 KiB.", _AGAIN))
    elif facts.missing_bytes > _NEWLINE_BYTES:
        message = f"The PDF is cut off: {facts.missing_bytes:,} bytes are missing from the length that it tells."
        problems.append(error("pdf_truncated", message, _AGAIN))
    elif facts.xref_at is not None and facts.xref_at >= facts.size_bytes:
        message = f"The PDF is damaged: its table of objects would begin at byte {facts.xref_at:,} of {facts.size_bytes:,}."
        problems.append(error("pdf_corrupt", message, _AGAIN))
    if facts.encrypted:
        message = "The PDF is encrypted: it may open with a password only."
        problems.append(warning("pdf_encrypted", message, "Save it without encryption, or tell the customer the password."))
    return problems


def _zip_problems(facts: ZipFacts) -> list[Problem]:
    problems = []
    if facts.directory == "too_long":
        message = "The document lists more parts than any honest document has."
        return [error("document_bomb", message, "Save it again in the program that it is from, or export it as PDF.")]
    if facts.directory in {"missing", "damaged"}:
        return [error("document_truncated", "The document is cut off or damaged: its list of parts is not whole.", _AGAIN)]
    if facts.outside or facts.overlapping:
        message = "The document is damaged: its parts do not lie where its list says."
        problems.append(error("document_truncated", message, _AGAIN))
    if _is_bomb(facts):
        message = (
            f"The document would unpack from {facts.packed_bytes:,} to {facts.unpacked_bytes:,} bytes, which no phone can open."
        )
        problems.append(error("document_bomb", message, "Look at what produced it, or export it as PDF."))
    if facts.encrypted:
        message = "Parts of the document are encrypted: it opens with a password only, and in few programs."
        problems.append(warning("document_encrypted", message, "Save it without a password."))
    return problems


def _is_bomb(facts: ZipFacts) -> bool:
    whole_ratio = facts.unpacked_bytes / max(1, facts.packed_bytes)
    return (
        facts.unpacked_bytes > UNPACKED_MAX_BYTES
        or (facts.unpacked_bytes > LARGE_UNPACKED_BYTES and whole_ratio > WHOLE_MAX_RATIO)
        or (facts.unpacked_bytes > BIG_PART_BYTES and facts.worst_ratio > PART_MAX_RATIO)
    )


def _ole_problems(facts: OleFacts) -> list[Problem]:
    if not facts.readable:
        return [error("document_truncated", "The document is damaged: its header is not whole.", _AGAIN)]
    if facts.needed_bytes > facts.size_bytes:
        message = f"The document is cut off: it needs at least {facts.needed_bytes:,} bytes, and has {facts.size_bytes:,}."
        return [error("document_truncated", message, _AGAIN)]
    return []


def _text_problems(facts: TextFacts, *, said_plain: bool) -> list[Problem]:
    if facts.broken_at is not None:
        what = "is not UTF-8" if facts.encoding == "utf-8" else "is not UTF-16"
        if facts.broken_by == "control":
            what = "holds a control character, as no plain text does"
        return [error("type_unknown", f"The content is text that {what}, at byte {facts.broken_at:,}.", "Save it as UTF-8.")]
    problems = []
    if facts.columns and not said_plain:
        message = f"The text is a table of {facts.columns} columns, separated by {_SEPARATOR_NAMES[facts.separator]}."
        remedy = "Save it as .xlsx for a table that people can read, or pass mime_type='text/plain' to send it as it is."
        problems.append(warning("csv_as_text", message, remedy))
    if facts.html:
        remedy = "Look at what produced the file: HTML in a text is mostly an error page. Export a page as PDF to send it."
        problems.append(warning("html_as_text", "The text holds an HTML page, which shows as its source.", remedy))
    return problems
