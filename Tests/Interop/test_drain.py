"""A node that is told to end sends its clients to others first, and then ends well."""
import threading
import time

import pytest

from mesh import Mesh, eventually, note
from resp import Closed, Failure, Push, encode
from test_sessions import arrived, begin, fill, hang_up, payloads, resume
from test_users import delivery, watch

pytestmark = pytest.mark.mesh


def address(wire, within=5):
    """Where a `moved` push sends the client."""
    while True:
        frame = wire.read(within)
        if frame[0] == b"moved":
            host, _, port = frame[1].decode().rpartition(":")
            return host, int(port)


def ended(node, within=10):
    node.ended_by_us = True
    eventually(within, lambda: node.process.poll() is not None)
    assert node.process.returncode == 0, node.tail()


@pytest.mark.deadline(60)
def test_a_draining_node_moves_every_client_and_nobody_is_seen_to_go():
    with Mesh(3, extra=["--drain-seconds", "2"]) as three:
        by_address = {node.addresses["redis"]: node for node in three}
        movers = [begin(three[0], b"mover%d" % k, 2 + k % 2) for k in range(20)]
        sleepers = [begin(three[0], b"sleeper%d" % k) for k in range(20)]
        gone = [begin(three[0], b"gone%d" % k) for k in range(10)]
        asked = three[0].wire(3)
        asked.call("MESH.MOVES", "ON")
        plain = [three[0].wire() for _ in range(10)]
        users = [b"%s%d" % (kind, k) for kind, count in
                 ((b"mover", 20), (b"sleeper", 20), (b"gone", 10)) for k in range(count)]
        for user in users:
            arrived(three[1], user)
            arrived(three[2], user)
        watchers = [watch(node, users)[0] for node in (three[1], three[2])]
        hang_up(three[0], *[wire for wire, _ in gone])

        stop = threading.Event()
        sent = {user: 0 for user in users}

        def publish():
            sender = three[1].wire()
            while not stop.is_set():
                for user in users:
                    assert sender.call("MESH.SEND", user, "%d" % sent[user]) >= 1, user
                    sent[user] += 1
                time.sleep(0.02)
            sender.close()

        publisher = threading.Thread(target=publish)
        publisher.start()
        time.sleep(0.3)
        start = time.monotonic()
        three[0].signal(15)

        # Those who listen go at once to where they are sent.
        got = {user: [] for user in users}
        asked_to = address(asked)
        assert by_address[asked_to] in (three[1], three[2])
        moved = {}
        for number, (wire, token) in enumerate(movers):
            user = b"mover%d" % number
            while True:
                frame = wire.read(5)
                assert isinstance(frame, Push) == (number % 2 == 1)
                if frame[0] == b"moved":
                    break
                got[user] += payloads([frame], user)
            got[user] += payloads(wire.waiting(0.01), user)
            host, _, port = frame[1].decode().rpartition(":")
            wire.close()
            node = by_address[(host, int(port))]
            moved[user] = resume(node, user, token)[0]
        note("20 clients had moved after", time.monotonic() - start)
        # Meanwhile nobody new is taken, and is told where to go.
        try:
            late = three[0].wire()
            answer = late.call("MESH.ATTACH", "late")
            assert isinstance(answer, Failure) and answer.startswith(b"DRAINING"), answer
            assert any(("%s:%d" % to).encode() in answer for to in by_address)
        except (OSError, Closed):
            # The machine was slow, and the port is closed already.
            assert time.monotonic() - start > 0.9
        for wire in plain:
            wire.wait_closed(5)
        for number, (wire, _) in enumerate(sleepers):
            user = b"sleeper%d" % number
            try:
                while True:
                    frame = wire.read(5)
                    if frame[0] != b"moved":
                        got[user] += payloads([frame], user)
            except Closed:
                pass
        ended(three[0])
        note("a node with 60 clients has left after", time.monotonic() - start)
        time.sleep(0.5)

        # The others find their sessions wherever they ask, under the tokens that they have.
        late = [(b"sleeper%d" % k, token) for k, (_, token) in enumerate(sleepers)]
        late += [(b"gone%d" % k, token) for k, (_, token) in enumerate(gone)]
        for number, (user, token) in enumerate(late):
            moved[user] = resume(three[1 + number % 2], user, token)[0]
        stop.set()
        publisher.join()
        for user in users:
            got[user] += payloads(moved[user].waiting(0.3), user)
            gaps = [entry for entry in got[user] if isinstance(entry, tuple)]
            got[user] = [entry for entry in got[user] if not isinstance(entry, tuple)]
            assert got[user] == sorted(set(got[user]), key=int), user
            # What the kernel had taken for a connection that was then closed may be lost, and is
            # announced.
            assert len(got[user]) >= sent[user] - 2, (user, len(got[user]), sent[user])
            assert gaps == ([(0, 0)] if len(got[user]) < sent[user] else []), user
            assert not gaps or user.startswith(b"mover"), user
        for user in users:
            if user.startswith(b"gone"):
                assert len(got[user]) == sent[user], user
        for watcher in watchers:
            assert watcher.waiting(0.5) == [], "nobody is seen to go"


def test_a_node_without_clients_or_without_others_leaves_at_once():
    with Mesh(2, extra=["--drain-seconds", "20"]) as two:
        for node in two:
            node.hang_up()
        start = time.monotonic()
        two[0].signal(15)
        ended(two[0], 3)
        wire, _ = begin(two[1], b"last")
        two[1].signal(15)
        with pytest.raises(Closed):
            wire.read(30)
        ended(two[1], 3)
        note("two nodes have left after", time.monotonic() - start)


@pytest.mark.deadline(120)
def test_sessions_of_many_megabytes_leave_over_one_link():
    """All together are more than a link takes at once, and more than the drain's time suffices for."""
    users = [b"large%d" % number for number in range(48)]
    messages = [b"%04d" % number + bytes(64 * 1024) for number in range(60)]
    with Mesh(2, extra=["--drain-seconds", "1", "--reattach-grace", "60"]) as two:
        tokens = fill(two[0], two[1], users, messages)
        start = time.monotonic()
        two[0].signal(15)
        ended(two[0], 40)
        note("48 sessions of 4 MB have left after", time.monotonic() - start)
        for user in users:
            wire, _ = resume(two[1], user, tokens[user])
            got = payloads([wire.read() for _ in messages], user)
            assert got == messages, user
            wire.close()
        for node in two:
            for word in ("memberSuspect", "memberDead", "misbehaved", "drainTimedOut"):
                assert word not in node.tail(100), node.tail(100)


def test_a_second_signal_ends_a_drain():
    with Mesh(2, extra=["--drain-seconds", "30"]) as two:
        wire, _ = begin(two[0], b"somebody")
        two[0].signal(15)
        # As `timeout` does: the same wish, not a second one.
        time.sleep(0.02)
        two[0].signal(15)
        time.sleep(0.5)
        assert two[0].is_running()
        assert two[0].http("/readyz")[0] == 503
        assert wire.call("PING") == b"PONG", "it still serves"
        time.sleep(1)
        two[0].ended_by_us = True
        two[0].signal(15)
        eventually(3, lambda: two[0].process.poll() is not None)
        assert two[0].process.returncode == 128 + 15
