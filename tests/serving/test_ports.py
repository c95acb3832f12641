"""A run's port is its own from the moment it is chosen, though Serve listens on it only minutes later."""

import socket

import pytest

from pipelines.core.errors import UserError
from serving.endpoints import HOST, held_port


def test_nobody_else_gets_a_port_that_is_held() -> None:
    with held_port(None) as first, held_port(None) as second:
        assert first != second
        with pytest.raises(UserError, match=f"port {first} is in use"), held_port(first):
            pass


def test_a_server_that_shares_ports_can_listen_on_it() -> None:
    with held_port(None) as port, socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind((HOST, port))
        server.listen()
        with socket.create_connection((HOST, port), timeout=5):
            server.accept()[0].close()


def test_a_port_that_is_listened_on_is_refused() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind((HOST, 0))
        server.listen()
        port = server.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is in use"), held_port(port):
            pass


def test_it_is_free_again_afterwards() -> None:
    with held_port(None) as port:
        pass
    with held_port(port) as again:
        assert again == port
