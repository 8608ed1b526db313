"""A rolling restart of ten nodes under load, with redis-py and its own retries.

Each node in turn gets SIGTERM, ends, and starts again at its addresses. Its clients reconnect to the
same address, as redis-py does by itself, and subscribe again.
"""
import signal
import threading
import time

import pytest
import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from mesh import Mesh, deliver_everywhere, eventually, note

pytestmark = [pytest.mark.mesh, pytest.mark.deadline(240), pytest.mark.turn(0, 2)]
COUNT = 10
INTERVAL = 0.01


class CountingRetry(Retry):
    """redis-py's retry, which tells how often it was needed."""

    def __init__(self):
        super().__init__(ExponentialBackoff(cap=0.5, base=0.02), 100)
        self.failures = 0

    def __deepcopy__(self, _):
        # Each connection takes a copy; counted together.
        return self

    def call_with_retry(self, do, fail, *arguments, **options):
        def failed(*error):
            self.failures += 1
            return fail(*error)

        return super().call_with_retry(do, failed, *arguments, **options)


def client_of(node):
    retry = CountingRetry()
    client = node.client(3, retry=retry, retry_on_error=[redis.ConnectionError],
                         socket_timeout=10, socket_connect_timeout=10)
    return client, retry


class Publisher(threading.Thread):
    """Writes to all channels in turn through one node; numbers its messages by channel."""

    def __init__(self, node, channels):
        super().__init__(daemon=True)
        self.node = node
        self.channels = channels
        self.client, self.retry = client_of(node)
        self.sent = {channel: 0 for channel in channels}
        #: (channel, number): the reply was lost with the connection, so that redis-py has
        #: published it again: it may come twice, or have found nobody the first time.
        self.unsure = set()
        self.over = threading.Event()
        self.failure = None

    def run(self):
        try:
            turn = self.node.index
            while not self.over.is_set():
                channel = self.channels[turn % len(self.channels)]
                turn += 1
                failures = self.retry.failures
                number = self.sent[channel]
                self.client.publish(channel, b"%d %d" % (self.node.index, number))
                self.sent[channel] += 1
                if self.retry.failures != failures:
                    self.unsure.add((channel, number))
                self.over.wait(INTERVAL)
        except Exception as error:  # The test must see it, whatever it is.
            self.failure = error


class Reader(threading.Thread):
    """Subscribes to its own channel on one node, and keeps what comes, by publisher."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node = node
        self.channel = "rolling:%d" % node.index
        self.client, self.retry = client_of(node)
        self.pubsub = self.client.pubsub()
        self.pubsub.subscribe(self.channel)
        self.subscriptions = 0
        self.received = {}
        self.over = threading.Event()
        self.failure = None

    def run(self):
        try:
            while not self.over.is_set():
                message = self.pubsub.get_message(timeout=0.05)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    self.subscriptions += 1
                elif message["type"] == "message":
                    publisher, number = map(int, message["data"].split())
                    self.received.setdefault(publisher, []).append(number)
        except Exception as error:  # The test must see it, whatever it is.
            self.failure = error


def failures(threads):
    return ["%r: %r" % (one.node, one.failure) for one in threads if one.failure is not None]


def end(threads):
    for one in threads:
        one.over.set()
    for one in threads:
        one.join(30)
    assert failures(threads) == []


def restart(node, mesh):
    """SIGTERM, and a start at the same addresses through the others."""
    node.hang_up()
    node.seeds = [other.mesh for other in mesh if other is not node][:3]
    node.ended_by_us = True
    node.signal(signal.SIGTERM)
    assert node.process.wait(20) == 0, node.tail()
    node.restart().wait_ready(20)


@pytest.mark.parametrize("extra", [[], ["--degree", "6"]], ids=["full mesh", "sparse"])
def test_subscribers_lose_nothing_but_what_came_while_their_own_node_was_away(extra):
    with Mesh(COUNT, extra) as mesh:
        # Links of a sparse mesh still move when all are ready.
        time.sleep(1.5)
        readers = [Reader(node) for node in mesh]
        channels = [reader.channel for reader in readers]
        for reader in readers:
            reader.start()
        expected = [word for channel in channels for word in (channel.encode(), 1)]
        for node in mesh:
            eventually(20, lambda: node.call("PUBSUB", "NUMSUB", *channels) == expected)
        publishers = [Publisher(node, channels) for node in mesh]
        for publisher in publishers:
            publisher.start()
        time.sleep(0.5)

        # What is published to a reader from here to there may find it away: (publisher, reader) →
        # [(first number, number after the last)].
        away = {}
        start = time.monotonic()
        for node in mesh:
            def numbers():
                return [publisher.sent[channels[node.index]] for publisher in publishers]

            former = readers[node.index].subscriptions
            before = numbers()
            restart(node, mesh)
            assert failures([*readers, *publishers]) == []
            eventually(20, lambda: readers[node.index].subscriptions > former)
            for other in mesh:
                eventually(20, lambda: other.call(
                    "PUBSUB", "NUMSUB", channels[node.index])[1] == 1)
            # The message under way while the numbers are read is one more.
            for publisher, low, high in zip(publishers, before, numbers()):
                away[publisher.node.index, node.index] = (low, high + 1)
        note("rolling restart of ten nodes under load took", time.monotonic() - start)
        time.sleep(0.5)
        end(publishers)

        def complete():
            for publisher in publishers:
                for reader in readers:
                    got = reader.received.get(publisher.node.index, [])
                    last = publisher.sent[reader.channel] - 1
                    assert last in got or (reader.channel, last) in publisher.unsure

        eventually(20, complete)
        end(readers)

        lost = doubled = 0
        for publisher in publishers:
            for reader in readers:
                low, high = away[publisher.node.index, reader.node.index]
                got = reader.received.get(publisher.node.index, [])
                unsure = {number for channel, number in publisher.unsure
                          if channel == reader.channel}
                wanted = {number for number in range(publisher.sent[reader.channel])
                          if not low <= number < high} - unsure
                missing = wanted - set(got)
                sure = [number for number in got if number not in unsure]
                lost += len(missing)
                doubled += len(sure) - len(set(sure))
                assert not missing, "%r → %r: missing %s, away %s" % (
                    publisher.node, reader.node, sorted(missing)[:10], (low, high))
                assert sure == sorted(set(sure)), "%r → %r: not once and in order" % (
                    publisher.node, reader.node)
        total = sum(sum(publisher.sent.values()) for publisher in publishers)
        assert total > 500
        note("… messages published; lost, twice outside one's own restart", "%d; %d, %d" % (
            total, lost, doubled))

        # No storm: redis-py had to try again for a while, and no reader was disconnected but by its
        # own node. Nobody who left was thought dead.
        for reader in readers:
            assert reader.subscriptions == 2, "%r subscribed %d times" % (
                reader.node, reader.subscriptions)
        retries = sum(one.retry.failures for one in [*publishers, *readers])
        note("… tries of redis-py that failed", "%d" % retries)
        assert COUNT <= retries < 100 * COUNT
        for node in mesh:
            assert node.metric("smallworld_deaths_total") == 0
        mesh.wait_members(10)
        deliver_everywhere(mesh)
