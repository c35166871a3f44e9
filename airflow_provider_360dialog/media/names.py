"""File names that can be sent: ASCII, no path, no surprises, exactly one right extension.

A name is untrusted text. Meta documents no length or character set for it, so the rule here is the safe side of what every
multipart reader takes.
"""

from __future__ import annotations

import unicodedata

from airflow_provider_360dialog.media.content import OTHER_TYPES
from airflow_provider_360dialog.media.limits import BY_MIME_TYPE, type_for_extension

NAME_MAX_CHARS = 240
_READ_CHARS = 4096  # of an absurdly long name only the end is read, where the extension is
_STEM = "file"
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_LETTERS = str.maketrans(
    {"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d",
     "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "\N{LATIN SMALL LETTER DOTLESS I}": "i"}
)  # fmt: skip  # letters that NFKD does not take apart
DEVICES = frozenset({"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10))})


def safe_name(name: str, mime_type: str | None) -> str:
    """Make a name that can be sent with a file of this type.

    Args:
        name: as its owner wrote it, possibly with a path.
        mime_type: an accepted canonical type, whose extension the result gets; anything else leaves the extension as it is.

    Returns:
        1 to 240 characters out of ``A-Z a-z 0-9 . _ -``, beginning with neither dot nor hyphen, with exactly one extension of
        ``mime_type``. Calling it again on the result changes nothing.
    """
    text = _ascii(_last_part(name))
    limit = BY_MIME_TYPE.get(mime_type or "")
    if limit is None:
        return _tidy(_escape(_tidy(text))[:NAME_MAX_CHARS]) or _STEM
    given = extension_of(text)
    extension = given if given in limit.extensions else limit.extensions[0]
    stem = _without_extensions(_escape(_without_extensions(text))[: NAME_MAX_CHARS - len(extension)])
    return (stem or _STEM) + extension


def extension_of(name: str) -> str:
    """The ending of a name, lower case and with dot, or the empty text. Spaces and dots at the very end do not count."""
    text = _tidy(_ascii(_last_part(name)))
    stem, dot, ending = text.rpartition(".")
    return f".{ending.lower()}" if dot and stem and ending else ""


def _last_part(name: str) -> str:
    text = name[-_READ_CHARS:]
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text.translate(_LETTERS))  # may itself give slashes and dots
    parts = [part for part in text.replace("\\", "/").split("/") if part.strip(" .")]
    return parts[-1].strip() if parts else ""


def _ascii(text: str) -> str:
    if _PLAIN.issuperset(text):
        return text
    kept: list[str] = []
    for char in text:
        if char in _PLAIN:
            kept.append(char)
        elif (char.isspace() or unicodedata.category(char)[0] not in "CM") and (not kept or kept[-1] != ""):
            kept.append("")  # one underscore for a run of what cannot be sent; marks and control characters leave nothing
    return "".join(char or "_" for char in kept)


def _tidy(text: str) -> str:
    """Without dots and hyphens in front, dots and underscores behind; empty where no letter or digit is left."""
    text = text.lstrip(".-").rstrip("._")
    return text if any(char.isalnum() for char in text) else ""


def _without_extensions(text: str) -> str:
    text = _tidy(text)
    while _is_known(extension := extension_of(text)):
        text = _tidy(text[: -len(extension)])
    return text


def _is_known(extension: str) -> bool:
    return type_for_extension(extension) is not None or extension in OTHER_TYPES


def _escape(stem: str) -> str:
    """Names that Windows takes for a device, whatever follows their first dot, get an underscore in front."""
    return f"_{stem}" if stem.partition(".")[0].upper() in DEVICES else stem
