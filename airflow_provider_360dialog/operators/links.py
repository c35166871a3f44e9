"""Links that Airflow shows beside a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

HUB_URL: Final = "https://hub.360dialog.com"


class Dialog360HubLink(BaseOperatorLink):
    """To 360dialog's own pages, where a number's key is made and its state is shown. The same address for all numbers."""

    name = "360dialog Hub"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's signature
        """Its address."""
        return HUB_URL


class Dialog360CampaignLink(BaseOperatorLink):
    """To the campaign's page among the media pages. Airflow's own address has to be known where the task runs."""

    name = "Campaign"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's signature
        """Its address; empty where the task is of no campaign."""
        campaign = getattr(operator, "campaign", None)
        if not campaign:
            return ""
        return f"{conf.get('api', 'base_url', fallback='').rstrip('/')}/dialog360/campaign?{urlencode({'name': str(campaign)})}"
