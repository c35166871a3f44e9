"""SQLite is for one host: network file systems and other machines are refused, with the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_360dialog.exceptions import LedgerRefusedError
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.host import check_file_system, check_only_host, file_system_of
from tests.ledger.doubles import execute

MOUNTS = r"""overlay / overlay rw,relatime 0 0
proc /proc proc rw 0 0
/dev/sda1 /data ext4 rw 0 0
nas:/export /data/shared nfs4 rw,vers=4.2 0 0
tmpfs /data/shared/fast tmpfs rw 0 0
//win/share /mnt/with\040space cifs rw 0 0
s3fs /mnt/größe fuse.s3fs rw 0 0
/dev/sdb1 /over ext4 rw 0 0
nas:/other /over nfs rw 0 0
garbage
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/ledger.db", "overlay"),
        ("/data/ledger.db", "ext4"),
        ("/data/shared/ledger.db", "nfs4"),
        ("/data/shared/deep/er/ledger.db", "nfs4"),
        ("/data/sharedother/ledger.db", "ext4"),
        ("/data/shared/fast/ledger.db", "tmpfs"),
        ("/mnt/with space/ledger.db", "cifs"),
        ("/mnt/größe/ledger.db", "fuse.s3fs"),
        ("/over/ledger.db", "nfs"),
    ],
)
def test_the_longest_mount_point_counts(path, kind):
    """And of two at one place the later one; blanks are escaped in the table."""
    assert file_system_of(Path(path), MOUNTS) == kind


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse.s3fs", "lustre", "ceph", "glusterfs"])
def test_a_network_file_system_is_refused_with_the_way_out(kind, tmp_path):
    """Its locks do not hold (needs F61)."""
    with pytest.raises(LedgerRefusedError, match=rf"\({kind}\).*PostgreSQL.*ledger_conn_id"):
        check_file_system(tmp_path / "ledger.db", mounts=f"x / ext4 rw 0 0\nx {tmp_path} {kind} rw 0 0\n")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "apfs", "fuse.fuse-overlayfs"])
def test_a_local_file_system_is_fine(kind, tmp_path):
    """Also a container's."""
    check_file_system(tmp_path / "ledger.db", mounts=f"x / {kind} rw 0 0\n")


def test_a_link_is_followed(tmp_path):
    """The file counts, not its name."""
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "far")
    with pytest.raises(LedgerRefusedError):
        check_file_system(tmp_path / "near" / "ledger.db", mounts=f"x / ext4 rw 0 0\nx {tmp_path}/far nfs4 rw 0 0\n")


@pytest.fixture
def engine():
    return "sqlite"


@pytest.fixture
def seen(store):
    """A machine uses the file."""

    def use(boot_id, booted_at=0.0):
        with store.write() as db:
            check_only_host(db, store.now, place=store.place, boot_id=boot_id, booted_at=booted_at)

    with store.write() as db:
        db.execute(schema.meta.delete().where(schema.meta.c.name.like("boot:%")))
    return use


def test_another_machine_within_five_minutes_is_refused_and_accepted_afterwards(seen, clock):
    """With the way out: PostgreSQL (needs F61)."""
    seen("a")
    clock.advance(299)
    with pytest.raises(LedgerRefusedError, match=r"299 s ago.*PostgreSQL"):
        seen("b")
    clock.advance(2)
    seen("b")
    with pytest.raises(LedgerRefusedError):
        seen("a")


def test_a_machine_that_was_restarted_goes_on_at_once(seen, clock):
    """What was noted before it started cannot be of a machine that runs beside it, or was this one itself."""
    seen("before the restart")
    clock.advance(20)
    seen("after it", booted_at=clock.now - 5)
    clock.advance(20)
    with pytest.raises(LedgerRefusedError):
        seen("another one", booted_at=clock.now - 100)


def test_the_same_machine_is_always_welcome(seen, clock, url):
    """And leaves one row, whatever happens."""
    for _ in range(5):
        seen("a")
        clock.advance(200)
    assert len(execute(url, "SELECT * FROM d360_meta WHERE name LIKE 'boot:%'")) == 1


def test_a_refused_machine_leaves_no_mark(seen, clock):
    """Else it would lock the rightful one out."""
    seen("a")
    with pytest.raises(LedgerRefusedError):
        seen("b")
    seen("a")


def test_each_opening_notes_this_machine(store, url):
    """By its boot id."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert execute(url, "SELECT name FROM d360_meta WHERE name LIKE 'boot:%'") == [(f"boot:{boot_id}",)]
