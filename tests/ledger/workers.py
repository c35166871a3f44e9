"""What other processes do in the ledger's tests. Imported by name in each of them."""

from __future__ import annotations

import os
import threading
import time

from airflow_provider_360dialog.api.client import MediaApi
from airflow_provider_360dialog.jobs.calls import Calls
from airflow_provider_360dialog.jobs.upload import upload
from airflow_provider_360dialog.ledger.channel import ChannelLedger
from airflow_provider_360dialog.ledger.channels import Channels
from airflow_provider_360dialog.ledger.store import Store
from airflow_provider_360dialog.ledger.uploads import Claim
from airflow_provider_360dialog.ports import Channel, Timeouts
from tests.ledger.doubles import StampedSource, file_of, new_id


def warm_up(_):
    """Import everything, and say who did."""
    time.sleep(0.2)
    return os.getpid()


def open_it(url, at):
    """Open a ledger at an instant, as everybody else does; what it looks like."""
    _sleep_until(at)
    store = Store(url)
    store.open()
    with store.read() as db:
        return db.exec_driver_sql("SELECT value FROM d360_meta WHERE name = 'key_pepper'").scalar_one()


def adopt_all(url, number, contents, at):
    """Get an id for each content: adopt, else claim and complete. ``{content: (media id, whether it was sent)}``."""
    _sleep_until(at)
    ledger = _ledger(url, number)
    found = {}
    for content in contents:
        file = file_of(content)
        claimant = ledger.claimant()
        while content not in found:
            step = ledger.uploads.adopt(file) or ledger.uploads.claim(file, claimant)
            if isinstance(step, Claim):
                media_id = new_id()
                record = ledger.uploads.complete(step, file, media_id)
                assert record is not None
                found[content] = (media_id, True)
            elif hasattr(step, "media_id"):
                found[content] = (step.media_id, False)
            else:
                time.sleep(0.005)
    return found


def claim_only(url, number, content, at):
    """Claim a file and hold it: whether this process got the right."""
    _sleep_until(at)
    ledger = _ledger(url, number)
    return isinstance(ledger.uploads.claim(file_of(content), ledger.claimant()), Claim)


def upload_files(url, base_url, key, number, contents, at):
    """The whole job, over the wire: the media ids."""
    _sleep_until(at)
    api = MediaApi(Channel(api_key=key, base_url=base_url, timeouts=Timeouts(5.0, 5.0, 10.0)))
    calls = Calls(api, _ledger(url, number), stop=threading.Event())
    try:
        return [upload(StampedSource(content, stamp=None), calls=calls).media_id for content in contents]
    finally:
        api.close()


def _ledger(url, number):
    store = Store(url).open()
    identity = Channels(store).bind(api_key=f"key-{number}", conn_id="c", origin="https://h", phone_number_id=number)
    return ChannelLedger(store, lambda: identity)


def _sleep_until(at):
    time.sleep(max(0.0, at - time.time()))
