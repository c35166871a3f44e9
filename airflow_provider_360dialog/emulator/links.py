"""Media URLs: signed, bound to a number, short-lived, and forgotten at once.

The signature carries everything, so millions of URLs cost no memory and survive a restart with the same secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from urllib.parse import parse_qs

URL_PREFIX = "https://lookaside.fbsbx.com/whatsapp_business/attachments/"
_NONCE_BYTES = 8
_MAC_BYTES = 25


class Links:
    """Issues and judges media URLs."""

    def __init__(self, secret: bytes | None = None) -> None:
        self.secret = secret or secrets.token_bytes(32)

    def issue(self, *, number_id: str, media_id: str, expires_at_s: int) -> str:
        """Return a fresh URL on the lookaside host; no two are equal."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        signature = self._sign(nonce, number_id, media_id, str(expires_at_s))
        return f"{URL_PREFIX}?mid={media_id}&ext={expires_at_s}&hash={signature}"

    def read(self, query: str, *, number_id: str, now_s: float) -> str | None:
        """Return the media id of a valid, unexpired query of this number, else `None`.

        The order of the parameters does not matter: clients have been recorded that change it.
        """
        fields = parse_qs(query, keep_blank_values=True)
        values = [fields.get(name, [""]) for name in ("mid", "ext", "hash")]
        if any(len(value) != 1 for value in values):
            return None
        media_id, expires_at, signature = (value[0] for value in values)
        try:
            nonce = base64.urlsafe_b64decode(signature[2:] + "=" * (-len(signature[2:]) % 4))[:_NONCE_BYTES]
            in_time = now_s < int(expires_at)
        except ValueError:
            return None
        genuine = hmac.compare_digest(signature.encode(), self._sign(nonce, number_id, media_id, expires_at).encode())
        return media_id if genuine and in_time else None

    def _sign(self, nonce: bytes, *parts: str) -> str:
        mac = hmac.new(self.secret, nonce + "|".join(parts).encode(), hashlib.sha256).digest()[:_MAC_BYTES]
        return "AT" + base64.urlsafe_b64encode(nonce + mac).decode().rstrip("=")
