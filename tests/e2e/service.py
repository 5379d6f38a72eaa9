"""What a service manager hears of a daemon."""
import contextlib
import os
import socket

import pytest

from harness import PATIENCE


class Manager:
    """systemd's side of sd_notify(3)."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(PATIENCE)
        self.heard = []

    def environment(self, **more):
        return {**os.environ, "NOTIFY_SOCKET": str(self.path), **more}

    def wait(self, state):
        """Until this state is told; what was told before stays in `heard`."""
        while not self.heard or state not in self.heard[-1].splitlines():
            self.heard.append(self.socket.recv(4096).decode())
        return self.heard.pop()

    def hears_nothing(self, seconds):
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.socket.recv(4096)
        self.socket.settimeout(seconds)
        with pytest.raises(TimeoutError):
            self.socket.recv(4096)
        self.socket.settimeout(PATIENCE)
