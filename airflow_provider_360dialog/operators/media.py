"""The four calls as operators, one file each (delete: one id or many).

Arguments are stored untouched and judged in ``execute``, after templates are rendered. No argument takes an API key or a media
URL: rendered arguments are stored and shown by Airflow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow_provider_360dialog.exceptions import CallError
from airflow_provider_360dialog.operators.base import Dialog360Operator
from airflow_provider_360dialog.operators.summary import summing_up

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from airflow.sdk import Context, ObjectStoragePath


class Dialog360UploadMediaOperator(Dialog360Operator):
    """Judge a file by its content and upload it, unless the ledger has an id for it that is safe for long enough.

    XCom: ``media_id`` (digits, as text), ``sha256`` (hex), ``mime_type``, ``size_bytes`` (int), ``safe_until`` (ISO 8601, UTC),
    ``reused`` (bool: nothing was sent), ``receipt`` (what was changed, or None).

    Args:
        path: local path, ``file://`` or object storage URI (``s3://conn_id@bucket/key``), or an ``ObjectStoragePath``. Templated.
        mime_type, filename, kind: your word for them; the content decides and disagreement fails the task. Templated.
        valid_until: aware instant or ISO 8601 text until which the id must work; at most 29 days ahead. None: a week. Templated.
        reuse: whether an earlier upload of the same bytes and type may answer. False uploads in any case.
        prepare: mend a picture first where that is of use: turn it, remove its position, make it RGB, a PNG a JPEG, and small
            enough. Needs Pillow (``[media]``). The file itself is not touched.
        dialog360_conn_id: the number that uploads; media ids belong to it. Templated.

    Fails without retry where the file is unfit (all problems and remedies listed), unreadable, or refused by 360dialog.
    """

    template_fields: Collection[str] = ("path", "mime_type", "filename", "kind", "valid_until", "dialog360_conn_id")

    def __init__(
        self,
        *,
        path: str | ObjectStoragePath,
        mime_type: str | None = None,
        filename: str | None = None,
        kind: str | None = None,
        valid_until: datetime | str | None = None,
        reuse: bool = True,
        prepare: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.reuse = reuse
        self.prepare = prepare
        self.mime_type = mime_type
        self.filename = filename
        self.kind = kind
        self.valid_until = valid_until

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Upload; see the class for the result."""
        with self.as_airflow_sees_it(), summing_up("upload") as tell:
            uploaded = self.hook.upload(
                self.path,
                mime_type=self.mime_type or None,
                filename=self.filename or None,
                kind=self.kind or None,
                valid_until=self.valid_until or None,
                reuse=self.reuse,
                prepare=self.prepare,
            )
            names = ("media_id", "sha256", "mime_type", "size_bytes", "safe_until", "reused", "receipt")
            return tell({name: uploaded[name] for name in names})


