"""From the facts of a file to its verdict: pure functions, one per question, every finding at once.

What is inside of a file has its own questions: `looks` says whose. A further one about the whole goes into `_QUESTIONS`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from airflow_provider_360dialog.media.content import OTHER_TYPES, TEXT_TYPES, TO_TEXT, Content
from airflow_provider_360dialog.media.films import Film
from airflow_provider_360dialog.media.limits import (
    BY_MIME_TYPE,
    DOCX,
    EXTENSION_SLIPS,
    GENERIC_MIME_TYPES,
    KINDS,
    LARGEST_MAX_BYTES,
    PPTX,
    XLSX,
    canonical_mime,
    extension_for,
    kind_of,
    size_text,
    type_for_extension,
)
from airflow_provider_360dialog.media.looks import Look, look_problems
from airflow_provider_360dialog.media.names import extension_of, safe_name
from airflow_provider_360dialog.media.pictures import Picture
from airflow_provider_360dialog.media.problems import error, warning
from airflow_provider_360dialog.media.sounds import NO_SOUND, SOUNDS
from airflow_provider_360dialog.media.text import TextFacts
from airflow_provider_360dialog.media.voices import Voice
from airflow_provider_360dialog.ports import Problem, Verdict

_PLAIN_EXTENSIONS = frozenset({".txt", ".text", ".log"})
_ZIPPED = frozenset({DOCX, XLSX, PPTX})
_TEXTS = frozenset({"text/plain", *TEXT_TYPES.values()})


@dataclass(frozen=True)
class Facts:
    """What is known of a file before it is judged.

    Attributes:
        name: as its owner or the caller named it; untrusted.
        size_bytes: bytes read, or announced where nothing was read.
        sha256: lowercase hex; empty where the file was not read to its end.
        content: its true type; None where nothing was read, or nothing is in it.
        mime_type, kind: what the caller says of it, or None.
        look: what is inside; None where that was not looked at.
    """

    name: str
    size_bytes: int
    sha256: str
    content: Content | None
    mime_type: str | None = None
    kind: str | None = None
    look: Look | None = None

    @property
    def declared(self) -> str | None:
        """The canonical declared type; None where nothing was declared, or a word that says nothing."""
        mime_type = canonical_mime(self.mime_type or "")[0]
        return None if mime_type in GENERIC_MIME_TYPES else mime_type

    @property
    def extension(self) -> str:
        """The extension of the given name, lower case and with dot, or the empty text."""
        return extension_of(self.name)

    @property
    def accepted(self) -> str | None:
        """The true type where WhatsApp takes it, else None."""
        mime_type = self.content.mime_type if self.content else None
        return mime_type if mime_type in BY_MIME_TYPE else None


def decide(facts: Facts) -> Verdict:
    """Judge a file: its kind, the type and name to send it with, and everything that is wrong with it."""
    facts = replace(facts, content=_resolve(facts))
    problems = [problem for question in _QUESTIONS for problem in question(facts)]
    own_kind = kind_of(facts.accepted or "")
    return Verdict(
        kind="document" if own_kind and facts.kind == "document" else own_kind,
        mime_type=facts.content.mime_type if facts.content else None,
        filename=safe_name(facts.name, facts.accepted),
        size_bytes=facts.size_bytes,
        sha256=facts.sha256,
        problems=tuple(sorted(problems, key=lambda problem: problem.severity != "error")),
    )


def _resolve(facts: Facts) -> Content | None:
    """Where the bytes leave a choice, what the caller says decides; it never overrules them."""
    content = facts.content
    if content is None:
        return None
    content = _as_looked_at(content, facts.look)
    if content.candidates:
        return replace(content, mime_type=_chosen(facts, content.candidates) or content.mime_type)
    if content.mime_type == "text/plain" and (written := _written_type(facts)):
        return Content(written, "text of another type than plain", TO_TEXT)
    return content


def _as_looked_at(content: Content, look: Look | None) -> Content:
    """What a look inside tells better than the first bytes."""
    if isinstance(look, Picture):
        return replace(content, animated=look.animated)
    if isinstance(look, TextFacts) and look.broken_at is not None:
        return Content(None, f"text that is broken at byte {look.broken_at:,}", "Save it as UTF-8.")
    if isinstance(look, Film) and look.mime_type in content.candidates:
        return replace(content, mime_type=look.mime_type, candidates=())
    if isinstance(look, Voice) and look.mime_type != content.mime_type:  # what follows a tag that is longer than the head
        return SOUNDS.get(look.mime_type or "", NO_SOUND)
    return content


def _chosen(facts: Facts, candidates: tuple[str, ...]) -> str | None:
    if facts.declared in candidates:
        return facts.declared
    of_kind = [candidate for candidate in candidates if kind_of(candidate) == facts.kind]
    if len(of_kind) == 1:
        return of_kind[0]
    by_name = type_for_extension(facts.extension)
    return by_name if by_name in candidates else None


def _written_type(facts: Facts) -> str | None:
    """The type of a text that its declared type, else its name, gives another name than plain text; None for plain text."""
    if facts.declared is None:
        return TEXT_TYPES.get(facts.extension)
    is_other_text = facts.declared != "text/plain" and (facts.declared in _TEXTS or facts.declared.startswith("text/"))
    return _shown(facts.declared) if is_other_text else None


# --- the questions ------------------------------------------------------------------------------------------------


def _size_problems(facts: Facts) -> list[Problem]:
    size_bytes = facts.size_bytes
    if size_bytes == 0:
        return [error("empty_file", "The file is empty.", "Look at what produced it, and send the file that was meant.")]
    limit = BY_MIME_TYPE.get(facts.accepted or "")
    if limit is None:
        return [_too_large(size_bytes, LARGEST_MAX_BYTES, "anything")] if size_bytes > LARGEST_MAX_BYTES else []
    animated = bool(facts.content and facts.content.animated)
    max_bytes, warn_above_bytes = limit.bounds(animated=animated)
    if size_bytes > max_bytes:
        if limit.kind == "sticker":
            return [_sticker_too_large(size_bytes, max_bytes, animated=animated)]
        return [_too_large(size_bytes, max_bytes, f"{limit.kind} files ({limit.mime_type})")]
    if size_bytes > warn_above_bytes:
        message = f"The file has {size_bytes:,} bytes: below {size_text(max_bytes)}, but above {warn_above_bytes:,} bytes."
        return [
            warning("large_for_decimal_limit", message, "Make it smaller if it is refused: no document says which one holds.")
        ]
    return []


def _type_problems(facts: Facts) -> list[Problem]:
    content = facts.content
    if content is None:
        return []
    if content.mime_type is None:
        return [error("type_unknown", f"The content is {content.label}.", content.remedy)]
    if facts.accepted is None and _is_broken_archive(facts):
        return []  # a document that is not whole: that is told below
    if facts.accepted is None:
        message = f"The content is {content.label} ({content.mime_type}), which WhatsApp does not accept."
        return [error("type_not_accepted", message, content.remedy)]
    if content.utf16:
        return [warning("text_not_utf8", "The text is UTF-16, which some phones show as garbage.", "Save it as UTF-8.")]
    return []


def _mime_problems(facts: Facts) -> list[Problem]:
    content, declared = facts.content, facts.declared
    if content is None or content.mime_type is None or declared is None:
        return []
    if not _agree(declared, content):
        message = f"The file is declared as {_shown(declared)}, but the content is {content.label} ({content.mime_type})."
        remedy = f"Declare {content.mime_type} or nothing, if this is the file that was meant." if facts.accepted else _SEND_OTHER
        return [error("mime_disagrees", message, remedy)]
    if canonical_mime(facts.mime_type or "")[1]:
        message = f"{_shown(facts.mime_type or '')} is not a type that WhatsApp knows; {declared} is sent."
        return [warning("mime_mended", message, f"Write {declared}.")]
    return []


def _name_problems(facts: Facts) -> list[Problem]:
    content, extension = facts.content, facts.extension
    if content is None or content.mime_type is None:
        return []
    named = type_for_extension(extension) or OTHER_TYPES.get(extension)
    if facts.accepted is None:
        is_broken_office = named in _ZIPPED and _is_broken_archive(facts)
        if named is None or is_broken_office or _agree(named, content):
            return []
        return [_extension_disagrees(facts, content)]
    if extension in BY_MIME_TYPE[facts.accepted].extensions:
        return []
    right = extension_for(facts.accepted)
    if named is None:
        return [
            warning("extension_missing", f"The name has no known extension; it is sent with {right}.", f"Name it with {right}.")
        ]
    if _is_slip(extension, facts.accepted):
        message = f"The extension {extension} is not one that WhatsApp knows for {facts.accepted}; {right} is sent."
        return [warning("extension_mended", message, f"Name it with {right}.")]
    return [_extension_disagrees(facts, content)]


def _kind_problems(facts: Facts) -> list[Problem]:
    kind, mime_type = facts.kind, facts.accepted
    if kind is None:
        return []
    if kind not in KINDS:
        return [error("kind_unknown", f"There is no kind {_shown(kind)}.", f"Use one of {', '.join(KINDS)}.")]
    if mime_type is None or kind in {"document", kind_of(mime_type)}:
        return []
    if mime_type == "image/webp" and kind == "image":
        message = "The content is a WebP image, which works only as a sticker, not as an image."
        return [error("kind_mismatch", message, "Save it as JPEG or PNG, or send it as a sticker.")]
    taken = ", ".join(limit.mime_type for limit in BY_MIME_TYPE.values() if limit.kind == kind)
    message = f"A file of the type {mime_type} cannot be sent as {kind}."
    return [error("kind_mismatch", message, f"Send it as {kind_of(mime_type)}, or convert it: {kind} takes {taken}.")]


def _inner_problems(facts: Facts) -> list[Problem]:
    if facts.content is None or facts.content.mime_type is None:
        return []
    if isinstance(facts.look, Film | Voice) and facts.accepted is None:
        return []
    said_plain = facts.declared == "text/plain" or facts.extension in _PLAIN_EXTENSIONS
    return look_problems(facts.look, mime_type=facts.content.mime_type, kind=facts.kind, said_plain=said_plain)


def _is_broken_archive(facts: Facts) -> bool:
    """A zip with an error of its own, which forbids it; a warning, such as that of a password, forbids nothing."""
    is_zip = facts.content is not None and facts.content.mime_type == "application/zip"
    return is_zip and any(problem.severity == "error" for problem in _inner_problems(facts))


_QUESTIONS = (_size_problems, _type_problems, _mime_problems, _name_problems, _kind_problems, _inner_problems)

# --- wording ------------------------------------------------------------------------------------------------------

_SEND_OTHER = "Send the file that was meant, or convert this one."


def _too_large(size_bytes: int, max_bytes: int, what: str) -> Problem:
    message = f"The file has {size_bytes:,} bytes or more; the limit for {what} is {size_text(max_bytes)}."
    return error("too_large", message, "Make it smaller, or send a link to it.")


def _sticker_too_large(size_bytes: int, max_bytes: int, *, animated: bool) -> Problem:
    sort = "an animated" if animated else "a static"
    message = f"The file has {size_bytes:,} bytes; the limit for {sort} sticker is {size_text(max_bytes)}."
    return error("sticker_too_large", message, "Save it smaller: 512 x 512 pixels, lower quality, fewer frames.")


def _extension_disagrees(facts: Facts, content: Content) -> Problem:
    right = extension_for(facts.accepted or "")
    message = f"The name ends in {facts.extension}, but the content is {content.label} ({content.mime_type})."
    remedy = f"Name it with {right}, if this is the file that was meant." if right else _SEND_OTHER
    return error("extension_disagrees", message, remedy)


def _agree(named: str, content: Content) -> bool:
    """All texts agree with each other: whether a text is taken as what it is called is the type's question."""
    return named in {content.mime_type, *content.compatible} or (named in _TEXTS and content.mime_type in _TEXTS)


def _is_slip(extension: str, mime_type: str) -> bool:
    if mime_type == "text/plain" and extension in TEXT_TYPES:
        return True  # relabelled on purpose: the caller declared text/plain
    return EXTENSION_SLIPS.get(extension) == mime_type


def _shown(text: str) -> str:
    """A caller's word, short and printable."""
    return "".join(char if char.isprintable() else " " for char in text[:80]).strip()
