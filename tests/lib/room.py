"""A room for the enclave's side of an example: a root of its own with what its image has and no more, no network interface, and namespaces in
which its first program is process 1, as the init of an enclave. Out of it lead vsock, which no namespace of this kernel's closes off, and the
sockets and files that are put in by name. Needs root.

    room = Room(folder, {"/app/aggregate.py": path, ...}, borrow=["/usr/lib"])     or     Room(an image's root)
    room.put(path)
    subprocess.Popen(room.command(["/usr/bin/postern", ...]))
"""
import os
import pathlib
import shutil
import stat

# In a mount namespace of its own, so that the mounts end with the room. What is borrowed is read-only. The image need not have a shell.
SCRIPT = r"""
set -eu
root=$1 borrowed=$2 shared=$3
shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
for path in $borrowed; do
    mount --rbind "$path" "$root$path"
    mount -o remount,bind,ro "$root$path"
done
for pair in $shared; do
    mount --bind "${pair%%:*}" "${pair#*:}"
done
unset PATH # what is in this room is for its init to say
exec /usr/sbin/chroot "$root" "$@"
"""
NAMESPACES = ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child", "--"]
MERGED = ("lib", "lib64")  # links into /usr, of a root that borrows these


class Room:
    def __init__(self, root, files=None, borrow=()):
        self.root, self.borrowed, self.shared = pathlib.Path(root), [str(path) for path in borrow], []
        for name in ("proc", "dev", "sys", "run", "tmp", "etc"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for path in borrow:
            self._inside(path).mkdir(parents=True, exist_ok=True)
        for name in MERGED:
            if f"/usr/{name}" in borrow:
                (self.root / name).symlink_to(f"usr/{name}")
        for target, source in (files or {}).items():
            self._inside(target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, self._inside(target))

    def _inside(self, path):
        return self.root / str(path).lstrip("/")

    def put(self, path, at=None):
        """This file, socket or folder is seen in the room, at the same path or at another."""
        inside = self._inside(at or path)
        inside.parent.mkdir(parents=True, exist_ok=True)
        if stat.S_ISDIR(os.stat(path).st_mode):
            inside.mkdir(exist_ok=True)
        else:
            inside.touch()
        self.shared.append(f"{path}:{inside}")

    def command(self, command):
        return [*NAMESPACES, "/bin/sh", "-c", SCRIPT, "sh", str(self.root), " ".join(self.borrowed), " ".join(self.shared), *map(str, command)]

    @staticmethod
    def first(process):
        """Process 1 of a room whose command runs, by its number out here; None if it has ended. Unshare itself heeds no SIGTERM."""
        try:
            children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None
