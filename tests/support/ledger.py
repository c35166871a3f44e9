"""A ledger for a test: a SQLite file of its own, one channel in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow_provider_360dialog.ledger.channel import ChannelLedger
from airflow_provider_360dialog.ledger.channels import Channels
from airflow_provider_360dialog.ledger.store import Store


def open_store(folder: Path, **options: Any) -> Store:
    """A new ledger in a folder."""
    return Store(f"sqlite:///{folder}/ledger.db", **options).open()


def channel_of(
    store: Store, number: str = "100000000000001", *, api_key: str = "test-key-of-the-ledger", **task: Any
) -> ChannelLedger:
    """A number's part of a ledger."""
    identity = Channels(store).bind(api_key=api_key, conn_id=f"conn_{number}", origin="https://h", phone_number_id=number)
    return ChannelLedger(store, lambda: identity, **task)
