"""One error of each leaf, with plausible facts: docs/errors.md shows their sentences."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_provider_360dialog import exceptions as e
from airflow_provider_360dialog.ports import Problem

ORIGIN = "https://waba-v2.360dialog.io"
UNKNOWN = "Unsupported get request. Object with ID '545466424653131' does not exist"
MACHINE = Problem(
    "extension_disagrees",
    "error",
    "The name ends in .jpg, but the content is a PNG image (image/png).",
    "Name it with .png, if this is the file that was meant.",
)

SAMPLES: tuple[e.Dialog360Error, ...] = (
    e.MediaRejectedError(name="summer.jpg", problems=[MACHINE]),
    e.UploadRefusedError(status=400, code=100, details="(#100) Param file must be a file with one of the following types: ..."),
    e.RequestRefusedError(operation="fetch", status=400, code=131000, details="Something went wrong"),
    e.MediaIdInvalidError(value="summer.jpg"),
    e.MediaUrlRefusedError(reason="example.com is not a media host"),
    e.MediaUrlHiddenError(),
    e.ValidityOutOfReachError(valid_until=datetime(2027, 1, 31, tzinfo=UTC), latest=datetime(2026, 12, 21, 8, tzinfo=UTC)),
    e.CampaignUnknownError(campaign="autumn vouchers"),
    e.CampaignTooLargeError(campaign="autumn vouchers", bound="max_items", limit=1_000_000),
    e.TooManyRejectsError(
        campaign="autumn vouchers",
        rejected=500,
        items=12_000,
        max_reject_ratio=0.01,
        rejects_uri="/data/autumn.jsonl.rejects.jsonl",
    ),
    e.TooManyUnfitFilesError(
        unfit=12, files=12_000, max_reject_ratio=0.0, report_uri="s3://aws_default@shop/reports/report.html"
    ),
    e.MediaReferencedError(media_id="545466424653131", campaigns=2, campaign="autumn vouchers"),
    e.CleanupPlanRefusedError(reason="it was made for another number than 106540352242922"),
    e.CleanupTooLargeError(planned=12_000, alive=14_000, max_delete=0.5),
    e.SourceUnreadableError(uri="/data/summer.jpg", reason="No such file or directory"),
    e.DestinationError(uri="/data/summer.jpg", reason="a file stands there already; pass overwrite=True to replace it"),
    e.DownloadTooLargeError(size_bytes=250_000_000, max_bytes=104_857_600),
    e.InboundTypeRefusedError(label="an HTML page"),
    e.ConnectionInvalidError(
        conn_id="dialog360_default",
        field="password",
        reason="it is empty. Put the number's D360-API-KEY here (360dialog Hub, 'Generate API key')",
    ),
    e.MediaToolsMissingError(tool="Pillow"),
    e.KeyRefusedError(operation="upload", details="Invalid api key"),
    e.AccessRefusedError(operation="upload", code=None, details="Forbidden"),
    e.RedirectRefusedError(operation="fetch", status=302, origin="https://example.com", reason="it is not the connection's host"),
    e.CertificateError(origin=ORIGIN, reason="self-signed certificate in certificate chain"),
    e.EndpointMissingError(operation="upload"),
    e.ChannelFrozenError(
        phone_number_id="106540352242922", reason="its key answers for number 106540352242999 now: the number has moved away"
    ),
    e.LedgerMissingError(place="/var/lib/airflow/dialog360/ledger.db"),
    e.LedgerRefusedError(
        place="/var/lib/airflow/dialog360/ledger.db",
        reason="SQLite is for one host, and CeleryExecutor runs tasks on many. "
        "Use PostgreSQL: set [dialog360] ledger_conn_id to an Airflow connection of type postgres",
    ),
    e.ThrottledError(
        operation="fetch", status=429, details="Too many failed requests", retry_at=datetime(2026, 11, 22, 15, 30, tzinfo=UTC)
    ),
    e.ChannelClosedError(
        operation="fetch", phone_number_id="106540352242922", retry_at=datetime(2026, 11, 22, 15, 30, tzinfo=UTC)
    ),
    e.UnreachableError(operation="upload", origin=ORIGIN, reason="Connection refused"),
    e.InterruptedExchangeError(operation="upload", origin=ORIGIN, reason="timed out (20 s without a byte)"),
    e.ServerError(operation="fetch", status=502, details="an HTML page"),
    e.AnswerUnreadableError(operation="upload", status=200, reason="it is empty"),
    e.SourceChangedError(uri="/data/summer.jpg"),
    e.WorkerUnavailableError(reason="Cannot allocate memory"),
    e.LedgerUnavailableError(place="postgresql://db:5432/dialog360", reason="OperationalError: connection refused"),
    e.CampaignIncompleteError(campaign="autumn vouchers", missing=12, rejected=2, items=12_000),
    e.StorageFailedError(uri="/data/summer.jpg", reason="No space left on device"),
    e.DownloadCorruptError(uri="/data/summer.jpg", reason="it has 512 bytes instead of 21022"),
    e.StoppedError(operation="upload"),
    e.InboundLostError(
        lost={"expired": 2, "gone": 1}, report_uri="s3://aws_default@inbox/archive/106540352242922/lost/2026-11-22-run-17.jsonl"
    ),
    e.MediaGoneError(media_id="545466424653131", operation="fetch", status=400, code=100, details=UNKNOWN),
    e.MediaUrlExpiredError(status=404),
)
