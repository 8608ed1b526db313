"""Nodes on several machines: what they tell clients of one another's addresses, and IPv6 alone.

Needs root and iproute2.
"""
import pytest

import namespaces
from mesh import Mesh, eventually, note
from test_drain import ended
from test_sessions import arrived, begin, resume

pytestmark = pytest.mark.mesh


def pair(network, *extra):
    """Two machines with a node each; clients connect at the loopback address of each."""
    mesh = Mesh(network=None, extra=["--insecure", "--drain-seconds", "1"])
    for index in range(2):
        node = mesh.add(
            seeds=[mesh[0].mesh] if index else [],
            listen={"mesh": (network.address(index), 0)}, extra=extra[index] if extra else [])
        node.namespace = network.name(index)
        node.start().wait_listening()
    mesh.wait_ready()
    mesh.wait_members(2)
    return mesh


def told(mesh):
    """Node 0 leaves: what its client is told of where to go. Its session is found on node 1."""
    wire, token = begin(mesh[0], b"ann")
    arrived(mesh[1], b"ann")
    mesh[0].signal(15)
    while True:
        frame = wire.read(5)
        if frame[0] == b"moved":
            break
    ended(mesh[0])
    assert mesh[1].call("MESH.SEND", "ann", "later") == 1
    back, _ = resume(mesh[1], b"ann", token)
    assert back.read(2)[2] == b"later"
    return frame[1].decode()


def test_the_loopback_address_of_another_machine_is_told_to_nobody():
    with namespaces.Network(2) as network, pair(network) as mesh:
        for node in mesh:
            assert node.tail(50).count("clientsUnreachable") == 1, node.tail()
        assert told(mesh) == ""


def test_clients_are_sent_to_the_advertised_address():
    with namespaces.Network(2) as network:
        said = ["--advertise-redis", "db-1.example:7379"]
        with pair(network, ["--advertise-redis", "off"], said) as mesh:
            for node in mesh:
                assert "clientsUnreachable" not in node.tail(50)
            assert told(mesh) == "db-1.example:7379"


def test_machines_with_ipv6_alone_listen_on_every_address():
    with namespaces.Network(2) as network:
        for index in range(2):
            name = network.name(index)
            namespaces.run("-n", name, "-4", "addr", "flush", "dev", "eth0")
            namespaces.run(
                "-n", name, "addr", "add", "fd77::%x/64" % (index + 1), "dev", "eth0", "nodad")
            namespaces.run("-n", name, "-6", "route", "add", "default", "dev", "eth0")
        with Mesh(extra=["--insecure"]) as mesh:
            for index in range(2):
                node = mesh.add(seeds=[("[fd77::1]", 7400)] if index else [])
                node.asked["mesh"] = ("[::]", 7400)
                node.namespace = network.name(index)
                node.start().wait_listening()
            mesh.wait_ready()
            mesh.wait_members(2)
            ends = sorted(row["endpoint"] for row in mesh[0].rows("MESH.MEMBERS"))
            assert ends == ["[fd77:0:0:0:0:0:0:1]:7400", "[fd77:0:0:0:0:0:0:2]:7400"], ends
