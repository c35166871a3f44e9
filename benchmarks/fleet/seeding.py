"""What was there before the fleet starts: campaigns of three weeks ago. Run by the fleet's own Python, as a script.

Arguments: a JSON list of [campaign, manifest, needed_until], and the connection ids.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

from airflow_provider_360dialog.hooks.campaigns import Campaigns
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook

CAMPAIGNS, CONN_IDS = json.loads(sys.argv[1]), sys.argv[2:]


def upload(conn_id: str) -> None:
    """All campaigns on one number."""
    for name, _, _ in CAMPAIGNS:
        Campaigns().upload(name, Dialog360Hook(conn_id))


for campaign, manifest, needed_until in CAMPAIGNS:
    Campaigns().plan(campaign, manifest, CONN_IDS, needed_until, assign="replicate")
with ThreadPoolExecutor(len(CONN_IDS)) as pool:
    list(pool.map(upload, CONN_IDS))
