"""What the emulator knows: numbers, keys, media, armed faults, and the last requests.

One event loop changes it; a test in another thread may read it and use the methods here.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from airflow_provider_360dialog.emulator.armory import Armory
from airflow_provider_360dialog.emulator.clock import MovableClock
from airflow_provider_360dialog.emulator.links import Links
from airflow_provider_360dialog.emulator.number import Number
from airflow_provider_360dialog.emulator.rules import extension_of, kind_of
from airflow_provider_360dialog.emulator.settings import Settings
from airflow_provider_360dialog.emulator.storage import Spool, Storage
from airflow_provider_360dialog.emulator.webhook import media_part, webhook

DEFAULT_NUMBER_ID = "100000000000001"
DEFAULT_DISPLAY_PHONE = "15550000001"
DEFAULT_KEY = "test-key"
LAST_REQUESTS = 2000


@dataclass(slots=True)
class Media:
    """One media id and where its bytes came from; the bytes lie in a file of the same name.

    Attributes:
        media_id: 15 or 16 digits.
        number_id: The number that it belongs to.
        mime_type: Content type as it came in.
        sha256_hex: Hash of the bytes.
        size_bytes: Length of the bytes.
        file_name: Name given by the uploader or sender.
        origin: `uploaded` or `received`.
        created_at_s: Birth on the movable clock, Unix seconds.
        expires_at_s: The id is refused from this instant on.
        deleted: Whether it was deleted.
    """

    media_id: str
    number_id: str
    mime_type: str
    sha256_hex: str
    size_bytes: int
    file_name: str
    origin: str
    created_at_s: float
    expires_at_s: float
    deleted: bool = False

    def summary(self) -> dict[str, Any]:
        """Return the media as a JSON object."""
        return asdict(self)

    def is_alive(self, now_s: float) -> bool:
        """Tell whether the id still works."""
        return not self.deleted and now_s < self.expires_at_s


class State:
    """The emulator's memory."""

    def __init__(self, settings: Settings | None = None, data_dir: Path | None = None) -> None:
        self.settings = settings or Settings()
        self.storage = Storage(data_dir)
        self.clock = MovableClock()
        self.links = Links()
        self.faults = Armory()
        self.numbers: dict[str, Number] = {}
        self.keys: dict[str, str] = {}
        self.media: dict[str, Media] = {}
        self.requests: deque[Any] = deque(maxlen=LAST_REQUESTS)
        self.strangers = 0
        for event in self.storage.replay():
            self._apply(event)
        self.storage.sweep({media.media_id for media in self.media.values() if not media.deleted})
        self._keep({"event": "secret", "secret": self.links.secret.hex()})

    def _keep(self, event: dict[str, Any]) -> None:
        self.storage.record(event)

    def _apply(self, event: dict[str, Any]) -> None:
        """Redo one journalled change."""
        fields = dict(event)
        match fields.pop("event"):
            case "secret":
                self.links = Links(bytes.fromhex(fields["secret"]))
            case "number":
                self._put_number(fields["number_id"], fields["display_phone"])
            case "key":
                self._put_key(fields["number_id"], fields["key"])
            case "health":
                self.numbers[fields["number_id"]].health = fields["health"]
            case "clock":
                self.clock.offset_s = fields["offset_s"]
            case "media":
                self.media[fields["media_id"]] = Media(**fields)
            case "deleted":
                self.media[fields["media_id"]].deleted = True

    def now_s(self) -> float:
        """Return the movable clock in Unix seconds."""
        return self.clock.now_s()

    def advance(self, seconds: float) -> float:
        """Move the clock forward and return the new instant."""
        now_s = self.clock.advance(seconds)
        self._keep({"event": "clock", "offset_s": self.clock.offset_s})
        return now_s

    def configure(self, **changes: Any) -> None:
        """Change settings; a new throttle policy leaves counted failures and a running block alone."""
        self.settings = self.settings.changed(changes)
        for number in self.numbers.values():
            number.throttle.policy = self.settings.policy

    def _put_number(self, number_id: str, display_phone: str) -> Number:
        number = Number(number_id, display_phone, self.settings.policy)
        self.numbers[number_id] = number
        return number

    def _put_key(self, number_id: str, key: str) -> None:
        for old in [old for old, owner in self.keys.items() if owner == number_id]:
            del self.keys[old]
        self.keys[key] = number_id

    def add_number(self, number_id: str, key: str, display_phone: str = DEFAULT_DISPLAY_PHONE) -> Number:
        """Add a phone number and its key.

        Raises:
            ValueError: The number exists, the key is taken, or one of them is empty.
        """
        if not number_id.isdigit() or number_id in self.numbers:
            raise ValueError(f"number_id {number_id!r} is not a new string of digits")
        self._check_key(key)
        number = self._put_number(number_id, display_phone)
        self._keep({"event": "number", "number_id": number_id, "display_phone": display_phone})
        self.rotate_key(number_id, key)
        return number

    def _check_key(self, key: str) -> None:
        if not key or key in self.keys:
            raise ValueError("a key must be new and not empty")

    def rotate_key(self, number_id: str, key: str) -> None:
        """Give a number a new key; its old one gets 401 from now on."""
        self._check_key(key)
        self.number(number_id)
        self._put_key(number_id, key)
        self._keep({"event": "key", "number_id": number_id, "key": key})

    def set_health(
        self,
        number_id: str,
        can_send_message: str = "AVAILABLE",
        *,
        additional_info: list[str] | None = None,
        errors: list[dict[str, Any]] | None = None,
    ) -> None:
        """Say what `GET /health_status` answers for a number."""
        health: dict[str, Any] = {"can_send_message": can_send_message}
        if additional_info:
            health["additional_info"] = additional_info
        if errors:
            health["errors"] = errors
        self.number(number_id).health = health
        self._keep({"event": "health", "number_id": number_id, "health": health})

    def number(self, number_id: str) -> Number:
        """Return a number.

        Raises:
            KeyError: There is no such number.
        """
        if number_id not in self.numbers:
            raise KeyError(f"no number {number_id}")
        return self.numbers[number_id]

    def key_of(self, number_id: str) -> str:
        """Return the key that a number has now."""
        return next(key for key, owner in self.keys.items() if owner == number_id)

    def number_of_key(self, key: str | None) -> Number | None:
        """Return the number that a key opens; with `any_key` an unknown key opens a new one."""
        if not key:
            return None
        number_id = self.keys.get(key)
        if number_id is None and self.settings.any_key:
            number_id = str(10**14 + int.from_bytes(hashlib.sha256(key.encode()).digest()[:5]))
            if number_id in self.numbers:  # the hash of a key that was rotated away
                return None
            return self.add_number(number_id, key)
        return None if number_id is None else self.numbers[number_id]

    def new_media_id(self) -> str:
        """Return an unused id of 15 or 16 digits."""
        while True:
            digits = 15 + secrets.randbelow(2)
            media_id = str(10 ** (digits - 1) + secrets.randbelow(9 * 10 ** (digits - 1)))
            if media_id not in self.media and not self.storage.path_of(media_id).exists():
                return media_id

    def keep_media(self, spool: Spool, *, number_id: str, mime_type: str, file_name: str, origin: str) -> Media:
        """Make a finished spool, whose file bears its id, a media id of a number."""
        now_s = self.now_s()
        settings = self.settings
        life_s = settings.uploaded_life_s if origin == "uploaded" else settings.received_life_s
        media = Media(
            media_id=spool.path.name,
            number_id=number_id,
            mime_type=mime_type,
            sha256_hex=spool.close(),
            size_bytes=spool.size_bytes,
            file_name=file_name,
            origin=origin,
            created_at_s=now_s,
            expires_at_s=now_s + life_s,
        )
        self.media[media.media_id] = media
        if origin == "uploaded":
            self.numbers[number_id].counters.uploads_by_sha256[media.sha256_hex] += 1
        self._keep({"event": "media", **asdict(media)})
        return media

    def find_media(self, media_id: str, number_id: str) -> Media | None:
        """Return a live media id of this number, else `None`; the bytes of a dead one are removed."""
        media = self.media.get(media_id)
        if media is None or media.number_id != number_id:
            return None
        if not media.is_alive(self.now_s()):
            self.storage.path_of(media_id).unlink(missing_ok=True)
            return None
        return media

    def delete_media(self, media: Media) -> None:
        """Delete a media id and its bytes."""
        media.deleted = True
        self.storage.path_of(media.media_id).unlink(missing_ok=True)
        self._keep({"event": "deleted", "media_id": media.media_id})

    def live_media(self, number_id: str | None = None) -> list[Media]:
        """Return every id that works now, oldest first."""
        now_s = self.now_s()
        found: Iterable[Media] = list(self.media.values())
        return [media for media in found if media.is_alive(now_s) and number_id in (None, media.number_id)]

    def counters(self, number_id: str, *, with_times: bool = False) -> dict[str, Any]:
        """Return the counters of a number as a JSON object."""
        alive = len(self.live_media(number_id))
        return self.number(number_id).summary(ids_alive=alive, now_s=self.now_s(), with_times=with_times)

    def reset_counters(self) -> None:
        """Start counting anew for every number, and forget the last requests."""
        self.strangers = 0
        self.requests.clear()
        for number in self.numbers.values():
            number.reset_counters()

    def last_requests(self, last: int) -> list[dict[str, Any]]:
        """Return the last requests as JSON objects, oldest first."""
        return [exchange.summary() for exchange in list(self.requests)[-last:]]

    def inject_webhook_media(
        self,
        content: bytes,
        *,
        mime_type: str,
        number_id: str,
        file_name: str | None = None,
        caption: str | None = None,
        with_url: bool = True,
        url_life_s: float | None = None,
        sender: str = "15551234567",
    ) -> dict[str, Any]:
        """Let a customer send a file, and return the webhook's JSON object.

        Args:
            content: The bytes.
            mime_type: Content type; may carry parameters (`audio/ogg; codecs=opus`).
            number_id: The receiving number.
            file_name: Name of a document.
            caption: Text below an image, video or document.
            with_url: Whether the webhook carries a `url`; it is optional on the wire.
            url_life_s: Seconds until that URL dies; may be negative. `None`: as long as any media URL.
            sender: The customer's number.
        """
        number = self.number(number_id)
        spool = self.storage.spool(self.new_media_id())
        spool.write(content)
        name = file_name or f"{spool.path.name}.{extension_of(mime_type)}"
        media = self.keep_media(spool, number_id=number_id, mime_type=mime_type, file_name=name, origin="received")
        url = None
        if with_url:
            life_s = self.settings.url_life_s if url_life_s is None else url_life_s
            expires_at_s = int(self.now_s() + life_s)
            url = self.links.issue(number_id=number_id, media_id=media.media_id, expires_at_s=expires_at_s)
        part = media_part(
            media_id=media.media_id,
            mime_type=mime_type,
            sha256_hex=media.sha256_hex,
            file_name=name,
            caption=caption,
            url=url,
        )
        return webhook(
            number_id=number.number_id,
            display_phone=number.display_phone,
            sender=sender,
            sent_at_s=int(media.created_at_s),
            kind=kind_of(mime_type),
            part=part,
        )

    def close(self) -> None:
        """Let go of files."""
        self.storage.close()
