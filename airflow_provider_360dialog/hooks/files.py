"""Files checked and prepared, for operators and for code of one's own: places from Airflow, the work from `jobs`.

Nothing is sent, and 360dialog is not asked.
"""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_360dialog.exceptions import CallError, TooManyUnfitFilesError
from airflow_provider_360dialog.hooks.arguments import share

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from airflow.sdk import ObjectStoragePath

    from airflow_provider_360dialog.media.decoding.deep import Deep

    Place = str | os.PathLike[str] | ObjectStoragePath
    Wanted = Place | Sequence[object]

log = logging.getLogger(__name__)


class Files:
    """What can be done with files before anything is sent."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def stop(self) -> None:
        """End as soon as possible; called when the task is told to end."""
        self._stop.set()

    def check(
        self,
        source: Wanted,
        *,
        report_uri: Place | None = None,
        max_reject_ratio: float | str = 0.0,
        decode: bool = True,
    ) -> dict[str, Any]:
        """Judge files as an upload would, and report.

        Args:
            source: a manifest, a folder, a glob or a list, as for `Campaigns.plan`.
            report_uri: the folder for ``report.html`` and ``report.json``; None writes none.
            max_reject_ratio: share of the files, 0 to 1, that may be unfit.
            decode: also decode pictures, sound and film, as far as the extra ``[media]`` is installed.

        Returns:
            ``counts`` (files, ok, warned, bad, unreadable, prepared, by_code), ``report_uri`` and ``json_uri`` (None where none
            was written).

        Raises:
            TooManyUnfitFilesError: more than ``max_reject_ratio``; the report is written before.
            CallError, SourceUnreadableError and others: see `airflow_provider_360dialog.exceptions`.
        """
        from airflow_provider_360dialog.hooks.manifests import input_at
        from airflow_provider_360dialog.hooks.places import source_at
        from airflow_provider_360dialog.jobs.check import CheckJob
        from airflow_provider_360dialog.jobs.report import Report

        ratio = share("max_reject_ratio", max_reject_ratio)
        given = input_at(source)
        places = None if report_uri is None else _Reports(report_uri, given.tree_uri)
        with ExitStack() as stack:
            look, not_looked_at = _look(stack, decode=decode)
            report = stack.enter_context(Report(source=given.uri, checked_at=datetime.now(UTC), not_looked_at=not_looked_at))
            CheckJob(source_at, look, self._stop).run(given.items(), report)
            counts = report.counts
            log.info("%s", counts.sentence())
            for code, count in sorted(counts.by_code.items(), key=lambda each: -each[1]):
                log.info("%d files: [%s]", count, code)
            if places is not None:
                places.write(report.html(), report.json_lines())
        html_uri, json_uri = (None, None) if places is None else (places.html_uri, places.json_uri)
        if counts.bad > ratio * counts.files:
            raise TooManyUnfitFilesError(unfit=counts.bad, files=counts.files, max_reject_ratio=ratio, report_uri=html_uri)
        return {"counts": asdict(counts), "report_uri": html_uri, "json_uri": json_uri}

    def prepare(
        self,
        source: Wanted,
        destination: Place,
        *,
        manifest_uri: Place | None = None,
        max_reject_ratio: float | str = 0.01,
    ) -> dict[str, Any]:
        """Prepare pictures, and write a manifest that says for each item which file to send: the prepared one, or the source.

        Args:
            source: a manifest, a folder, a glob or a list, as for `Campaigns.plan`.
            destination: the folder for prepared files; what stands there already is not made again.
            manifest_uri: of the manifest that is written; None: ``manifest.jsonl`` in ``destination``. Receipts and rejects go
                beside it, as JSON lines.
            max_reject_ratio: share of the items, 0 to 1, that may be unfit.

        Returns:
            ``counts`` (items, prepared, unchanged, rejected), ``manifest_uri``, ``receipts_uri`` and ``rejects_uri`` (None where
            there is none).

        Raises:
            TooManyUnfitFilesError: more than ``max_reject_ratio``; all is written before.
            MediaToolsMissingError: Pillow is not installed.
            CallError, SourceUnreadableError and others: see `airflow_provider_360dialog.exceptions`.
        """
        from airflow_provider_360dialog.hooks.lines import write_lines
        from airflow_provider_360dialog.hooks.listing import REJECTS_SUFFIX, lies_within
        from airflow_provider_360dialog.hooks.manifests import input_at
        from airflow_provider_360dialog.hooks.places import source_at
        from airflow_provider_360dialog.hooks.preparing import Preparer
        from airflow_provider_360dialog.jobs.prepare import PrepareJob, Writers

        ratio = share("max_reject_ratio", max_reject_ratio)
        given = input_at(source)
        if given.tree_uri is not None and lies_within(destination, given.tree_uri):
            raise CallError("destination lies within source, so its files would be prepared again; give a folder elsewhere.")
        manifest = f"{str(destination).rstrip('/')}/manifest.jsonl" if manifest_uri is None else str(manifest_uri)
        written: dict[str, str] = {}

        def write(name: str, place: str, lines: Iterator[str]) -> None:
            write_lines(place, lines)
            written[name] = place

        writers = Writers(
            manifest=partial(write, "manifest_uri", manifest),
            receipts=partial(write, "receipts_uri", f"{manifest}.receipts.jsonl"),
            rejects=partial(write, "rejects_uri", f"{manifest}{REJECTS_SUFFIX}"),
        )
        with Preparer(destination) as preparing:
            counts = PrepareJob(source_at, preparing, self._stop).run(given.items(), writers)
        if counts.rejected > ratio * counts.items:
            raise TooManyUnfitFilesError(
                unfit=counts.rejected, files=counts.items, max_reject_ratio=ratio, report_uri=written.get("rejects_uri")
            )
        places = {name: written.get(name) for name in ("manifest_uri", "receipts_uri", "rejects_uri")}
        return {"counts": asdict(counts), **places}


def _look(stack: ExitStack, *, decode: bool) -> tuple[Callable[..., Deep], str | None]:
    """How files are looked at; and in one sentence what cannot be looked at, None where that is nothing."""
    from airflow_provider_360dialog.jobs.report import THUMBNAIL_PX
    from airflow_provider_360dialog.media.decoding.deep import inspect_deeply, inspect_headers, not_looked_at
    from airflow_provider_360dialog.media.decoding.workshop import Workshop

    if not decode:
        return inspect_headers, not_looked_at(decode=False)
    workshop = stack.enter_context(Workshop())
    return partial(inspect_deeply, workshop=workshop, thumbnail_px=THUMBNAIL_PX), not_looked_at()


class _Reports:
    """Where the two reports go: beside each other, and not among the files that are looked at.

    Args:
        folder: for both. tree_uri: of the folder that is looked at, or None.
    """

    def __init__(self, folder: Place, tree_uri: str | None) -> None:
        from airflow_provider_360dialog.hooks.listing import lies_within

        if tree_uri is not None and lies_within(folder, tree_uri):
            raise CallError("report_uri lies within source, so the next check would look at the report; give a folder elsewhere.")
        base = str(folder).rstrip("/")
        self.html_uri, self.json_uri = f"{base}/report.html", f"{base}/report.json"

    def write(self, html: str, json_lines: Iterator[str]) -> None:
        """Write both; what stands there is replaced."""
        from airflow_provider_360dialog.hooks.lines import write_lines

        write_lines(self.json_uri, json_lines)
        write_lines(self.html_uri, html.splitlines())
