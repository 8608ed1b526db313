"""A rolling restart of ten nodes under load, with sessions and redis-py's own retries.

As in test_rolling.py; users have sessions besides, which redis-py resumes each time that it connects,
and which go to other nodes as those that leave say.
"""
import threading
import time

import pytest
import redis

from mesh import Mesh, eventually, note
from resp import encode
from test_rolling import COUNT, INTERVAL, Publisher, client_of, end, failures, restart

pytestmark = [pytest.mark.mesh, pytest.mark.deadline(300), pytest.mark.turn(1, 2)]


class Draining(Exception):
    """The node leaves, and says where to attach."""


class SessionPubSub(redis.client.PubSub):
    """redis-py's subscriber, whose connection has a user's session: each time that redis-py connects
    again, the session is resumed by its token."""

    def __init__(self, pool, user, token=None):
        super().__init__(connection_pool=pool)
        self.user = user
        self.token = token
        self.resumed = self.refused = 0
        self.connection = pool.get_connection()
        # A callback has its turn when redis-py connects again, and not the first time.
        self.attach(self.connection)
        self.connection.register_connect_callback(self.on_connect)

    def on_connect(self, connection):
        self.attach(connection)
        super().on_connect(connection)

    def attach(self, connection):
        deadline = time.monotonic() + 20
        while True:
            words = ["RESUME", self.token] if self.token else ["SESSION"]
            connection.send_command("MESH.ATTACH", self.user, *words)
            try:
                token = connection.read_response()
                break
            except redis.ConnectionError:
                raise
            except redis.ResponseError as error:
                kind = str(error).partition(" ")[0]
                if kind == "DRAINING":
                    raise Draining(str(error).split()[-1]) from error
                if kind == "NOSESSION":
                    self.refused += 1
                    self.token = None
                elif kind != "LOADING" or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self.resumed += self.token is not None
        self.token = token


class User(threading.Thread):
    """Somebody with a session, who goes where the node that leaves says, or comes back to it."""

    def __init__(self, mesh, number):
        super().__init__(daemon=True)
        self.node = mesh[number % len(mesh)]
        self.nodes = {"%s:%d" % node.addresses["redis"]: node for node in mesh}
        self.user = b"rolling user %d" % number
        self.received = {}
        self.gaps = []
        self.moves = 0
        self.over = threading.Event()
        self.failure = None
        self.attach()

    def attach(self, token=None):
        self.client, self.retry = client_of(self.node)
        self.pubsub = SessionPubSub(self.client.connection_pool, self.user, token)

    def run(self):
        try:
            while not self.over.is_set():
                try:
                    frame = self.pubsub.parse_response(block=False, timeout=0.05)
                except Draining as elsewhere:
                    self.move(str(elsewhere))
                    continue
                if frame is not None:
                    self.take(frame)
        except Exception as error:  # The test must see it, whatever it is.
            self.failure = error

    def take(self, frame):
        kind = frame[0]
        if kind == b"user":
            sender, number = map(int, frame[2].split())
            self.received.setdefault(sender, []).append(number)
        elif kind == b"gap":
            self.gaps.append(frame)
        elif kind == b"moved":
            self.move(frame[1].decode())

    def move(self, address):
        """The node leaves: a new connection to another one takes the session along. What was already
        sent over the former one is read first."""
        former = self.pubsub
        self.node = self.nodes[address]
        self.moves += 1
        self.attach(former.token)
        connection = former.connection
        try:
            # Not by `parse_response`, which would connect again.
            while connection.is_connected and connection.can_read(timeout=0.2):
                frame = connection.read_response(disconnect_on_error=False, push_request=True)
                if frame[0] != b"moved":
                    self.take(frame)
        except redis.ConnectionError:
            pass
        former.close()


