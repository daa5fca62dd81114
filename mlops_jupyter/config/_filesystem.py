"""Tell a network file system from a local one: SQLite's write-ahead log needs shared memory, which those lack."""

from __future__ import annotations

from pathlib import Path

NETWORK_FILESYSTEMS = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "drvfs", "fuse.blobfuse2", "fuse.ceph",
        "fuse.cephfs", "fuse.davfs2", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys", "fuse.grpcfuse",
        "fuse.juicefs", "fuse.mount-s3", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "fuse.vmhgfs-fuse",
        "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "orangefs", "panfs", "prl_fs", "pvfs2", "smb3",
        "smbfs", "vboxsf", "virtiofs", "vmhgfs", "wekafs",
    }
)  # fmt: skip


def filesystem_type(path: Path, mountinfo: str) -> str | None:
    """File-system type of the mount that holds ``path``, read from the text of ``/proc/self/mountinfo``.

    The longest mount point that is an ancestor wins; of several mounts on one point the last one does, because
    it hides the others. None where no line fits.
    """
    best: tuple[int, str] | None = None
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split()
        if not separator or len(fields) < 5 or not after:
            continue
        # The kernel writes blanks in mount points as octal escapes.
        mount_point = Path(fields[4].encode("ascii", "backslashreplace").decode("unicode_escape"))
        if path.is_relative_to(mount_point):
            depth = len(mount_point.parts)
            if best is None or depth >= best[0]:
                best = (depth, after.split()[0])
    return best[1] if best else None


def is_network_filesystem(path: Path) -> bool:
    """Whether ``path`` lies on a network file system. False where that cannot be told (macOS, no ``/proc``)."""
    try:
        mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return filesystem_type(path.resolve(), mountinfo) in NETWORK_FILESYSTEMS
