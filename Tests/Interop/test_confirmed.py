"""What is confirmed is true everywhere: whoever has the confirmation of a subscription can be reached at
once over any node.
"""
import time

import pytest

from mesh import Mesh, note, subscribed
from resp import encode

pytestmark = [pytest.mark.mesh, pytest.mark.deadline(90)]


def read(wire, within=5.0):
    wire.socket.settimeout(within)
    return wire.read()


def quantile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def test_an_answer_that_is_asked_for_at_once_is_not_lost():
    """A client subscribes to a channel of its own and asks; a service beside another node answers."""
    with Mesh(5) as mesh:
        services = [subscribed(node.wire(3), "SUBSCRIBE", "service %d" % node.index)
                    for node in mesh]
        answers = [node.wire(3) for node in mesh]
        for turn in range(200):
            asker, service = turn % 5, (turn + 1 + turn // 5 % 4) % 5
            wire = mesh[asker].wire(3)
            subscribed(wire, "SUBSCRIBE", "reply %d" % turn)
            assert wire.call("PUBLISH", "service %d" % service, "reply %d" % turn) == 1
            asked = read(services[service])
            assert answers[service].call("PUBLISH", asked[2], "yes") == 1, "turn %d" % turn
            while (frame := read(wire))[0] != b"message":
                pass
            assert frame == [b"message", b"reply %d" % turn, b"yes"]
            wire.close()


@pytest.mark.parametrize("subscribe, publish", [
    (("PSUBSCRIBE", "p%d*"), ("PUBLISH", "p%d", "x")),
    (("SSUBSCRIBE", "s%d"), ("SPUBLISH", "s%d", "x")),
    (("MESH.ATTACH", "u%d"), ("MESH.SEND", "u%d", "x")),
    (("MESH.ATTACH", "v%d", "SESSION"), ("MESH.SEND", "v%d", "x"))])
def test_each_kind_of_subscription(subscribe, publish):
    with Mesh(3) as mesh:
        def fill(words, number):
            return [word % number if "%d" in word else word for word in words]

        for turn in range(60):
            wire = mesh[turn % 3].wire(3)
            wire.send(encode(*fill(subscribe, turn)))
            read(wire)
            assert mesh[(turn + 1) % 3].call(*fill(publish, turn)) == 1, "turn %d" % turn
            assert read(wire)[-1] == b"x"
            wire.close()


def test_a_frozen_node_is_waited_for_a_moment_and_knows_when_it_thaws():
    with Mesh(3) as mesh:
        # The confirmations so far say how long one takes.
        for turn in range(20):
            subscribed(mesh[0].wire(3), "SUBSCRIBE", "warm %d" % turn)
        publisher = mesh[1].wire(3)
        publisher.call("PING")
        mesh[1].freeze()
        try:
            began = time.monotonic()
            wire = subscribed(mesh[0].wire(3), "SUBSCRIBE", "news")
            took = time.monotonic() - began
            publisher.send(encode("PUBLISH", "news", "late"))
            time.sleep(0.2)
        finally:
            mesh[1].thaw()
        assert 0.05 < took < 1, "confirmed after %.3f s" % took
        assert mesh[0].metric("smallworld_confirmed_early_total") == 1
        # It takes what the others have said before it takes what its clients say.
        assert read(wire) == [b"message", b"news", b"late"]
        assert read(publisher) == 1


def test_how_long_a_confirmation_takes():
    with Mesh(5) as mesh:
        mesh.wait_links_settled()
        wire = mesh[0].wire(3)
        waits, echoes = [], []
        for turn in range(1_000):
            began = time.perf_counter()
            subscribed(wire, "SUBSCRIBE", "c%d" % turn)
            between = time.perf_counter()
            wire.call("ECHO", "x")
            waits.append(between - began)
            echoes.append(time.perf_counter() - between)
        note("confirmation, five nodes: p50, p99 of 1,000; an echo p50, p99",
             "%.2f ms, %.2f ms; %.2f ms, %.2f ms" % tuple(
                 1e3 * quantile(values, share) for values in (waits, echoes)
                 for share in (0.5, 0.99)))
        assert mesh[0].metric("smallworld_confirmed_early_total") == 0
        # Nobody waits for a time-out of anything.
        assert quantile(waits, 0.5) < 0.02
