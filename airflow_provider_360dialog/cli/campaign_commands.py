"""The commands of campaigns, channels and clean-ups, as data; what they do is in the modules that their handlers name."""

from __future__ import annotations

from typing import Final

from airflow_provider_360dialog.cli.offer import JSON, Command, hours, instant, option

_STATUS: Final = Command(
    "status",
    "how far a campaign is, what was rejected and why, until when its ids are safe; 0 only where it is complete",
    "status:status",
    (JSON, option("campaign", metavar="CAMPAIGN", help="its name")),
)

_CHANNELS: Final = Command(
    "channels",
    "pace, error budget, blocks and living ids of each number",
    "channels:channels",
    (JSON, option("--health", action="store_true", help="ask 360dialog for each key; costs no error budget")),
)

_PLAN: Final = Command(
    "plan",
    "judge every file of a campaign and put on record what has to be uploaded; sends no file",
    "plan:plan",
    (
        JSON,
        option("campaign", metavar="CAMPAIGN", help="its name"),
        option("source", metavar="SOURCE", help="a manifest (.jsonl, .csv), a folder or a glob; a path or a URI"),
        option(
            "--channel",
            action="append",
            required=True,
            metavar="CONN_ID",
            help="connection id of a number that it may use, once or more",
        ),
        option("--needed-until", type=instant, required=True, metavar="INSTANT", help="until when the ids must work"),
        option("--replicate", action="store_true", help="each item on every channel, whatever the manifest says"),
        option("--dry-run", action="store_true", help="look and count only; nothing is put on record"),
        option("--prepare", action="store_true", help="mend pictures first where that is of use; needs [media]"),
        option("--prepared-uri", metavar="PLACE", help="folder for the mended pictures (default: beside the source)"),
        option("--rejects-uri", metavar="PLACE", help="file for what was rejected (default: beside the source)"),
        option(
            "--max-reject-ratio",
            default="0.01",
            metavar="SHARE",
            help="share of the items, 0 to 1, that may be rejected (default: %(default)s)",
        ),
        option("--max-items", default="1000000", metavar="N", help="items that it may have (default: %(default)s)"),
        option("--max-bytes", metavar="N", help="bytes that its different files may have (default: any number)"),
    ),
)

_CLEANUP: Final = Command(
    "cleanup",
    "note which ids of a number have ended; plan the deletion of others, or carry a plan out",
    "cleanup:cleanup",
    (
        JSON,
        option("--conn-id", default="dialog360_default", metavar="CONN_ID", help="the number (default: %(default)s)"),
        option("--plan", metavar="PLACE", help="write a plan there: a path or an object storage URI"),
        option("--apply", metavar="PLACE", help="delete what the plan there names, and nothing else"),
        option(
            "--policy",
            choices=["expire_only", "delete_unreferenced", "delete_campaign", "erase_subject"],
            default="expire_only",
            help="what may be deleted (default: %(default)s, which deletes nothing)",
        ),
        option("--campaign", metavar="NAME", help="with delete_campaign"),
        option("--subject", metavar="SUBJECT", help="with erase_subject; - reads it from standard input"),
        option("--max-delete", metavar="N", help="ids (500) or share of the number's ids (0.05) that may be deleted"),
        option(
            "--grace",
            type=hours,
            default="24",
            metavar="HOURS",
            help="keep ids for so long after a campaign's end, upload and use (default: %(default)s)",
        ),
    ),
)

CAMPAIGN_COMMANDS: Final = (_STATUS, _CHANNELS, _PLAN, _CLEANUP)
