"""Wait until a campaign is ready to be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_360dialog.hooks.campaigns import Campaigns
from airflow_provider_360dialog.sensors.base import LedgerSensor

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime


class Dialog360CampaignReadySensor(LedgerSensor):
    """Until every item of a campaign has a media id that is safe for long enough, on all its channels. Reads the ledger only.

    Rejected items are missing items: mend them and plan again, or export with ``require_complete=False`` instead.

    Args:
        campaign: its name. Templated.
        min_valid_until: aware instant, or ISO 8601 text, until which an id has to be safe; None: as the campaign needs.
            Templated.
        deferrable: wait in the triggerer between two looks; False gives the slot back and is run again.
    """

    template_fields: Collection[str] = ("campaign", "min_valid_until")

    def __init__(self, *, campaign: str, min_valid_until: datetime | str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.campaign = campaign
        self.min_valid_until = min_valid_until

    def is_over(self) -> bool:
        """Whether it is ready now."""
        found = Campaigns().readiness(self.campaign, min_valid_until=self.min_valid_until or None)
        self.log.info("campaign %r: %d of %d items are ready", self.campaign, found.rows, found.items)
        return found.is_complete
