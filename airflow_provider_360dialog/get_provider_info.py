"""What Airflow reads about this package: its name, modules, and the form of its connection.

Every Airflow command of an installation calls `get_provider_info`, so this module imports nothing of ours and nothing of
Airflow's. What a field of the connection means and how it is checked, the hook knows; here is only what a form can say.
"""

from __future__ import annotations

from typing import Any

_HOOK_MODULE = "airflow_provider_360dialog.hooks.dialog360"
_INTEGRATION = "360dialog"


def get_provider_info() -> dict[str, Any]:
    """The provider's description, in the shape of Airflow's ``provider_info.schema.json``.

    Returns:
        A new dictionary. ``connection-types`` uses ``conn-fields`` and ``ui-field-behaviour``, which Airflow reads since 3.2.
    """
    return {
        "package-name": "airflow-provider-360dialog",
        "name": "360dialog",
        "description": "Upload, fetch, download and delete `WhatsApp media at 360dialog <https://docs.360dialog.com/>`__.",
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://docs.360dialog.com/",
                "tags": ["service"],
            }
        ],
        "hooks": [{"integration-name": _INTEGRATION, "python-modules": [_HOOK_MODULE]}],
        "operators": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": [
                    "airflow_provider_360dialog.operators.media",
                    "airflow_provider_360dialog.operators.campaigns",
                    "airflow_provider_360dialog.operators.cleanup",
                    "airflow_provider_360dialog.operators.inbound",
                    "airflow_provider_360dialog.operators.files",
                ],
            }
        ],
        "extra-links": [
            "airflow_provider_360dialog.operators.links.Dialog360HubLink",
            "airflow_provider_360dialog.operators.links.Dialog360CampaignLink",
        ],
        "asset-uris": [
            {
                "schemes": ["dialog360"],
                "handler": None,  # without this key Airflow skips the entry
                "to_openlineage_converter": "airflow_provider_360dialog.hooks.lineage.to_openlineage",
            }
        ],
        "cli": ["airflow_provider_360dialog.cli.commands.airflow_commands"],
        "sensors": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": [
                    "airflow_provider_360dialog.sensors.retrieval",
                    "airflow_provider_360dialog.sensors.campaign",
                    "airflow_provider_360dialog.sensors.inbound",
                ],
            }
        ],
        "connection-types": [
            {
                "connection-type": "dialog360",
                "hook-class-name": f"{_HOOK_MODULE}.Dialog360Hook",
                "hook-name": "360dialog",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "login", "port"],
                    "relabeling": {"password": "API key", "host": "Base URL"},
                    "placeholders": {
                        "password": "The D360-API-KEY of one WhatsApp number",
                        "host": "https://waba-v2.360dialog.io",
                        "phone_number_id": "106540352242922",
                        "extra_download_hosts": "media.example.com, cdn.example.com",
                        "ca_bundle": "/etc/ssl/private-ca.pem",
                        "proxy": "http://proxy.example.com:3128",
                    },
                },
                "conn-fields": _connection_fields(),
            }
        ],
        "plugins": [{"name": "dialog360", "plugin-class": "airflow_provider_360dialog.ui.plugin.Dialog360Plugin"}],
        "config": {
            "dialog360": {
                "description": "Where the provider remembers media ids and rations calls: the ledger.",
                "options": {
                    "ledger_conn_id": _option(
                        "Airflow connection (type postgres) of the ledger's PostgreSQL database. Needed as soon as tasks run on "
                        "more than one host. Empty: a SQLite file.",
                        "string",
                        example="dialog360_ledger",
                    ),
                    "ledger_path": _option(
                        "Absolute path of the ledger's SQLite file, on a local disk. Empty: dialog360/ledger.db in AIRFLOW_HOME.",
                        "string",
                        example="/var/lib/airflow/dialog360/ledger.db",
                    ),
                    "allow_single_host_ledger": _option(
                        "Use SQLite although the executor or Kubernetes suggests several hosts. Right only where every task that "
                        "uses the provider runs on one host.",
                        "boolean",
                        default="False",
                    ),
                },
            }
        },
    }


def _connection_fields() -> dict[str, dict[str, Any]]:
    """The fields that Airflow stores in the connection's ``extra``, in the order of the form."""
    return {
        "phone_number_id": _field(
            "Phone number ID",
            "The number's id at Meta: digits, not the telephone number. Empty: 360dialog is asked for it.",
            type=["string", "null"],
            pattern="^[0-9]{1,32}$",
        ),
        "throttle_policy": _field(
            "Throttle policy",
            "Which of 360dialog's two published limits on failed media requests to stay under. strict: 5 in an hour, then an "
            "hour's block. documented: 20 in an hour, then half an hour's block.",
            type="string",
            enum=["strict", "documented"],
            default="strict",
        ),
        "uploads_per_second": _field(
            "Uploads per second",
            "This Airflow's share of the number's 25 uploads a second. Lower it where another system uploads for the same "
            "number. Empty: 24.5.",
            type=["number", "null"],
            minimum=0,  # what the form's arrows stop at; the next line is the rule
            exclusiveMinimum=0,
            maximum=24.5,
        ),
        "error_budget": _field(
            "Error budget",
            "How many fetches and downloads may fail in an hour before this Airflow sends no more of them. Lower it where "
            "another system reads media of the same number. Empty: what the throttle policy allows.",
            type=["integer", "null"],
            minimum=1,
        ),
        "count_failed_uploads": _field(
            "Count failed uploads",
            "Let refused uploads use up the error budget too. 360dialog says that they do not count.",
            type="boolean",
            default=False,
        ),
        "extra_download_hosts": _field(
            "Extra download hosts",
            "Further hosts whose media URLs are accepted, by name, separated by commas or spaces. Empty: Meta's media host only.",
            type=["string", "null"],
        ),
        "connect_timeout_s": _field(
            "Connect timeout (s)",
            "Seconds for a connection to be made.",
            type="number",
            minimum=0,
            exclusiveMinimum=0,
            default=10,
        ),
        "idle_timeout_s": _field(
            "Idle timeout (s)",
            "Seconds without a byte after which an answer counts as lost.",
            type="number",
            minimum=0,
            exclusiveMinimum=0,
            maximum=600,
            default=20,
        ),
        "total_timeout_s": _field(
            "Total timeout (s)",
            "Seconds for a whole small exchange. Files get more time, by their size.",
            type="number",
            minimum=0,
            exclusiveMinimum=0,
            maximum=3600,
            default=30,
        ),
        "ca_bundle": _field(
            "CA bundle",
            "Path of a PEM file, on the workers, with the certificate authorities to trust. Empty: the usual ones.",
            type=["string", "null"],
        ),
        "proxy": _field(
            "Proxy",
            "URL of an HTTP proxy to go through. Empty: none; proxy variables of the environment are not used.",
            type=["string", "null"],
        ),
        "allow_insecure_host": _field(
            "Allow insecure host",
            "Allow a base URL with plain http that is not this machine. The API key then crosses the network unprotected: for an "
            "emulator only.",
            type="boolean",
            default=False,
        ),
    }


def _field(label: str, description: str, **schema: object) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": schema}


def _option(description: str, type_: str, *, default: str | None = None, example: str | None = None) -> dict[str, Any]:
    return {"description": description, "version_added": "0.1.0", "type": type_, "example": example, "default": default}
