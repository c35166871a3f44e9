"""Wait until a campaign is ready to be sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout

from airflow_provider_360dialog.exceptions import Dialog360Error
from airflow_provider_360dialog.hooks.campaigns import Campaigns

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow.sdk import Context


class Dialog360CampaignReadySensor(BaseSensorOperator):
    """Until every item of a campaign has a media id that is safe for long enough, on all its channels. Reads the ledger only.

    Rejected items are missing items: mend them and plan again, or export with ``require_complete=False`` instead.

    Args:
        campaign: its name. Templated.
        min_valid_until: aware instant, or ISO 8601 text, until which an id has to be safe; None: as the campaign needs.
            Templated.
        deferrable: wait in the triggerer between two looks; False gives the slot back and is run again.
    """

    template_fields: Collection[str] = ("campaign", "min_valid_until")
    ui_color = "#e3f6ec"

    def __init__(
        self,
        *,
        campaign: str,
        min_valid_until: datetime | str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("mode", "reschedule")
        super().__init__(**kwargs)
        self.campaign = campaign
        self.min_valid_until = min_valid_until
        self.deferrable = deferrable

    def execute(self, context: Context) -> Any:
        """Poke; or, deferrable, look, and look again after ``poke_interval``."""
        if not self.deferrable:
            return super().execute(context)
        return self._look(context, datetime.now(UTC))

    def resume(self, context: Context, event: Any = None, *, began_at: str | None = None) -> Any:  # noqa: ARG002 - Airflow's
        """Look again; ``timeout`` runs from the first look on."""
        return self._look(context, datetime.fromisoformat(began_at) if began_at else datetime.now(UTC))

    def _look(self, context: Context, began_at: datetime) -> None:
        if self.poke(context):
            return
        left = began_at + timedelta(seconds=self.timeout) - datetime.now(UTC)
        if left <= timedelta(0):
            raise AirflowSensorTimeout(f"Campaign {self.campaign!r} was not ready within {self.timeout:.0f} s.")
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        self.defer(
            trigger=DateTimeTrigger(moment=datetime.now(UTC) + timedelta(seconds=self.poke_interval)),
            method_name="resume",
            kwargs={"began_at": began_at.isoformat()},
            timeout=left,
        )

    def poke(self, context: Context) -> bool:  # noqa: ARG002 - Airflow's signature
        """Whether it is ready now."""
        try:
            found = Campaigns().readiness(self.campaign, min_valid_until=self.min_valid_until or None)
        except Dialog360Error as error:
            if error.retryable:
                raise
            raise AirflowFailException(str(error)) from error
        self.log.info("campaign %r: %d of %d items are ready", self.campaign, found.rows, found.items)
        return found.is_complete
