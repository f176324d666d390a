#!/usr/bin/python3
"""foreign.py RECORDING USER: started by the viewer as player, with the powers to become USER.

Tries every way to get bytes out of the inherited descriptor, as the viewer and as USER, and prints one line for each:
"who way served|refused why". Exit 0 when each ended as it must: the viewer reads, nobody fills the page cache, and
USER gets nothing.
"""
import ctypes
import mmap
import os
import pwd
import signal
import socket
import sys

BYTES = 4096


def pread(fd):
    return os.pread(fd, BYTES, 0)


def reopen(fd):
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    return os.read(again, BYTES)


def map_private(fd):
    with mmap.mmap(fd, BYTES, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as view:
        return view[:BYTES]


def map_shared(fd):
    with mmap.mmap(fd, BYTES, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ) as view:
        return view[:BYTES]


def sendfile(fd):
    here, there = socket.socketpair()
    sent = os.sendfile(there.fileno(), fd, 0, BYTES)
    return here.recv(sent)


def splice(fd):
    out, into = os.pipe()
    moved = os.splice(fd, into, BYTES, offset_src=0)
    return os.read(out, moved)


def become(user):
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    # The uid alone decides: what is left of the powers goes too.
    ctypes.CDLL(None).prctl(47, 4, 0, 0, 0)  # PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL


def attempt(way, fd, user):
    """In a child, because a refused page ends it by SIGBUS. Returns "served" or "refused", and why."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        try:
            if user:
                become(user)
            answer = "served" if way(fd) else "refused no bytes"
        except OSError as error:
            answer = f"refused {error.strerror}"
        os.write(into, answer.encode())
        os._exit(0)
    os.close(into)
    answer = os.read(out, 200).decode()
    os.close(out)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"refused {signal.Signals(os.WTERMSIG(status)).name}"
    return answer


def main():
    fd = int(sys.argv[1].rsplit("/", 1)[1])
    stranger = sys.argv[2]
    ways = [pread, reopen, map_private, map_shared, sendfile, splice]
    wrong = 0
    # Twice for the stranger: before and after the viewer has read the whole.
    for who, user in (("stranger", stranger), ("viewer", None), ("stranger-again", stranger)):
        for way in ways:
            answer = attempt(way, fd, user)
            must = "served" if user is None and way in (pread, reopen) else "refused"
            if not answer.startswith(must):
                wrong += 1
                answer += f" (must be {must})"
            print(who, way.__name__, answer, flush=True)
        if user is None:
            with open(fd, "rb", closefd=False) as whole:
                whole.seek(0)
                whole.read()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
