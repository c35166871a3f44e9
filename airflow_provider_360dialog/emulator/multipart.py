"""Reads `multipart/form-data` as it arrives: fields into memory (bounded), the file part straight to disk."""

from __future__ import annotations

from collections.abc import Callable
from email.message import Message
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from airflow_provider_360dialog.emulator.rules import MAX_BYTES_BY_MIME, plain_mime

if TYPE_CHECKING:
    from airflow_provider_360dialog.emulator.storage import Spool

FIELD_MAX_BYTES = 4096


def boundary_of(content_type: str) -> str | None:
    """Return the boundary of a multipart content type, `None` for any other."""
    message = Message()
    message["content-type"] = content_type
    if message.get_content_type() != "multipart/form-data":
        return None
    boundary = message.get_param("boundary")
    return boundary if isinstance(boundary, str) and boundary else None


def _names_in(disposition: str) -> tuple[str, str | None]:
    message = Message()
    message["content-disposition"] = disposition
    name = message.get_param("name", "", "content-disposition")
    return str(name), message.get_filename()


class UploadForm:
    """The form of one upload.

    A file whose type is refused or whose size passes its limit is read to the end but not kept, so that the sender hears
    the answer.

    Attributes:
        fields: Text fields by name.
        mime_type: Content type of the file part as sent, `None` until one was seen.
        file_name: File name of that part.
        size_bytes: Length of the file part, kept or not.
        spool: The bytes, `None` if they are not kept.
        is_whole: Whether the closing boundary has arrived.
    """

    def __init__(self, boundary: str, open_spool: Callable[[], Spool]) -> None:
        self.fields: dict[str, str] = {}
        self.mime_type: str | None = None
        self.file_name = ""
        self.size_bytes = 0
        self.spool: Spool | None = None
        self.is_whole = False
        self._open_spool = open_spool
        self._headers: dict[str, str] = {}
        self._header = (bytearray(), bytearray())
        self._field_name: str | None = None
        self._field = bytearray()
        self._in_file = False
        self._parser = MultipartParser(
            boundary.encode("latin-1"),
            {
                "on_part_begin": self._begin_part,
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._start_content,
                "on_part_data": self._take_content,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the request's body.

        Raises:
            ValueError: The body is not what its boundary promises.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise ValueError(str(error)) from error

    def discard(self) -> None:
        """Remove what was kept of the file."""
        if self.spool is not None:
            self.spool.discard()
            self.spool = None

    def _begin_part(self) -> None:
        self._headers = {}
        self._field_name, self._in_file = None, False

    def _end_header(self) -> None:
        name, value = self._header
        self._headers[name.decode("latin-1").lower()] = value.decode("utf-8", "replace")
        self._header = (bytearray(), bytearray())

    def _start_content(self) -> None:
        name, file_name = _names_in(self._headers.get("content-disposition", ""))
        if name == "file" and self.mime_type is None:
            self._in_file = True
            self.file_name = file_name or ""
            self.mime_type = self._headers.get("content-type", "application/octet-stream")
            if plain_mime(self.mime_type) in MAX_BYTES_BY_MIME:
                self.spool = self._open_spool()
        elif name != "file":
            self._field_name, self._field = name, bytearray()

    def _take_content(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._take_file(memoryview(data)[start:end])
        elif self._field_name is not None:
            self._field.extend(data[start:end])
            if len(self._field) > FIELD_MAX_BYTES:
                raise ValueError(f"form field longer than {FIELD_MAX_BYTES} bytes")

    def _take_file(self, content: memoryview) -> None:
        self.size_bytes += len(content)
        if self.spool is None:
            return
        limit = MAX_BYTES_BY_MIME[plain_mime(self.mime_type or "")]
        if limit is not None and self.size_bytes > limit:
            self.discard()
        else:
            self.spool.write(content)

    def _end_part(self) -> None:
        if self._field_name is not None:
            self.fields[self._field_name] = self._field.decode("utf-8", "replace")
        self._field_name, self._in_file = None, False

    def _end(self) -> None:
        self.is_whole = True
