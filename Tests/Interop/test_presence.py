"""How soon watchers on five nodes know that users have come and gone, and why; and that nobody is said to go
who is back within the grace."""
import time

import pytest

from mesh import Mesh, note
from resp import Pairs

pytestmark = pytest.mark.mesh
NODES = range(5)
ARRIVALS = 100
DEPARTURES = 20
#: Users of the node that is killed; every second one is back at once.
LOST = 40
#: Seconds: by then a departure is told, if nobody has come back.
GRACE = 0.2
#: A busy machine may be later than a quiet one.
SLACK = 3


def reason(value):
    """Why a user is said to be offline, by a watcher that has asked for details."""
    assert value[0] == b"presence" and len(value) == 4 and isinstance(value[3], Pairs), value
    return dict(zip(value[3][::2], value[3][1::2])).get(b"reason")


def told(wire, user, state, within=5.0):
    """When the watcher is told that the user is so, and the reason; what comes before is of others."""
    deadline = time.monotonic() + within
    while True:
        value = wire.read(timeout=max(0.001, deadline - time.monotonic()))
        if value[1] == user.encode() and value[2] == state:
            return time.monotonic(), reason(value)


def p99(values):
    return sorted(values)[max(0, int(len(values) * 0.99) - 1)]


def test_watchers_know_soon_who_has_come_and_gone_and_why():
    users = ["u%d" % number for number in range(ARRIVALS)]
    lost = ["l%d" % number for number in range(LOST)]
    with Mesh(5) as mesh:
        watchers = []
        for node in NODES:
            wire = mesh[node].wire(3)
            assert wire.call("MESH.DETAILS", "ON") == b"OK"
            wire.send(b"".join(
                b"*2\r\n$10\r\nMESH.WATCH\r\n$%d\r\n%s\r\n" % (len(user), user.encode())
                for user in users + lost))
            for _ in users + lost:
                assert wire.read()[0] == b"watch"
                assert wire.read()[2] == b"offline"
            watchers.append(wire)
        arrivals, connections = [], {}
        for number, user in enumerate(users):
            connections[user] = mesh[number % 5].wire(3)
            assert connections[user].call("MESH.ATTACH", user) == b"OK"
            confirmed = time.monotonic()
            arrivals += [max(0.0, told(w, user, b"online")[0] - confirmed) for w in watchers]
        departures = []
        for number, user in enumerate(users[:DEPARTURES]):
            start = time.monotonic()
            if number % 2:
                connections[user].close()
            else:
                assert connections[user].call("MESH.DETACH", user) == 1
            for wire in watchers:
                at, why = told(wire, user, b"offline")
                assert why == (b"lost" if number % 2 else b"quit")
                departures.append(at - start - GRACE)
        for user in lost:
            connections[user] = mesh[4].wire(3)
            assert connections[user].call("MESH.ATTACH", user) == b"OK"
            for wire in watchers:
                told(wire, user, b"online")
        back = [mesh[number % 4].wire(3) for number in range(len(lost[::2]))]
        mesh[4].kill()
        start = time.monotonic()
        for wire, user in zip(back, lost[::2]):
            assert wire.call("MESH.ATTACH", user) == b"OK"
        reattached = time.monotonic() - start
        killed, gone = [], [set() for _ in range(4)]
        for wire, names in zip(watchers, gone):
            while not names.issuperset(lost[1::2]):
                value = wire.read(timeout=5.0)
                assert value[2] == b"offline" and reason(value) == b"node", value
                names.add(value[1].decode())
                killed.append(time.monotonic() - start - GRACE)
        for wire, names in zip(watchers, gone):
            names |= {value[1].decode() for value in wire.waiting(0.3)}
            if reattached < GRACE / 2:
                assert not names & set(lost[::2]), "somebody is back, and said to have gone"
    note("presence on five nodes, p99 beyond what must be", (
        "arrivals %.1f ms, departures %.1f ms, of a killed node %.1f ms" % (
            p99(arrivals) * 1000, p99(departures) * 1000, p99(killed) * 1000)))
    assert p99(arrivals) < 0.03 * SLACK
    assert p99(departures) < 0.03 * SLACK and min(departures) > -0.01
    assert p99(killed) < 0.06 * SLACK and min(killed) > -0.01
