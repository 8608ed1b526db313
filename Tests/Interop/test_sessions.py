"""Sessions: a user's client that breaks off and comes back, to the same node or to another one,
misses nothing, gets nothing twice, and nobody sees it go.
"""
import random
import subprocess
import sys
import threading
import time

import pytest
import redis.connection

from mesh import Mesh, eventually, note, steadily
from processes import die_with_parent
from resp import Closed, Failure, Push, encode
from test_users import delivery, seen, watch

pytestmark = pytest.mark.mesh


@pytest.fixture(scope="module")
def three():
    with Mesh(3, extra=["--reattach-grace", "3", "--session-messages", "100"]) as nodes:
        yield nodes


def begin(node, user, protocol=3):
    """A connection with a session, and its token."""
    wire = node.wire(protocol)
    token = wire.call("MESH.ATTACH", user, "SESSION")
    assert isinstance(token, bytes) and len(token) == 49, token
    assert token.startswith(node.id.encode() + b"-")
    return wire, token


def resume(node, user, token, protocol=3):
    """A new connection that goes on with the session: its wire and the new token."""
    wire = node.wire(protocol)
    wire.send(encode("MESH.ATTACH", user, "RESUME", token))
    fresh = wire.read()
    assert not isinstance(fresh, Failure), fresh
    assert fresh != token and len(fresh) == 49
    return wire, fresh


def hang_up(node, *wires):
    """Ends connections with a session each, and waits until their node knows. Before that its kernel takes
    messages for them, and these may be lost, as a notice says."""
    waiting = node.status()["sessionsWaiting"]
    for wire in wires:
        wire.close()
    eventually(5, lambda: node.status()["sessionsWaiting"] >= waiting + len(wires))


def fill(node, sender, users, messages):
    """Sessions that wait on a node with these messages, sent by a client of the other: the tokens, by user."""
    tokens, wires = {}, []
    for user in users:
        wire, tokens[user] = begin(node, user)
        wires.append(wire)
        arrived(sender, user)
    hang_up(node, *wires)
    wire = sender.wire()
    for message in messages:
        for user in users:
            assert wire.call("MESH.SEND", user, message) == 1
    return tokens


def arrived(node, user, nodes=1):
    eventually(5, lambda: len(node.call("MESH.WHERE", user)) == nodes)


def payloads(frames, user):
    """The payloads of messages, and gap notices as (count, milliseconds)."""
    result = []
    for frame in frames:
        if frame[0] == b"gap":
            assert frame[1] == b"user" and frame[2] == user
            result.append((frame[3], frame[4]))
        else:
            name, payload = delivery(frame)
            assert name == user
            result.append(payload)
    return result


@pytest.mark.parametrize("protocol", (2, 3))
def test_a_client_that_comes_back_to_its_node_gets_what_waited(three, protocol):
    user = b"home%d" % protocol
    wire, token = begin(three[0], user, protocol)
    arrived(three[1], user)
    watcher, _ = watch(three[2], [user])
    assert three[1].call("MESH.SEND", user, "live") == 1
    assert delivery(wire.read()) == (user, b"live")
    hang_up(three[0], wire)
    for number in range(50):
        assert three[number % 3].call("MESH.SEND", user, "m%d" % number) == 1
    wire, fresh = resume(three[0], user, token, protocol)
    frames = [wire.read() for _ in range(50)]
    assert sorted(payloads(frames, user)) == sorted(b"m%d" % k for k in range(50))
    for origin in range(3):
        got = [p for p in payloads(frames, user) if int(p[1:]) % 3 == origin]
        assert got == [b"m%d" % k for k in range(origin, 50, 3)], "in order"
    assert all(isinstance(frame, Push) == (protocol == 3) for frame in frames)
    assert three[2].call("MESH.SEND", user, "live again") == 1
    assert delivery(wire.read()) == (user, b"live again")
    assert wire.waiting(0.1) == []
    assert watcher.waiting(0.4) == [], "nobody sees it go"
    # A token is good until the next one is used.
    wire, last = resume(three[0], user, fresh, protocol)
    other = three[0].wire()
    assert other.call("MESH.ATTACH", user, "RESUME", token).startswith(b"NOSESSION")
    wire.call("MESH.DETACH", user)
    for past in (fresh, last):
        assert other.call("MESH.ATTACH", user, "RESUME", past).startswith(b"NOSESSION")
    other.close()
    wire.close()


