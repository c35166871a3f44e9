"""What can be told of a ledger at a glance, as records. Instants are float seconds by the ledger's clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from airflow_provider_360dialog.ledger.bounded import Count, total

if TYPE_CHECKING:
    from airflow_provider_360dialog.ledger.campaign_runs import CampaignRun
    from airflow_provider_360dialog.ledger.progress import Progress

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some rows; when they were read (float seconds, the ledger's clock); where the next page begins, None for no more."""

    rows: tuple[T, ...]
    now: float
    after: str | None = None


@dataclass(frozen=True)
class ConnectionOverview:
    """A connection that speaks for a channel. Instants are float seconds.

    Attributes:
        used_at: when it was used last; None where nobody noted it.
        key_refused_at: when 360dialog refused its key (401) or what it asked for (403), and has accepted nothing since; None
            otherwise. key_refused_status: which of the two.
    """

    conn_id: str
    used_at: float | None
    key_refused_at: float | None = None
    key_refused_status: int | None = None


@dataclass(frozen=True)
class ChannelOverview:
    """One channel. Instants are float seconds; None means that there is none, or that it has passed.

    Attributes:
        phone_number_id: never shown whole: `ends_in` is what may be shown. frozen_because: why nothing may be sent for it.
        pace_per_s, line_per_s: uploads a second that are allowed now, and that are believed to hold.
        paused_until: no upload before. credits_left, credits: failed GETs that it can still afford, of how many.
        closed_until: no GET before. is_blocked: because a block was seen; else the error budget is spent.
        live: current ids that are safe now. dying: for each of the next 35 days, how many of them stop being safe.
    """

    row: int
    phone_number_id: str = field(repr=False)
    connections: tuple[ConnectionOverview, ...]
    frozen_because: str | None
    pace_per_s: float
    line_per_s: float
    paused_until: float | None
    credits_left: int
    credits: int
    closed_until: float | None
    is_blocked: bool
    live: Count
    dying: tuple[Count, ...]

    @property
    def ends_in(self) -> str:
        """The last two digits of its phone number id."""
        return self.phone_number_id[-2:]


@dataclass(frozen=True)
class CampaignChannelOverview:
    """A channel's part of a campaign.

    Attributes:
        eta_s: seconds until the last upload is sent, at the line; None where it is frozen.
        safe_until, safe_until_is_exact: as for the whole campaign.
    """

    row: int
    ends_in: str
    conn_id: str
    progress: Progress
    line_per_s: float
    paused_until: float | None
    is_frozen: bool
    eta_s: float | None
    safe_until: float | None = None
    safe_until_is_exact: bool = False


@dataclass(frozen=True)
class CampaignOverview:
    """One campaign. Instants are float seconds.

    Attributes:
        planned_at: when the last plan was complete; None while the first one runs. version: of its export; 0 before the first.
        good_until: until when an id has to be safe to count as done. progress: over all its channels.
        eta_s: seconds until the slowest channel is through, at the line; None where one of them is frozen.
        safe_until: the first instant at which an id that is done stops being safe; None where it was not asked for or nothing is
            done. safe_until_is_exact: else it is safe at least until then.
        channels: the most uploads first. has_all_channels: False where it has more than could be looked at.
        is_running: whether somebody plans or uploads for it now. runs: who does, and who did last; only where it was asked for.
    """

    row: int
    name: str
    needed_until: float
    planned_at: float | None
    version: int
    good_until: float
    progress: Progress
    eta_s: float | None
    safe_until: float | None
    safe_until_is_exact: bool
    channels: tuple[CampaignChannelOverview, ...]
    has_all_channels: bool
    is_running: bool = False
    runs: tuple[CampaignRun, ...] = ()


@dataclass(frozen=True)
class Reason:
    """Why an item was rejected, without paths and without numbers of persons."""

    code: str
    message: str
    remedy: str


@dataclass(frozen=True)
class Reject:
    """A rejected item, by a row number that says nothing of it. ``ends_in``: of its channel's number."""

    row: int
    ends_in: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class ReasonCount:
    """How many items were rejected for a code; message and remedy are those of one of them."""

    reason: Reason
    count: Count


@dataclass(frozen=True)
class InboundOverview:
    """What customers sent to one channel. Instants are float seconds.

    Attributes:
        overdue, urgent, soon, later: pending files whose life has ended; ends within a day; within three days; later.
        suspects: of these, files of batches that may be made up. suspect_batches: how many batches that are.
        oldest_received_at: of the pending; None where nothing is.
        lost: reason -> how many, in the newest `arrivals.RUNS` runs of the ledger.
    """

    row: int
    ends_in: str
    overdue: Count
    urgent: Count
    soon: Count
    later: Count
    suspects: Count
    suspect_batches: int
    oldest_received_at: float | None
    lost: dict[str, Count]

    @property
    def pending(self) -> Count:
        """All that is still to be archived."""
        return total((self.overdue, self.urgent, self.soon, self.later))
