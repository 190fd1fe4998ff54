"""A connection from each rank to rank 0 on which nothing is said but farewell: its end is the news that a process died.

A rank that computes on a GPU waits for its kernels, and these wait for ever for a rank that was killed; neither sees it
go. The system closes a dead process's connections at once. (A node without power closes none: that is the scheduler's
to notice.)
"""

from __future__ import annotations

import contextlib
import secrets
import selectors
import socket
import struct
import sys
import time
from typing import cast

from forgia_jobs.meeting.rendezvous import World

HELLO = struct.Struct("!QI")
"""What a rank says first: the token that rank 0 has given to all, and its number."""
TOKEN_BITS = 62
WELCOME, FAREWELL = b"!", b"."
"""What rank 0 answers; what each says that ends as it should."""
LISTENER, WAKER = -1, -2
"""In place of the rank at the other end of a connection."""
CONNECT_S, FIRST_WORD_S = 30.0, 5.0


class Lifelines:
    """This rank's end of the connections: one, or on rank 0 those of all others as they come."""

    def __init__(self, world: World) -> None:
        """Collective. Where no connection comes about a line in the log says so, and deaths are noticed later."""
        self._selector = selectors.DefaultSelector()
        self._is_tied = world.leads
        self._waker, woken = socket.socketpair()
        self._selector.register(woken, selectors.EVENT_READ, WAKER)
        self._token = world.from_leader(secrets.randbits(TOKEN_BITS))
        listener = _listener(world) if world.leads else None
        port = world.from_leader(listener.getsockname()[1] if listener else 0)
        if listener is not None:
            self._selector.register(listener, selectors.EVENT_READ, LISTENER)
            return
        try:
            line = socket.create_connection((world.host, port), timeout=CONNECT_S)
            line.sendall(HELLO.pack(self._token, world.rank))
        except OSError as error:
            print(f"no lifeline to rank 0 at {world.host}: {error}", file=sys.stderr, flush=True)
            return
        self._selector.register(line, selectors.EVENT_READ, 0)

    def lost(self, patience_s: float) -> int | None:
        """Wait so long, or until woken; the rank that has gone without farewell, if one has."""
        deadline = time.monotonic() + patience_s
        while (left := deadline - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                if key.data == WAKER:
                    return None
                if (gone := self._heard(key)) is not None:
                    return gone
        return None

    def wake(self) -> None:
        """End another thread's wait; the only thing that a thread may ask which does not wait itself."""
        with contextlib.suppress(OSError):  # it has let go by itself
            self._waker.send(FAREWELL)

    def close(self) -> None:
        """Say farewell, and let go."""
        for key in list(self._selector.get_map().values()):
            line = cast(socket.socket, key.fileobj)
            if key.data not in (LISTENER, WAKER):
                with contextlib.suppress(OSError):
                    line.send(FAREWELL)
            line.close()
        self._selector.close()
        self._waker.close()

    def _heard(self, key: selectors.SelectorKey) -> int | None:
        """A new connection, a welcome, a farewell, or none of these: the end of a line."""
        line, rank = cast(socket.socket, key.fileobj), cast(int, key.data)
        if rank == LISTENER:
            self._admit(line)
            return None
        try:
            said = line.recv(1)
        except OSError:
            said = b""
        if said == WELCOME:
            self._is_tied = True
            return None
        self._selector.unregister(line)
        line.close()
        return rank if self._is_tied and said != FAREWELL else None

    def _admit(self, listener: socket.socket) -> None:
        """Whoever knows the token is the rank that it says."""
        line, _ = listener.accept()
        try:
            line.settimeout(FIRST_WORD_S)
            token, rank = HELLO.unpack(line.recv(HELLO.size, socket.MSG_WAITALL))
            if token != self._token:
                raise PermissionError("not of this run")
            line.send(WELCOME)
            self._selector.register(line, selectors.EVENT_READ, rank)
        except (OSError, struct.error):
            line.close()


def _listener(world: World) -> socket.socket:
    """At a port that the system chooses."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.bind((world.host, 0))
    found.listen(world.size)
    return found
