"""What Airflow's lineage is told: which files went to which number, and back.

It is collected in the hook, so a ``@task`` of one's own is covered too. Lineage leaves the installation: it has places of files
and phone number ids, never a media id, a key, a media URL, the name of a connection or of a campaign.
"""

from __future__ import annotations

import logging
import posixpath
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from airflow_provider_360dialog.hooks.places import local_path, shown_uri

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.sdk import Asset

log = logging.getLogger(__name__)

SCHEME: Final = "dialog360"
CAMPAIGNS_URI: Final = f"{SCHEME}://campaigns"
"""The campaigns on record in the ledger."""
_MOST_FILES: Final = 50
_SAFE: Final = "/:@%!$&'()*+,;=~[]"


def media_uri(phone_number_id: str) -> str:
    """All media of one number. The id is Meta's name for the number, not the telephone number."""
    return f"{SCHEME}://{phone_number_id}/media"


def note(who: Any, *, read: Iterable[object] = (), wrote: Iterable[object] = ()) -> None:
    """Tell Airflow's collector what was read and written; quietly, and only where somebody reads it.

    Airflow takes a hundred places of each kind from one task, so after fifty a file stands for its folder.

    Args:
        who: the hook, or whatever stands for it.
        read, wrote: paths, ``file://`` and object storage URIs, ``ObjectStoragePath``, and `media_uri`. None: nothing.
    """
    try:
        from airflow.sdk.lineage import NoOpCollector, get_hook_lineage_collector

        collector = get_hook_lineage_collector()
        if isinstance(collector, NoOpCollector):
            return
        found = collector.collected_assets
        for place in read:
            if place is not None:
                collector.add_input_asset(who, uri=_uri_of(place, among=len(found.inputs)))
        for place in wrote:
            if place is not None:
                collector.add_output_asset(who, uri=_uri_of(place, among=len(found.outputs)))
    except Exception:  # lineage is a courtesy
        log.debug("lineage was not collected", exc_info=True)


def _uri_of(place: object, *, among: int) -> str:
    """The URI of a place, in the form that lineage of other providers has: no connection, no query, in ASCII."""
    text = str(place)
    if text.startswith(f"{SCHEME}://"):
        return text
    local = None
    with suppress(ValueError):
        local = local_path(place)
    if local is not None:
        return (local if among < _MOST_FILES or text.endswith("/") else local.parent).as_uri()
    scheme, _, rest = shown_uri(text).partition("://")
    if among >= _MOST_FILES and not rest.endswith("/"):
        rest = posixpath.dirname(rest)
    return f"{scheme}://{quote(rest.rstrip('/'), safe=_SAFE)}"


def place_of(source: object) -> object | None:
    """The place that a source of items or webhooks is; None for a list or a payload. A glob stands for the folder before it."""
    if not isinstance(source, str | Path) and not hasattr(source, "protocol"):
        return None
    text = str(source)
    if text.lstrip()[:1] in {"", "{", "["}:
        return None
    wild = min((text.find(mark) for mark in "*?" if mark in text), default=-1)
    return source if wild < 0 else text[: text.rfind("/", 0, wild) + 1] or "./"


def to_openlineage(asset: Asset, lineage_context: Any) -> Any:  # noqa: ARG001 - the signature of Airflow's converters
    """An Asset of our scheme as OpenLineage's dataset: ``dialog360``, ``<phone number id>/media`` or ``campaigns``."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    parts = urlsplit(asset.uri)
    return Dataset(namespace=SCHEME, name=f"{parts.netloc}{parts.path}".rstrip("/"))
