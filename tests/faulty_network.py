"""A bad network for tests: a TCP relay before a real server that counts, delays, cuts and falls silent."""

import socket
import threading
import time
from contextlib import contextmanager, suppress

_BLOCK = 1 << 14


class Network:
    """Relays `address` to a server. `up` and `down` are the bytes sent so far to and from it.

    `cuts`: connections still to be cut after `cut_after` bytes of one direction. `delay`: seconds before each
    block. `silent`: connections are taken and nothing is ever passed on.
    """

    def __init__(self, target):
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = []
        self._changed = threading.Condition()
        self.address = self._listener.getsockname()
        self.up = self.down = 0
        self.connections = 0
        self.cuts, self.cut_after = 0, 1 << 20
        self.delay = 0.0
        self.silent = False
        threading.Thread(target=self._accept, daemon=True).start()

    def wait_until(self, direction, size):
        """Until `size` bytes went "up" or "down"."""
        with self._changed:
            assert self._changed.wait_for(lambda: getattr(self, direction) >= size, timeout=60)

    def close(self):
        _shut(self._listener)
        for connection in self._open:
            _shut(connection)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            self.connections += 1
            if not self.silent:
                self._relay(client)

    def _relay(self, client):
        try:
            server = socket.create_connection(self._target)
        except OSError:
            _shut(client)
            return
        self._open.append(server)
        for source, sink, direction in ((client, server, "up"), (server, client, "down")):
            threading.Thread(target=self._pump, args=(source, sink, direction), daemon=True).start()

    def _pump(self, source, sink, direction):
        passed = 0
        try:
            while block := source.recv(_BLOCK):
                if self.delay:
                    time.sleep(self.delay)
                passed += len(block)
                if self.cuts and passed >= self.cut_after:
                    self.cuts -= 1
                    break
                sink.sendall(block)
                with self._changed:
                    setattr(self, direction, getattr(self, direction) + len(block))
                    self._changed.notify_all()
        except OSError:
            pass  # the other end is gone, which is what this network is for
        _shut(source)
        _shut(sink)


def _shut(connection):
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextmanager
def bad_network(server):
    """A network before an `S3Server`; yields it."""
    network = Network((server.host, server.port))
    try:
        yield network
    finally:
        network.close()