def test_what_does_not_fit_is_announced_with_its_size(three):
    wire, token = begin(three[0], b"full")
    arrived(three[1], b"full")
    hang_up(three[0], wire)
    for number in range(250):
        three[1].call("MESH.SEND", "full", "%d" % number)
    wire, _ = resume(three[0], b"full", token)
    got = payloads([wire.read() for _ in range(101)], b"full")
    assert got[0][0] == 150 and 0 <= got[0][1] < 10_000
    assert got[1:] == [b"%d" % k for k in range(150, 250)]
    assert wire.waiting(0.1) == []
    assert three[0].metrics().total("smallworld_session_messages_dropped_total") >= 150
    wire.close()


def test_after_the_grace_the_session_is_gone(three):
    wire, token = begin(three[0], b"late")
    arrived(three[1], b"late")
    watcher, _ = watch(three[1], [b"late"])
    start = time.monotonic()
    wire.close()
    _, _ = seen(watcher, 1, 6)
    assert 2.8 < time.monotonic() - start < 5
    for node in three:
        answer = node.wire().call("MESH.ATTACH", "late", "RESUME", token)
        assert isinstance(answer, Failure) and answer.startswith(b"NOSESSION"), answer
    assert three[1].call("MESH.SEND", "late", "x") == 0
    watcher.close()


def test_mistakes_are_answered(three):
    wire, token = begin(three[0], b"mine")
    arrived(three[1], b"mine")
    call = three[1].call
    assert b"syntax" in call("MESH.ATTACH", "mine", "RESUME")
    assert b"syntax" in call("MESH.ATTACH", "mine", "NONSENSE")
    assert b"token" in call("MESH.ATTACH", "mine", "RESUME", "nonsense")
    assert call("MESH.ATTACH", "yours", "RESUME", token).startswith(b"NOSESSION")
    wrong = token[:-1] + (b"0" if token[-1:] != b"0" else b"1")
    assert call("MESH.ATTACH", "mine", "RESUME", wrong).startswith(b"NOSESSION")
    # The session is as it was.
    assert call("MESH.SEND", "mine", "x") == 1
    assert delivery(wire.read()) == (b"mine", b"x")
    wire.close()


@pytest.mark.parametrize("breaks", (True, False))
def test_a_client_may_come_back_to_another_node(three, breaks):
    """Also when the old connection still seems to stand."""
    user = b"mover%d" % breaks
    old, token = begin(three[0], user)
    arrived(three[1], user)
    arrived(three[2], user)
    watcher, _ = watch(three[2], [user])
    if breaks:
        hang_up(three[0], old)
        for number in range(20):
            assert three[2].call("MESH.SEND", user, "m%d" % number) == 1
    wire, fresh = resume(three[1], user, token)
    assert fresh.startswith(three[1].id.encode())
    here = {row[row.index(b"id") + 1] for row in three[1].call("MESH.WHERE", user)}
    assert here == {three[1].id.encode()}, "where it was it only passes messages on"
    eventually(1, lambda: [row[row.index(b"id") + 1] for row in three[2].call("MESH.WHERE", user)]
               == [three[1].id.encode()])
    if breaks:
        got = payloads([wire.read() for _ in range(20)], user)
        assert got == [b"m%d" % k for k in range(20)]
    else:
        with pytest.raises(Closed):
            old.read(5)
    for number in range(100):
        assert three[number % 3].call("MESH.SEND", user, "n%d" % number) >= 1
        time.sleep(0.01)
    got = payloads([wire.read() for _ in range(100)], user)
    for origin in range(3):
        assert [p for p in got if int(p[1:]) % 3 == origin] == [
            b"n%d" % k for k in range(origin, 100, 3)], "in order, each once"
    assert wire.waiting(0.3) == []
    eventually(5, lambda: [row for row in three[2].call("MESH.WHERE", user)] and
               len(three[2].call("MESH.WHERE", user)) == 1)
    assert watcher.waiting(0.4) == [], "nobody sees it go"
    # The first token is of no use once the second was shown.
    wire, _ = resume(three[1], user, fresh)
    answer = three[0].wire().call("MESH.ATTACH", user, "RESUME", token)
    assert answer.startswith(b"NOSESSION")
    wire.close()


