"""A mesh of this build and of the one that spoke the version of the wire before: what both can do works, what
only this one can is refused and never wrong.

`.ci/nightly` builds the earlier program from the commit that this file names; its path is in
SMALLWORLD_EARLIER. Without one these tests say that they have not tried."""
import os
import time

import pytest

import mesh as harness
from mesh import Mesh, eventually, note
from resp import Failure

#: The last commit whose nodes speak version 2 alone.
EARLIER_COMMIT = "9c127f9"
EARLIER = os.environ.get("SMALLWORLD_EARLIER")

pytestmark = pytest.mark.mesh
#: Nodes by turns: of this build, of the earlier one.
NEW, OLD = (0, 2), (1, 3)


@pytest.fixture
def mixed(monkeypatch):
    """Four nodes, each of which joins through one of the other version; none without the earlier program."""
    if not EARLIER:
        note("a mesh with nodes of the version before", "not tried: SMALLWORLD_EARLIER is not set")
        yield None
        return
    with Mesh() as nodes:
        for index in range(4):
            with monkeypatch.context() as patch:
                if index in OLD:
                    patch.setattr(harness, "BINARY", EARLIER)
                node = nodes.add(seeds=[nodes[index - 1].mesh] if index else [])
                node.start().wait_ready(15)
        nodes.wait_members(10)
        yield nodes


def test_messages_users_and_sessions_know_no_versions(mixed):
    if not mixed:
        return
    wires = [node.wire(3) for node in mixed]
    for index, wire in enumerate(wires):
        assert wire.call("MESH.ATTACH", "u%d" % index) == b"OK"
        wire.send(b"SUBSCRIBE news\r\n")
        assert wire.read() == [b"subscribe", b"news", 1]
    for sender in wires:
        for index, receiver in enumerate(wires):
            assert sender.call("MESH.SEND", "u%d" % index, "hi") == 1
            assert receiver.read() == [b"user", b"u%d" % index, b"hi"]
        assert sender.call("PUBLISH", "news", "x") == 4
        for receiver in wires:
            assert receiver.read() == [b"message", b"news", b"x"]
        assert sender.call("PUBSUB", "CHANNELS") == [b"news"]
    for giver, taker in ((0, 1), (1, 0), (2, 3), (3, 2)):
        user = "s%d%d" % (giver, taker)
        first = mixed[giver].wire(3)
        token = first.call("MESH.ATTACH", user, "SESSION")
        first.close()
        # Until then what is sent goes to the connection that has ended.
        eventually(5, lambda: mixed[giver].status()["sessionsWaiting"] == 1)
        assert wires[0].call("MESH.SEND", user, "kept") == 1
        second = mixed[taker].wire(3)
        assert not isinstance(second.call("MESH.ATTACH", user, "RESUME", token), Failure)
        assert second.read()[:2] == [b"user", user.encode()]


def test_rooms_are_where_they_can_be_and_refused_elsewhere(mixed):
    if not mixed:
        return
    wires = [node.wire(3) for node in mixed]
    for index, wire in enumerate(wires):
        assert wire.call("MESH.ATTACH", "u%d" % index) == b"OK"
    for index in NEW:
        assert wires[index].call("MESH.JOIN", "lobby") == 1
    for index in OLD:
        assert isinstance(wires[index].call("MESH.JOIN", "lobby"), Failure)
    for number in range(100):
        assert wires[0].call("MESH.SAY", "lobby", number) == 1
        assert wires[2].read() == [b"room", b"lobby", b"%d" % number]
    page, place, missing = wires[0].call("MESH.WHO", "lobby")
    assert [member[0] for member in page] == [b"u0", b"u2"] and missing == []
    assert wires[2].call("MESH.COUNT", "lobby") == [2, 2, []]
    assert wires[0].call("MESH.ROOMS") == [b"lobby"]
    assert wires[0].call("MESH.ROOMSOF", "u1") == []
    assert wires[0].call("MESH.ORDER", "u2", "JOIN", "hall") == 1
    for words in (("MESH.WHERE", "u1", "SESSIONS"), ("MESH.ORDER", "u1", "JOIN", "hall"),
                  ("MESH.KICK", "u3")):
        assert wires[0].call(*words).startswith(b"UNSUPPORTED node-"), words
    # Nobody has broken a rule, and no link has ended for it.
    time.sleep(0.5)
    for node in mixed:
        assert node.metric("smallworld_protocol_errors_total") == 0
        assert len(node.members()) == 4
