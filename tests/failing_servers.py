"""Servers that fail in the ways in which networks and servers do."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress


@contextmanager
def silent_server() -> Iterator[str]:
    """Accepts connections (the kernel does) and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def cutting_proxy(upstream: str, *, up: int = 2**60, down: int = 2**60) -> Iterator[str]:
    """Forwards to the server and cuts each connection after so many bytes of a direction."""
    host, port = upstream.split(":")
    sockets: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket, limit: int) -> None:
        passed = 0
        with suppress(OSError):
            while passed < limit and (data := source.recv(min(65536, limit - passed))):
                sink.sendall(data)
                passed += len(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection((host, int(port)), timeout=5)
            sockets.extend([client, server])
            threading.Thread(target=pump, args=(client, server, up), daemon=True).start()
            threading.Thread(target=pump, args=(server, client, down), daemon=True).start()

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(5)
            for one in sockets:
                one.close()


@contextmanager
def trickling_server(total: int) -> Iterator[str]:
    """Answers every request with ``total`` bytes, ten a second."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            try:
                connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n".encode())
                for _ in range(total):
                    connection.sendall(b"x")
                    time.sleep(0.1)
            except OSError:
                pass

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(5)
