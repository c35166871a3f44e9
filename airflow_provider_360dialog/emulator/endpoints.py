"""The five operations: each takes what a request said and returns the true answer."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from airflow_provider_360dialog.emulator.multipart import UploadForm, boundary_of
from airflow_provider_360dialog.emulator.rules import MAX_BYTES_BY_MIME, is_media_id, plain_mime, type_refusal
from airflow_provider_360dialog.emulator.shapes import (
    Answer,
    gateway_error,
    health_document,
    invalid_post_id,
    json_answer,
    media_document,
    meta_error,
    no_such_object,
    success,
)

if TYPE_CHECKING:
    from airflow_provider_360dialog.emulator.exchange import Exchange
    from airflow_provider_360dialog.emulator.number import Number
    from airflow_provider_360dialog.emulator.state import State

DOWNLOAD_PATH = "/whatsapp_business/attachments/"
_UNSAFE_IN_NAME = re.compile(r"[^A-Za-z0-9._ ()-]")


async def upload(state: State, number: Number, exchange: Exchange) -> Answer:
    """Take a file and give it a media id."""
    boundary = boundary_of(exchange.headers.get("content-type", ""))
    if boundary is None:
        await exchange.drain()
        return meta_error("(#100) The parameter messaging_product is required.")
    form = UploadForm(boundary, lambda: state.storage.spool(state.new_media_id()))
    try:
        async for chunk in exchange.body():
            form.feed(chunk)
        return _judge(state, number, form)
    except ValueError as error:
        await exchange.drain()
        return meta_error(f"(#100) Invalid parameter: {error}")
    finally:
        form.discard()


def _judge(state: State, number: Number, form: UploadForm) -> Answer:
    """Refuse a form, or store its file."""
    if not form.is_whole:
        return meta_error("(#100) Invalid parameter: the form ends early")
    if "messaging_product" not in form.fields:
        return meta_error("(#100) The parameter messaging_product is required.")
    if form.fields["messaging_product"] != "whatsapp":
        return meta_error("(#100) Param messaging_product must be one of {WHATSAPP}.")
    if form.mime_type is None:
        return meta_error("(#100) The parameter file is required.")
    mime_type = plain_mime(form.mime_type)
    if mime_type not in MAX_BYTES_BY_MIME:
        return meta_error(type_refusal(mime_type))
    if form.spool is None:
        limit = MAX_BYTES_BY_MIME[mime_type]
        return meta_error(f"(#100) Param file of {form.size_bytes} bytes exceeds {limit} bytes for '{mime_type}'.")
    spool, form.spool = form.spool, None
    media = state.keep_media(spool, number_id=number.number_id, mime_type=mime_type, file_name=form.file_name, origin="uploaded")
    return success({"id": media.media_id}, number.number_id)


def fetch(state: State, number: Number, media_id: str) -> Answer:
    """Answer a media URL for an id of this number."""
    media = state.find_media(media_id, number.number_id) if is_media_id(media_id) else None
    if media is None:
        return no_such_object(media_id)
    expires_at_s = int(state.now_s()) + state.settings.url_life_s
    url = state.links.issue(number_id=number.number_id, media_id=media_id, expires_at_s=expires_at_s)
    document = media_document(
        media_id=media_id,
        url=url,
        mime_type=media.mime_type,
        sha256_hex=media.sha256_hex,
        size_bytes=media.size_bytes,
    )
    return success(document, number.number_id)


def download(state: State, number: Number, query: str) -> Answer:
    """Answer the bytes behind a media URL of this number."""
    media_id = state.links.read(query, number_id=number.number_id, now_s=state.now_s())
    media = state.find_media(media_id, number.number_id) if media_id else None
    if media is None:
        return gateway_error(state.settings.error_shape, state.settings.lost_url_status, "Media not found")
    name = _UNSAFE_IN_NAME.sub("_", media.file_name) or media.media_id
    headers = [
        ("content-type", media.mime_type),
        ("content-disposition", f"inline;filename={name}"),
        ("accept-ranges", "bytes"),
        ("cache-control", "private, no-cache, no-store, must-revalidate"),
        ("etag", f'"{hashlib.sha1(media.sha256_hex.encode(), usedforsecurity=False).hexdigest()}"'),
    ]
    return Answer(200, state.storage.path_of(media.media_id), headers)


def delete(state: State, number: Number, media_id: str) -> Answer:
    """Delete an id of this number."""
    if not is_media_id(media_id):
        return invalid_post_id()
    media = state.find_media(media_id, number.number_id)
    if media is None:
        return no_such_object(media_id, "delete")
    state.delete_media(media)
    return success({"success": True}, number.number_id)


def health(number: Number) -> Answer:
    """Answer what a number can do."""
    return json_answer(health_document(number.number_id, number.health))
