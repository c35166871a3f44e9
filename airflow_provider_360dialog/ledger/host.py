"""SQLite is for one host. What can be seen of more than one is refused here, with the way out: PostgreSQL."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from airflow_provider_360dialog.exceptions import LedgerRefusedError
from airflow_provider_360dialog.ledger import schema

_OCTAL = re.compile(r"\\([0-7]{3})")
ACTIVE_S: Final = 300.0
_REMEDY: Final = "Use PostgreSQL: set [dialog360] ledger_conn_id to an Airflow connection of type postgres"
_NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        "nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "ceph", "glusterfs", "fuse.glusterfs",
        "lustre", "gpfs", "ocfs2", "gfs2", "beegfs", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.blobfuse",
        "fuse.blobfuse2", "fuse.juicefs", "fuse.rclone", "fuse.ceph", "fuse.ceph-fuse", "fuse.mount-s3", "davfs", "fuse.davfs2",
    }
)  # fmt: skip


def check_file_system(path: Path, *, mounts: str | None = None) -> None:
    """Refuse a SQLite file on a network file system, where its locks do not hold.

    Args:
        path: of the file, which need not exist. mounts: text in the form of ``/proc/mounts``; None reads it.

    Raises:
        LedgerRefusedError: it lies on one.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/mounts").read_text(errors="replace")
        except OSError:  # not Linux: nothing can be seen
            return
    kind = file_system_of(path.resolve(), mounts)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise LedgerRefusedError(place=str(path), reason=f"SQLite does not work on a network file system ({kind}). {_REMEDY}")


def file_system_of(path: Path, mounts: str) -> str:
    """The file system type of the longest mount point that holds ``path``. Pure."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(_OCTAL.sub(lambda escape: chr(int(escape[1], 8)), fields[1]))  # a blank in a name is written \040
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind


def check_only_host(
    db: sa.Connection,
    now: sa.ColumnElement[float],
    *,
    place: str,
    boot_id: str | None = None,
    booted_at: float | None = None,
) -> None:
    """Refuse a SQLite file that another machine has used within five minutes, and note that this one does.

    What was noted before this machine started does not count: mostly that was this machine itself, before it was restarted.

    Args:
        db: a write transaction. now: the clock's expression. place: for the message.
        boot_id, booted_at: of this machine (float seconds since 1970); None reads them.
    """
    ours = boot_id or _boot_id()
    if ours is None:
        return
    since = _booted_at() if booted_at is None else booted_at
    rows = db.execute(sa.select(schema.meta.c.name, schema.meta.c.value, now).where(schema.meta.c.name.like("boot:%"))).all()
    for name, seen_at, at in rows:
        if name != f"boot:{ours}" and float(seen_at) > max(at - ACTIVE_S, since):
            ago = max(0, round(at - float(seen_at)))
            reason = f"another machine used this SQLite file {ago} s ago, and it is for one host only. {_REMEDY}"
            raise LedgerRefusedError(place=place, reason=reason)
    at = db.scalar(sa.select(now))
    db.execute(schema.meta.delete().where(schema.meta.c.name.like("boot:%")))
    db.execute(schema.meta.insert().values(name=f"boot:{ours}", value=str(at)))


def _booted_at() -> float:
    """When this machine started, float seconds since 1970; 0 where that cannot be told."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) for line in lines if line.startswith("btime ")), 0.0)


def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
