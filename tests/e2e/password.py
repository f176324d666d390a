#!/usr/bin/python3
"""password.py PASSWORD COMMAND [ARG...]: runs COMMAND on a terminal of its own, as a person would, and types PASSWORD when it is
asked for. Prints what the terminal showed; the exit code is that of COMMAND, 124 when it asked for nothing within a minute and
did not end.
"""
import os
import pty
import select
import signal
import sys
import time

SECONDS = 60


def main(password, command):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    shown, typed, end = b"", False, time.monotonic() + SECONDS
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the last one has left the terminal
            break
        if not part:
            break
        shown += part
        if not typed and b"assword: " in shown:
            typed = True
            os.write(terminal, password.encode() + b"\n")
    else:
        os.kill(pid, signal.SIGKILL)
    sys.stdout.buffer.write(shown)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 124


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
