"""Operators for files before anything is sent: a gate that checks them, and the preparation of pictures. Of no number."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_360dialog.hooks.files import Files
from airflow_provider_360dialog.operators.summary import summing_up

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from airflow.sdk import Context, ObjectStoragePath


class _FilesOperator(BaseOperator):
    """Looks at files, and asks nobody."""

    ui_color = "#e3f6ec"

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)

    @cached_property
    def files(self) -> Files:
        """What can be done with files."""
        return Files()

    def on_kill(self) -> None:
        """Airflow is about to end the process."""
        self.files.stop()


class Dialog360CheckMediaOperator(_FilesOperator):
    """Judge files by their content, as an upload would: a gate that fails where too many are unfit, with a report for people.

    XCom: ``counts`` (files, ok, warned, bad, unreadable, prepared, by_code), ``report_uri``, ``json_uri`` (None without a
    report).

    Args:
        source: the URI of a manifest (``.jsonl``, ``.csv``), a folder, a glob, or a list of at most 1,000 items, as for a
            campaign's plan. Templated.
        report_uri: the folder for ``report.html`` (one page, complete in itself) and ``report.json``; None writes none.
            Templated.
        max_reject_ratio: share of the files, 0 to 1, that may be unfit before the task fails. Templated.
        decode: also decode pictures, sound and film in worker processes, as far as the extra ``[media]`` is installed. False
            looks at headers only, which is many times as fast.

    Fails without retry where more files are unfit; the report is written before.
    """

    template_fields: Collection[str] = ("source", "report_uri", "max_reject_ratio")

    def __init__(
        self,
        *,
        source: str | ObjectStoragePath | Sequence[Any],
        report_uri: str | ObjectStoragePath | None = None,
        max_reject_ratio: float | str = 0.0,
        decode: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.report_uri = report_uri
        self.max_reject_ratio = max_reject_ratio
        self.decode = decode

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Check; see the class for the result."""
        from airflow_provider_360dialog.hooks.waiting import as_airflow_sees_it

        with as_airflow_sees_it(), summing_up("check of files") as tell:
            found = self.files.check(
                self.source,
                report_uri=self.report_uri or None,
                max_reject_ratio=self.max_reject_ratio,
                decode=self.decode,
            )
            return tell(found)


class Dialog360PrepareMediaOperator(_FilesOperator):
    """Prepare pictures, and write a manifest that says for each item which file to send: the prepared one, or the source.

    Turned, freed of their position, made RGB with 8 bits, a PNG a JPEG, small enough. What has nothing to be mended is neither
    changed nor copied, and sources are never touched. What was prepared once is not prepared again.

    XCom: ``counts`` (items, prepared, unchanged, rejected), ``manifest_uri``, ``receipts_uri``, ``rejects_uri`` (the last two
    None where there is none).

    Args:
        source: the URI of a manifest (``.jsonl``, ``.csv``), a folder, a glob, or a list of at most 1,000 items, as for a
            campaign's plan. Templated.
        destination: the folder for prepared files and their receipts; not within ``source``. Templated.
        manifest_uri: of the manifest; receipts and rejects stand beside it. None: ``manifest.jsonl`` in ``destination``.
            Templated.
        max_reject_ratio: share of the items, 0 to 1, that may be unfit before the task fails. Templated.

    Needs Pillow (``[media]``) where it runs.
    """

    template_fields: Collection[str] = ("source", "destination", "manifest_uri", "max_reject_ratio")

    def __init__(
        self,
        *,
        source: str | ObjectStoragePath | Sequence[Any],
        destination: str | ObjectStoragePath,
        manifest_uri: str | ObjectStoragePath | None = None,
        max_reject_ratio: float | str = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.destination = destination
        self.manifest_uri = manifest_uri
        self.max_reject_ratio = max_reject_ratio

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Prepare; see the class for the result."""
        from airflow_provider_360dialog.hooks.waiting import as_airflow_sees_it

        with as_airflow_sees_it(), summing_up("preparation of pictures") as tell:
            found = self.files.prepare(
                self.source,
                self.destination,
                manifest_uri=self.manifest_uri or None,
                max_reject_ratio=self.max_reject_ratio,
            )
            return tell(found)
