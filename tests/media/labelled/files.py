"""The whole labelled set."""

from __future__ import annotations

from tests.media.labelled import films, papers, pictures, said, sounds, stickers, strangers, texts

FILES = [file for module in (pictures, stickers, sounds, films, papers, texts, said, strangers) for file in module.FILES]