class Sender(Publisher):
    """Sends to users in turn."""

    def run(self):
        #: (user, number): the node said that the user was nowhere.
        self.nowhere = []
        try:
            turn = self.node.index
            while not self.over.is_set():
                user = self.channels[turn % len(self.channels)]
                turn += 1
                failures = self.retry.failures
                number = self.sent[user]
                nodes = self.client.execute_command(
                    "MESH.SEND", user, b"%d %d" % (self.node.index, number))
                if nodes == 0:
                    self.nowhere.append((user, number))
                self.sent[user] += 1
                if self.retry.failures != failures:
                    self.unsure.add((user, number))
                self.over.wait(INTERVAL)
        except Exception as error:  # The test must see it, whatever it is.
            self.failure = error


@pytest.mark.parametrize("extra", [[], ["--degree", "6"]], ids=["full mesh", "sparse"])
def test_sessions_lose_nothing_and_nobody_is_seen_offline(extra):
    with Mesh(COUNT, extra) as mesh:
        time.sleep(1.5)
        users = [User(mesh, number) for number in range(2 * COUNT)]
        names = [user.user for user in users]
        for user in users:
            user.start()
        for node in mesh:
            eventually(20, lambda: node.call("MESH.ONLINE", *names) == [1] * len(names))
        # Its own node restarts like all others: it watches from each in turn.
        seen = []
        watchers = {}

        def watch(node):
            wire = node.wire(3)
            wire.send(encode("MESH.WATCH", *names))
            frames = [wire.read() for _ in range(2 * len(names))]
            seen.extend(frame for frame in frames if frame[0] == b"presence")
            watchers[node.index] = wire

        for node in mesh:
            watch(node)
        senders = [Sender(node, names) for node in mesh]
        for sender in senders:
            sender.start()
        time.sleep(0.5)
        start = time.monotonic()
        for node in mesh:
            # What the watcher was told so far; the rest goes with its node.
            seen.extend(watchers.pop(node.index).waiting(0.01))
            restart(node, mesh)
            assert failures([*users, *senders]) == []
            eventually(20, lambda: node.call("MESH.ONLINE", *names) == [1] * len(names))
            watch(node)
        note("rolling restart of ten nodes with sessions took", time.monotonic() - start)
        time.sleep(0.5)
        end(senders)

        def last_ones():
            for sender in senders:
                for user in users:
                    last = sender.sent[user.user] - 1
                    assert last < 0 or last in user.received.get(sender.node.index, []), (
                        "%r → %s: %d" % (sender.node, user.user, last))

        eventually(20, last_ones)
        end(users)
        for wire in watchers.values():
            seen.extend(wire.waiting(0.01))
        offline = [frame for frame in seen if frame[0] == b"presence" and frame[2] != b"online"]
        assert offline == [], "seen offline: %s" % offline[:5]

        for sender in senders:
            for user in users:
                got = user.received.get(sender.node.index, [])
                unsure = {number for name, number in sender.unsure if name == user.user}
                missing = set(range(sender.sent[user.user])) - set(got)
                assert not missing, "%r → %s: missing %s of %d; unsure %s, nowhere %s" % (
                    sender.node, user.user, sorted(missing)[:10], sender.sent[user.user],
                    sorted(unsure), [n for name, n in sender.nowhere if name == user.user])
                sure = [number for number in got if number not in unsure]
                assert sure == sorted(set(sure)), "%r → %s: not once and in order" % (
                    sender.node, user.user)
        assert [user.gaps for user in users if user.gaps] == []
        assert sum(user.pubsub.refused for user in users) == 0
        total = sum(sum(sender.sent.values()) for sender in senders)
        note("… messages to 20 users; lost, twice, seen offline", "%d; 0, 0, 0" % total)
        note("… moves to another node", "%d" % sum(user.moves for user in users))
        # No storm.
        retries = sum(one.retry.failures for one in [*users, *senders])
        note("… tries of redis-py that failed", "%d" % retries)
        assert retries < 200 * COUNT
        for node in mesh:
            assert node.metric("smallworld_deaths_total") == 0
        mesh.wait_members(10)