class Dialog360FetchMediaUrlOperator(Dialog360Operator):
    """Ask 360dialog what it says of a media id.

    XCom: ``media_id``, ``mime_type``, ``sha256`` (hex), ``size_bytes`` (int), ``url_expires_at`` (ISO 8601, UTC); ``url`` only
    with ``return_url=True``.

    Args:
        media_id: digits, as text. Templated.
        return_url: put the download URL into XCom, where everybody who may read XComs can see it. It lives five minutes.
        ask_again: send the request even where the ledger knows that 360dialog has refused this id.
        dialog360_conn_id: the number that owns the id. Templated.

    Fails without retry where 360dialog does not know the id: asking again would cost the number's error budget.
    """

    template_fields: Collection[str] = ("media_id", "dialog360_conn_id")

    def __init__(self, *, media_id: str, return_url: bool = False, ask_again: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.media_id = media_id
        self.return_url = return_url
        self.ask_again = ask_again

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Fetch; see the class for the result."""
        with self.as_airflow_sees_it(), summing_up("fetch of a media URL") as tell:
            fetched = tell(self.hook.fetch_media(self.media_id, ask_again=self.ask_again))
        return {**fetched, "url": fetched.url.reveal()} if self.return_url else dict(fetched)


class Dialog360DownloadMediaOperator(Dialog360Operator):
    """Bring the file of a media id to its final name, verified and complete, or not at all.

    XCom: ``uri``, ``size_bytes`` (int), ``sha256`` (hex), ``mime_type``.

    Args:
        destination: local path or object storage URI of one file. Templated.
        media_id: digits, as text; the URL is fetched by the task itself. Templated.
        sha256: hex or base64 to check against, besides what 360dialog announces. Templated.
        overwrite: whether a file that stands there may be replaced.
        ask_again: ask for a URL even where the ledger knows that 360dialog has refused this id.
        dialog360_conn_id: the number that owns the id. Templated.
    """

    template_fields: Collection[str] = ("destination", "media_id", "sha256", "dialog360_conn_id")

    def __init__(
        self,
        *,
        destination: str | ObjectStoragePath,
        media_id: str,
        sha256: str | None = None,
        overwrite: bool = False,
        ask_again: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ask_again = ask_again
        self.destination = destination
        self.media_id = media_id
        self.sha256 = sha256
        self.overwrite = overwrite

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Download; see the class for the result."""
        with self.as_airflow_sees_it(), summing_up("download") as tell:
            return dict(
                tell(
                    self.hook.download(
                        self.destination,
                        media_id=self.media_id,
                        sha256=self.sha256 or None,
                        overwrite=self.overwrite,
                        ask_again=self.ask_again,
                    )
                )
            )


class Dialog360DeleteMediaOperator(Dialog360Operator):
    """Delete one media id or many.

    XCom: ``requested``, ``deleted``, ``missing`` (ints), ``dry_run`` (bool). A dry run sends nothing and counts ``deleted`` and
    ``missing`` as 0.

    Args:
        media_id: one id, or a list of them (also as a JSON list, which is how a template renders one). Templated.
        ignore_missing: an id that is gone already counts as done; False fails the task on it.
        dry_run: check and count the ids, and send nothing.
        force: delete also what a campaign needs whose ``needed_until`` lies ahead; False fails the task on it.
        dialog360_conn_id: the number that owns the ids. Templated.

    All ids are judged before the first is deleted. A task that failed half-way can simply run again.
    """

    template_fields: Collection[str] = ("media_id", "dialog360_conn_id")

    def __init__(
        self,
        *,
        media_id: str | list[str],
        ignore_missing: bool = True,
        dry_run: bool = False,
        force: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.media_id = media_id
        self.ignore_missing = ignore_missing
        self.dry_run_only = dry_run
        self.force = force

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Delete; see the class for the result."""
        from airflow_provider_360dialog.api.identity import check_media_id
        from airflow_provider_360dialog.hooks.cleanup import check_unneeded

        with self.as_airflow_sees_it(), summing_up("delete") as tell:
            media_ids = list(dict.fromkeys([check_media_id(each) for each in _listed(self.media_id)]))
            if len(media_ids) > 1 and not (self.force or self.dry_run_only):
                check_unneeded(self.hook, media_ids)
            deleted = missing = 0
            for media_id in [] if self.dry_run_only else media_ids:
                if self.hook.delete(media_id, ignore_missing=self.ignore_missing, force=self.force):
                    deleted += 1
                else:
                    missing += 1
            counts = {"requested": len(media_ids), "deleted": deleted, "missing": missing}
            return tell({**counts, "dry_run": self.dry_run_only})


def _listed(value: Any) -> list[Any]:
    """The ids of an argument that may be one id, a list, a lazy XCom sequence, or the text that a template made of a list."""
    if isinstance(value, str):
        text = value.strip()
        if not text.startswith("["):
            return [text]
        try:
            return list(json.loads(text.replace("'", '"')))
        except ValueError:
            raise CallError("media_id looks like a list but is not one; pass a list of ids, or its JSON.") from None
    return list(value) if isinstance(value, Iterable) else [value]
