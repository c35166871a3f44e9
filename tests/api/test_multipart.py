"""The body of an upload: streamed, of known length, rewindable."""

from __future__ import annotations

import hashlib
import io
from email.parser import BytesParser
from email.policy import HTTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_360dialog.api.multipart import MultipartFile
from airflow_provider_360dialog.exceptions import SourceChangedError, SourceUnreadableError, StorageFailedError
from tests.support.wire import MemorySource


def body_of(content: bytes, *, size_bytes: int | None = None) -> MultipartFile:
    size = len(content) if size_bytes is None else size_bytes
    return MultipartFile(MemorySource(content), size_bytes=size, mime_type="image/png", filename="photo.png")


def parts_of(body: MultipartFile, raw: bytes) -> dict[str, tuple[str | None, str, bytes]]:
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + body.content_type.encode() + b"\r\n\r\n" + raw)
    return {
        part.get_param("name", header="content-disposition"): (
            part.get_filename(),
            part.get_content_type(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    }


def test_another_reader_of_multipart_finds_the_three_parts():
    """`messaging_product`, `type` and the file with its MIME type and name, as recorded traffic has them."""
    body = body_of(b"\x89PNG\r\n\x1a\n--binary--\r\n")
    parts = parts_of(body, body.read())
    assert parts["messaging_product"][2] == b"whatsapp"
    assert parts["type"][2] == b"image/png"
    assert parts["file"] == ("photo.png", "image/png", b"\x89PNG\r\n\x1a\n--binary--\r\n")


@given(content=st.binary(max_size=3000), sizes=st.lists(st.integers(1, 700), min_size=1, max_size=20))
def test_it_gives_the_same_bytes_in_whatever_portions_it_is_read(content: bytes, sizes: list[int]):
    """Length, bytes and hash hold, before and after a rewind; a portion is short only at the end."""
    body = body_of(content)
    whole = body.read()
    assert len(whole) == len(body) == body.tell()
    assert body.sent_sha256 == hashlib.sha256(content).hexdigest()
    body.seek(0)
    pieces = []
    while piece := body.read(sizes[len(pieces) % len(sizes)]):
        assert len(piece) == sizes[len(pieces) % len(sizes)] or body.tell() == len(body)
        pieces.append(piece)
    assert b"".join(pieces) == whole
    assert body.sent_sha256 == hashlib.sha256(content).hexdigest()


def test_a_rewind_in_the_middle_starts_the_file_anew():
    """A resend after a cut-off sends every byte again."""
    body = body_of(b"x" * 1000)
    body.read(400)
    body.seek(0)
    assert b"x" * 1000 in body.read()


def test_only_a_rewind_to_the_start_is_possible():
    body = body_of(b"x" * 1000)
    body.read(400)
    assert body.seek(0, io.SEEK_CUR) == 400
    with pytest.raises(io.UnsupportedOperation):
        body.seek(10)


def test_a_file_that_became_shorter_is_not_padded():
    """The announced length cannot be kept, so the upload is given up."""
    with pytest.raises(SourceChangedError):
        body_of(b"x" * 10, size_bytes=20).read()


def test_a_file_that_became_longer_sends_what_was_judged():
    """The rest is not sent; the hash tells whether the beginning is still the same."""
    body = body_of(b"x" * 30, size_bytes=20)
    assert parts_of(body, body.read())["file"][2] == b"x" * 20


@pytest.mark.parametrize(
    ("fault", "expected"),
    [(PermissionError(13, "Permission denied"), SourceUnreadableError), (OSError(5, "Input/output error"), StorageFailedError)],
    ids=["for good", "may pass"],
)
def test_a_source_that_fails_is_not_taken_for_the_network(fault: OSError, expected: type[Exception]):
    source = MemorySource(b"x")

    def fail() -> io.BytesIO:
        raise fault

    source.open = fail  # type: ignore[method-assign]
    with pytest.raises(expected):
        MultipartFile(source, size_bytes=1, mime_type="image/png", filename="a.png").read()


@pytest.mark.parametrize("filename", ["", "a b.png", 'a".png', "a\r\nX: 1", "../a.png", "ä.png", ".png", "a" * 241])
def test_an_unsafe_name_never_becomes_a_header(filename: str):
    with pytest.raises(ValueError, match="unsafe part header"):
        MultipartFile(MemorySource(b""), size_bytes=0, mime_type="image/png", filename=filename)


@pytest.mark.parametrize("mime_type", ["", "image", "image/png\r\nX: 1", "image/png; a=b", "Image/PNG"])
def test_an_unsafe_type_never_becomes_a_header(mime_type: str):
    with pytest.raises(ValueError, match="unsafe part header"):
        MultipartFile(MemorySource(b""), size_bytes=0, mime_type=mime_type, filename="a.png")
