"""The operator that archives what customers send.

What has to be done is in the ledger, so a task can be killed, retried, cleared or run twice at once: nothing is archived twice,
and nothing is asked for that 360dialog has refused.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from airflow_provider_360dialog.operators.base import Dialog360Operator
from airflow_provider_360dialog.operators.summary import summing_up

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Literal

    from airflow.sdk import Context, ObjectStoragePath


class Dialog360ArchiveInboundMediaOperator(Dialog360Operator):
    """Bring the files that customers sent to one number into a folder of your own, before they vanish after seven days.

    First the webhooks of ``source`` are put on record. Then everything that is pending for the number is archived, also what
    earlier runs left: what ends within a day first, then the youngest, then what failed before. Size and sha256 are checked, and
    the file takes its name, ``<number>/<yyyy>/<mm>/<dd>/<media id>-<sha8><extension of its true type>``, only when it is whole.
    The number is never blocked: where its error budget is spent, the task waits without a slot until it opens, and goes on.

    XCom: ``counts`` (taken_in, archived, bytes, lost, pending, suspects, not_deleted), ``lost`` (reason -> number; reasons are
    expired, gone, no_id, corrupt, refused_type, too_large), ``lost_uri`` (JSON lines with each of them, or None),
    ``oldest_pending_s`` (int or None), ``budget_left`` (int), ``webhooks`` (what was read).

    Args:
        source: where webhooks were landed: the URI of a file (JSON, or one webhook a line; also .gz), of a folder or a glob; or a
            payload: a mapping, a list, ``{{ dag_run.conf | tojson }}``, the output of a task; or an ``Asset``: the events of it
            that triggered the run, each with a ``uri`` or a payload as its extra. Templated.
        destination: a folder: path or object storage URI. Templated.
        on_lost: ``report``: the task succeeds, and says what is lost; ``fail``: it fails after all the rest is done.
        delete_after_archive: delete 360dialog's copy once ours stands.
        write_metadata: write a JSON file beside each, with what the webhook says of it. It names the sender.
        webhook_url_life: how long after its message a webhook's own URL may be tried that does not say when it ends.
        also_accept: MIME types that are archived besides those that WhatsApp lists for media, such as ``application/zip``.
            Customers can send any file as a document; without this, others are lost with ``refused_type``.
        dialog360_conn_id: the number. Templated.
    """

    template_fields: Collection[str] = ("source", "destination", "dialog360_conn_id")

    def __init__(
        self,
        *,
        source: str | ObjectStoragePath | Mapping[str, Any] | Sequence[Any] | Asset | None,
        destination: str | ObjectStoragePath,
        on_lost: Literal["report", "fail"] = "report",
        delete_after_archive: bool = False,
        write_metadata: bool = False,
        webhook_url_life: timedelta = timedelta(minutes=5),
        also_accept: Collection[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.destination = destination
        self.on_lost = on_lost
        self.delete_after_archive = delete_after_archive
        self.write_metadata = write_metadata
        self.webhook_url_life = webhook_url_life
        self.also_accept = also_accept

    def execute(self, context: Context) -> dict[str, Any]:
        """Archive; see the class for the result."""
        with self.as_airflow_sees_it(), summing_up("archive of what customers sent") as tell:
            found = self.hook.archive_inbound(
                _events_of(self.source, context) if isinstance(self.source, Asset) else self.source,
                self.destination,
                on_lost=self.on_lost,
                delete_after_archive=self.delete_after_archive,
                write_metadata=self.write_metadata,
                webhook_url_life=self.webhook_url_life,
                also_accept=self.also_accept,
            )
            return tell(found)


def _events_of(asset: Asset, context: Context) -> list[Any]:
    """The extras of the events that triggered this run."""
    events: Any = context.get("triggering_asset_events") or {}
    return [event.extra for event in events.get(asset, ())]