@pytest.mark.deadline(120)
def test_moving_between_nodes_while_messages_come_loses_none_unannounced_and_doubles_none(three):
    """A user who breaks off and comes back, anywhere, twenty times in a stream of messages. What its
    kernel had and it did not read is lost, and the connection after it is told."""
    user, count = b"restless", 6_000
    wire, token = begin(three[0], user)
    for node in three:
        arrived(node, user)
    rates, stop = 300, threading.Event()

    def publish(node):
        sender = node.wire()
        start = time.monotonic()
        for number in range(count // 3):
            time.sleep(max(0, start + number * 3 / rates - time.monotonic()))
            assert sender.call("MESH.SEND", user, "%d:%d" % (node.index, number)) >= 1
        sender.close()
        stop.set()

    threads = [threading.Thread(target=publish, args=(node,)) for node in three]
    for thread in threads:
        thread.start()
    got, dice, moves, at = [], random.Random(4), 0, 0
    longest, starts = 0, []
    while any(thread.is_alive() for thread in threads):
        end = time.monotonic() + dice.uniform(0.3, 1.2)
        while time.monotonic() < end:
            try:
                got += payloads([wire.read(0.05)], user)
            except TimeoutError:
                pass
        # What has been read counts; the connection ends without a word.
        while True:
            try:
                got += payloads([wire.read(0)], user)
            except TimeoutError:
                break
        wire.close()
        starts.append(len(got))
        at = dice.randrange(3)
        before = time.monotonic()
        wire, token = resume(three[at], user, token)
        longest = max(longest, time.monotonic() - before)
        moves += 1
    for thread in threads:
        thread.join()
    got += payloads(wire.waiting(1.0), user)
    # On which connection each came: the first is 0.
    turns = [sum(position >= start for start in starts) for position in range(len(got))]
    gaps = [turn for turn, entry in zip(turns, got) if isinstance(entry, tuple)]
    assert all(entry == (0, 0) for entry in got if isinstance(entry, tuple))
    lost = set()
    for node in three:
        mine = [(int(p.split(b":")[1]), turn) for turn, p in zip(turns, got)
                if not isinstance(p, tuple) and p.startswith(b"%d:" % node.index)]
        numbers = [number for number, _ in mine]
        assert len(set(numbers)) == len(numbers), "none twice"
        assert numbers == sorted(numbers), "in order"
        for missing in set(range(count // 3)) - set(numbers):
            # The connection that comes after it in the order of this sender.
            lost.add(min((turn for number, turn in mine if number > missing), default=moves))
    got = [entry for entry in got if not isinstance(entry, tuple)]
    note("%d moves in a stream of %d messages: lost in the kernel's buffers" % (moves, count),
         "%d" % (count - len(got)))
    note("the longest resume", longest)
    note("connections after which something was missing, and that were announced",
         "%d, %d" % (len(lost), len(gaps)))
    assert lost <= set(gaps), "nothing is lost without a notice"
    assert len(gaps) == len(set(gaps)) < moves, "one for each connection, and not for all"
    assert count - len(got) <= moves * 3, "only what the kernel had taken"
    wire.close()


SUBSCRIBER = """
import sys
import redis.connection

host, port, user = sys.argv[1:]
connection = redis.connection.Connection(host=host, port=int(port), protocol=2)
connection.send_command("MESH.ATTACH", user, "SESSION")
print(connection.read_response().decode(), flush=True)
for line in sys.stdin:
    if line == "read\\n":
        print(connection.read_response()[2].decode(), flush=True)
    else:
        connection.disconnect()
        print("gone", flush=True)
"""


@pytest.mark.parametrize("at", (0, 1))
@pytest.mark.parametrize("ending", ("kill", "disconnect"))
@pytest.mark.parametrize("reads", (False, True))
def test_what_a_subscriber_had_not_read_when_it_ended_is_announced(three, reads, ending, at):
    """kill -9 of a redis-py client, and its own way to close, with messages in its kernel; the session
    goes on with another redis-py client, at the same node and at another."""
    user = "subscriber %s %s %d" % (reads, ending, at)
    host, port = three[0].addresses["redis"]
    process = subprocess.Popen(
        [sys.executable, "-c", SUBSCRIBER, host, str(port), user], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, bufsize=1, preexec_fn=die_with_parent)

    def tell(word):
        process.stdin.write(word + "\n")
        return process.stdout.readline().strip()

    waiting = three[0].status()["sessionsWaiting"]
    try:
        token = process.stdout.readline().strip()
        assert len(token) == 49, token
        for node in three:
            arrived(node, user)
        assert three[2].call("MESH.SEND", user, "first") == 1
        assert tell("read") == "first"
        if not reads:
            for number in range(3):
                assert three[2].call("MESH.SEND", user, "unread %d" % number) == 1
            time.sleep(0.2)
        if ending == "kill":
            process.kill()
            process.wait()
        else:
            assert tell("disconnect") == "gone"
    finally:
        process.kill()
        process.wait()
    eventually(5, lambda: three[0].status()["sessionsWaiting"] > waiting)
    assert three[2].call("MESH.SEND", user, "later") == 1
    host, port = three[at].addresses["redis"]
    client = redis.connection.Connection(host=host, port=port, protocol=2, socket_timeout=5)
    client.send_command("MESH.ATTACH", user, "RESUME", token)
    assert len(client.read_response()) == 49
    name = user.encode()
    if not reads:
        assert client.read_response() == [b"gap", b"user", name, 0, 0]
    assert client.read_response() == [b"user", name, b"later"]
    assert three[2].call("MESH.SEND", user, "live") >= 1
    assert client.read_response() == [b"user", name, b"live"]
    client.disconnect()


@pytest.mark.deadline(120)
def test_a_client_that_counts_loses_not_even_what_the_kernel_had():
    """Connections that break with a thousand messages unread, once here and once there: all come,
    none twice, none announced as missed."""
    user, count = b"counting", 6_000
    with Mesh(3, extra=["--session-messages", "10000"]) as nodes:
        wire = nodes[0].wire(3)
        token = wire.call("MESH.ATTACH", user, "SESSION", "COUNTED")
        for node in nodes:
            arrived(node, user)
        sender = nodes[2].wire()

        def publish():
            for _ in range(count // 1_000):
                first = publish.sent
                for number in range(first, first + 1_000):
                    sender.send(encode("MESH.SEND", user, b"%d" % number))
                for _ in range(1_000):
                    assert sender.read() >= 1
                publish.sent += 1_000

        publish.sent = 0
        thread = threading.Thread(target=publish)
        thread.start()
        got, seen, repeated = [], 0, 0
        for at in (0, 1, 1, 2, 0):
            # Whoever waits long enough has it all in its kernel's buffers.
            eventually(20, lambda: publish.sent > len(got) + 600 or publish.sent == count)
            time.sleep(0.3)
            for _ in range(500):
                got += payloads([wire.read()], user)
                seen += 1
            assert wire.call("MESH.ACK", user, seen - 100) >= 100
            wire.close()
            wire = nodes[at].wire(3)
            wire.send(encode("MESH.ATTACH", user, "RESUME", token, "SEEN", seen))
            token = wire.read()
            assert len(token) == 49, token
            seen = 0
        while len(got) < count:
            got += payloads([wire.read()], user)
        thread.join()
        assert got == [b"%d" % number for number in range(count)]
        repeated = sum(
            node.metric("smallworld_session_messages_repeated_total") for node in nodes)
        note("messages of a counting client that came again after 5 breaks", "%d" % repeated)
        assert repeated > 500


@pytest.mark.deadline(120)
def test_equal_messages_are_told_apart_across_moves():
    """The same bytes a thousand times, from three nodes, while the session goes round: all thousand,
    none twice. An old connection is left standing, and read to its end, so that none is lost there."""
    user, count, payload = b"echo", 1_002, b"the same"
    with Mesh(3) as nodes:
        wire, token = begin(nodes[0], user)
        for node in nodes:
            arrived(node, user)

        def publish(node):
            sender = node.wire()
            start = time.monotonic()
            for number in range(count // 3):
                time.sleep(max(0, start + number / 100 - time.monotonic()))
                assert sender.call("MESH.SEND", user, payload) >= 1

        threads = [threading.Thread(target=publish, args=(node,)) for node in nodes]
        for thread in threads:
            thread.start()
        got = []
        for at in (1, 2, 0, 1, 0, 2):
            time.sleep(0.4)
            old = wire
            wire, token = resume(nodes[at], user, token)
            while True:
                try:
                    got += payloads([old.read(5)], user)
                except Closed:
                    break
        for thread in threads:
            thread.join()
        got += payloads(wire.waiting(1.0), user)
        assert set(got) == {payload}, "no gap"
        assert len(got) == count
        twins = sum(node.metric("smallworld_session_twins_total") for node in nodes)
        note("of %d equal messages came both ways while a session moved" % count, "%d" % twins)
        assert twins > 0


class Sender(threading.Thread):
    """Sends numbered messages to a user until told not to, and keeps what each was answered."""

    def __init__(self, node, user):
        super().__init__(daemon=True)
        self.wire = node.wire(3)
        assert self.wire.call("MESH.REPORTS", "ON") == b"OK"
        self.tag, self.user = b"%d" % node.index, user
        self.answers = []
        self.ended = threading.Event()

    def run(self):
        while not self.ended.wait(0.002):
            self.answers.append(self.wire.call(
                "MESH.SEND", self.user, b"%s:%d" % (self.tag, len(self.answers))))

    def stop(self):
        """Ends, and says how many of its messages were reported as undelivered."""
        self.ended.set()
        self.join(10)
        self.wire.pushes += self.wire.waiting(0.5)
        return sum(push[3] for push in self.wire.pushes if push[0] == b"undelivered")


@pytest.mark.deadline(90)
def test_many_large_sessions_go_to_another_node_at_once():
    """All their clients come there in the same moment, and small messages between the nodes pass what waited."""
    users = [b"heavy%d" % number for number in range(32)]
    messages = [b"%04d" % number + bytes(64 * 1024) for number in range(60)]
    with Mesh(2, extra=["--reattach-grace", "60"]) as two:
        tokens = fill(two[0], two[1], users, messages)
        sender = two[0].wire()
        listener = two[1].wire()
        listener.call("MESH.ATTACH", "light")
        arrived(two[0], "light")
        wires = {user: two[1].wire(3) for user in users}
        start = time.monotonic()
        for user, wire in wires.items():
            wire.send(encode("MESH.ATTACH", user, "RESUME", tokens[user]))
        delays = []
        for number in range(100):
            sent = time.monotonic()
            assert sender.call("MESH.SEND", "light", "%d" % number) == 1
            assert delivery(listener.read(10)) == (b"light", b"%d" % number)
            delays.append(time.monotonic() - sent)
            time.sleep(0.01)
        for user, wire in wires.items():
            assert len(wire.read(20)) == 49, "the new token"
            assert payloads([wire.read(20) for _ in messages], user) == messages, user
        note("32 sessions of 4 MB have come after", time.monotonic() - start)
        note("a small message beside them took at most", max(delays))
        assert max(delays) < 2, "small messages wait for sessions"
        for node in two:
            for word in ("memberSuspect", "memberDead", "misbehaved", "linkDown"):
                assert word not in node.tail(100), node.tail(100)


@pytest.mark.deadline(120)
def test_after_the_death_of_its_node_a_client_misses_nothing_that_was_sent_once_it_was_noticed():
    """kill -9 of the subscriber's own node in a stream of messages."""
    user = b"survivor"
    with Mesh(4) as nodes:
        wire, token = begin(nodes[3], user)
        for node in nodes:
            arrived(node, user)
        senders = [Sender(node, user) for node in nodes.nodes[:3]]
        for sender in senders:
            sender.start()
        time.sleep(0.5)
        nodes[3].kill()
        before = []
        with pytest.raises(Closed):
            while True:
                before += payloads([wire.read(5)], user)
        time.sleep(0.5)
        while True:
            wire = nodes[1].wire(3)
            wire.send(encode("MESH.ATTACH", user, "RESUME", token))
            answer = wire.read()
            if not isinstance(answer, Failure):
                break
            # Until all agree that the node is dead it may come back with what it has.
            assert answer.startswith(b"TRYAGAIN"), answer
        assert wire.read() == [b"gap", b"user", user, 0, 0], "how much it had nobody knows"
        time.sleep(0.5)
        reported = [sender.stop() for sender in senders]
        after = payloads(wire.waiting(0.5), user)
        assert len(set(before + after)) == len(before) + len(after), "none twice"
        for sender, undelivered in zip(senders, reported):
            def numbers(payloads):
                return [int(p.split(b":")[1]) for p in payloads if p.startswith(sender.tag + b":")]

            noticed = sender.answers.index(-1)
            assert 0 not in sender.answers, "it is known to be coming back"
            assert numbers(before) == list(range(len(numbers(before)))), "in order"
            came = numbers(after)
            assert came == sorted(came), "in order"
            assert set(range(noticed, len(sender.answers))) <= set(came), "nothing is missed"
            lost = noticed - len([n for n in numbers(before) + came if n < noticed])
            note("sent to a node that was killed: lost in its memory, reported, before the notice",
                 "%d, %d, %d" % (lost, undelivered, noticed))
            # What the dead node had acknowledged was in its memory, which the gap stands for.
            assert lost <= undelivered + 20


def test_a_session_whose_node_was_killed_begins_anew_with_a_gap_of_unknown_size():
    with Mesh(3) as nodes:
        wire, token = begin(nodes[2], b"orphan")
        arrived(nodes[0], b"orphan")
        arrived(nodes[1], b"orphan")
        nodes[2].kill()
        nodes.wait_members()

        def died():
            # Until all agree that it is dead it may come back with what it has.
            answer = nodes[1].wire().call("MESH.ATTACH", "nobody", "RESUME", token)
            assert not answer.startswith(b"TRYAGAIN"), answer

        eventually(5, died)
        wire, fresh = resume(nodes[1], b"orphan", token)
        assert fresh.startswith(nodes[1].id.encode())
        assert wire.read() == [b"gap", b"user", b"orphan", 0, 0]
        arrived(nodes[0], b"orphan")
        assert nodes[0].call("MESH.SEND", "orphan", "x") == 1
        assert delivery(wire.read()) == (b"orphan", b"x")


def test_a_frozen_node_has_its_session_still():
    with Mesh(3) as nodes:
        wire, token = begin(nodes[2], b"stuck")
        arrived(nodes[0], b"stuck")
        nodes[2].freeze()
        wire.close()
        answer = nodes[1].wire().call("MESH.ATTACH", "stuck", "RESUME", token, timeout=5)
        assert answer.startswith(b"TRYAGAIN"), answer
        nodes[2].thaw()
        eventually(10, lambda: len(nodes[1].members()) == 3)

        def resumed():
            other = nodes[1].wire(3)
            other.send(encode("MESH.ATTACH", "stuck", "RESUME", token))
            assert not isinstance(other.read(5), Failure)

        eventually(8, resumed)
