"""Five processes, redis-py on each: publish there, subscribe here, and what PUBSUB says of it.

Every pair of (publisher's node, subscriber's node) delivers each message
exactly once, in the publisher's order, binary-safe, 1 byte to 1 MiB, in each of the three kinds.
"""
import random
import threading
import time

import pytest

import resp
from mesh import Subscriber, eventually, note, receivers, steadily

NODES = range(5)
#: Every kind of size: around powers of two, around the receive buffers, the largest at the end.
SIZES = [1, 2, 3, 15, 16, 17, 127, 128, 129, 255, 256, 1_000, 4_095, 4_096, 16_383, 16_384, 65_535,
         65_536, 65_537, 262_144, 1_048_576]


def payloads(seed):
    """Random bytes of all sizes, among them the bytes that end lines in the protocol."""
    source = random.Random(seed)
    large = [source.randbytes(size) for size in SIZES]
    small = [source.choice([b"\r\n", b"\0", b"$5\r\n", b"\xff\xfe", b"*1\r\n"])
             + source.randbytes(source.randrange(64)) for _ in range(100)]
    return [small[0], *large, *small]


def numsub(node, *channels, shard=False):
    client = node.reader
    ask = client.pubsub_shardnumsub if shard else client.pubsub_numsub
    return [tuple(pair) for pair in ask(*channels)]


@pytest.fixture(autouse=True)
def readers(five):
    """A client on each node to ask with."""
    for node in five:
        if not hasattr(node, "reader"):
            node.reader = node.client()
            node.call("PING")


@pytest.mark.deadline(120)
@pytest.mark.parametrize("kind", ["channel", "pattern", "shard"])
def test_every_pair_delivers_each_message_once_in_order(five, kind):
    def channel(i, j):
        return b"pair\0\r\n\xff%s%d:%d" % (kind.encode(), i, j)

    subscribers = []
    try:
        for j in NODES:
            names = [channel(i, j) for i in NODES]
            for protocol in (2, 3):
                if kind == "channel":
                    one = Subscriber(five[j], protocol, channels=names)
                elif kind == "shard":
                    one = Subscriber(five[j], protocol, shards=names)
                else:
                    one = Subscriber(five[j], protocol,
                                     patterns=[b"pair\0\r\n\xffp[a-z]*[0-4]:%d" % j])
                subscribers.append((j, one.wait_confirmed()))
        everything = [channel(i, j) for i in NODES for j in NODES]
        if kind == "pattern":
            took = eventually(5, lambda: all(n.reader.pubsub_numpat() == 5 for n in five))
        else:
            took = eventually(5, lambda: all(
                numsub(n, *everything, shard=kind == "shard") == [(c, 2) for c in everything]
                for n in five))
        note("%s: subscriptions known on all five nodes after" % kind, took)

        sent = {(i, j): payloads(i * 5 + j) for i in NODES for j in NODES}
        counts = {}

        def publish(i):
            client = five[i].client(protocol=2 + i % 2)
            for number in range(len(sent[i, 0])):
                pipe = client.pipeline(transaction=False)
                for j in NODES:
                    pipe.execute_command("SPUBLISH" if kind == "shard" else "PUBLISH",
                                         channel(i, j), sent[i, j][number])
                counts.setdefault(i, []).append(pipe.execute())

        start = time.monotonic()
        threads = [threading.Thread(target=publish, args=(i,)) for i in NODES]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        each = len(sent[0, 0])
        for _, one in subscribers:
            one.wait_count(5 * each, within=30)
        took = time.monotonic() - start
        steadily(0.3, lambda: all(len(one.messages) == 5 * each for _, one in subscribers))
        note("%s: %d messages, 1 byte … 1 MiB, 25 pairs, RESP2 and RESP3" % (
            kind, 50 * each), took)

        for j, one in subscribers:
            for i in NODES:
                got = [m for m in one.messages if m[2] == channel(i, j)]
                assert [m[3] for m in got] == sent[i, j], \
                    "from node %d to node %d, RESP%d" % (i, j, one.protocol)
                pattern = b"pair\0\r\n\xffp[a-z]*[0-4]:%d" % j if kind == "pattern" else None
                type = {"channel": "message", "pattern": "pmessage", "shard": "smessage"}[kind]
                assert {m[:2] for m in got} == {(type, pattern)}
        for i in NODES:
            local = [receivers(i, [2 if n == j else 0 for n in NODES]) for j in NODES]
            assert counts[i] == [local] * each, "PUBLISH on node %d" % i
    finally:
        for _, one in subscribers:
            one.close()


@pytest.mark.deadline(60)
def test_publishers_of_one_channel_keep_their_own_order(five):
    subscribers = [Subscriber(node, 2 + node.index % 2, channels=[b"shared"]).wait_confirmed()
                   for node in five]
    eventually(5, lambda: all(numsub(n, b"shared") == [(b"shared", 5)] for n in five))
    each = 2_000

    def publish(i):
        pipe = five[i].client().pipeline(transaction=False)
        for number in range(each):
            pipe.publish(b"shared", b"%d %d" % (i, number))
            if number % 50 == 49:
                pipe.execute()

    start = time.monotonic()
    threads = [threading.Thread(target=publish, args=(i,)) for i in NODES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for one in subscribers:
        one.wait_count(5 * each, within=20)
    note("one channel, 5 publishers × 5 subscribers, %d messages" % (25 * each),
         time.monotonic() - start)
    steadily(0.3, lambda: all(len(one.messages) == 5 * each for one in subscribers))
    for one in subscribers:
        for i in NODES:
            mine = [m[3] for m in one.messages if m[3].startswith(b"%d " % i)]
            assert mine == [b"%d %d" % (i, number) for number in range(each)], \
                "node %d to %r" % (i, one.node)
        one.close()


def test_publish_counts_its_own_receivers_and_each_other_node_once(five):
    with Subscriber(five[0], 3, channels=[b"counted"]) as a, \
            Subscriber(five[0], 2, channels=[b"counted"]) as b, \
            Subscriber(five[1], 3, channels=[b"counted"], patterns=[b"count*"]) as c, \
            Subscriber(five[2], 3, patterns=[b"c?unted", b"count[e-f]d", b"other*"]) as d:
        local = [2, 2, 2, 0, 0]
        for node in five:
            eventually(5, lambda: node.reader.pubsub_numsub(b"counted") == [(b"counted", 3)]
                       and node.reader.pubsub_numpat() == 4)
        for node in five:
            assert node.reader.publish(b"counted", b"x%d" % node.index) \
                == receivers(node.index, local), "PUBLISH on %r" % node
        a.wait_count(5)
        b.wait_count(5)
        c.wait_count(10)
        d.wait_count(10)
        steadily(0.2, lambda: [len(s.messages) for s in (a, b, c, d)] == [5, 5, 10, 10])
        # A connection with the channel and a matching pattern gets both, the channel's first.
        for i in NODES:
            mine = [m[:2] for m in c.messages if m[3] == b"x%d" % i]
            assert mine == [("message", None), ("pmessage", b"count*")]
        for node in five:
            assert node.reader.publish(b"nobody", b"x") == 0
            assert node.reader.execute_command("SPUBLISH", b"counted", b"x") == 0, \
                "shard channels are another namespace"


def test_pubsub_answers_for_the_whole_cluster(five):
    with Subscriber(five[0], 3, channels=[b"news.a", b"news.b"], patterns=[b"p*"]), \
            Subscriber(five[1], 2, channels=[b"news.a"], patterns=[b"p*", b"q?"]), \
            Subscriber(five[3], 3, channels=[b"old.c"], shards=[b"news.s", b"t"]), \
            Subscriber(five[4], 2, shards=[b"news.s"]):
        def right(node):
            ask = node.reader.execute_command
            assert sorted(ask("PUBSUB", "CHANNELS")) == [b"news.a", b"news.b", b"old.c"]
            assert sorted(ask("PUBSUB", "CHANNELS", "news.*")) == [b"news.a", b"news.b"]
            assert sorted(ask("PUBSUB", "CHANNELS", "[no]*.[b-d]")) == [b"news.b", b"old.c"]
            assert ask("PUBSUB", "CHANNELS", "p*") == []
            assert node.call("PUBSUB", "NUMSUB", "old.c", "news.a", "none", "news.a", "news.s") == [
                b"old.c", 1, b"news.a", 2, b"none", 0, b"news.a", 2, b"news.s", 0]
            assert node.call("PUBSUB", "NUMSUB") == []
            assert ask("PUBSUB", "NUMPAT") == 2, "unique patterns"
            assert sorted(ask("PUBSUB", "SHARDCHANNELS")) == [b"news.s", b"t"]
            assert sorted(ask("PUBSUB", "SHARDCHANNELS", "n*")) == [b"news.s"]
            assert node.call("PUBSUB", "SHARDNUMSUB", "t", "news.s", "news.a") == [
                b"t", 1, b"news.s", 2, b"news.a", 0]

        note("PUBSUB right on all five nodes after", eventually(
            5, lambda: [right(node) for node in five] and True))

    def nothing(node):
        ask = node.reader.execute_command
        assert ask("PUBSUB", "CHANNELS") == [] and ask("PUBSUB", "SHARDCHANNELS") == []
        assert ask("PUBSUB", "NUMPAT") == 0
        assert node.reader.publish(b"news.a", b"x") == 0

    note("subscriptions of closed clients gone everywhere after", eventually(
        5, lambda: [nothing(node) for node in five] and True))


def test_unsubscribing_is_known_everywhere(five):
    client = five[2].wire(3)
    names = [b"leaving:%d" % number for number in range(50)]
    client.call("PING")
    for name in names:
        client.send(b"*2\r\n$9\r\nSUBSCRIBE\r\n$%d\r\n%s\r\n" % (len(name), name))
    client.waiting()
    eventually(5, lambda: all(numsub(n, *names) == [(name, 1) for name in names] for n in five))
    client.call("CLIENT", "ID")
    gone = names[::2]
    client.send(b"*%d\r\n$11\r\nUNSUBSCRIBE\r\n" % (len(gone) + 1)
                + b"".join(b"$%d\r\n%s\r\n" % (len(name), name) for name in gone))
    client.waiting()
    expected = [(name, number % 2) for number, name in enumerate(names)]
    eventually(5, lambda: all(numsub(n, *names) == expected for n in five))
    for node in five:
        for number, name in enumerate(names):
            assert node.reader.publish(name, b"x") == number % 2
    assert len([v for v in client.waiting() if v[0] == b"message"]) == 5 * 25
    client.close()


@pytest.mark.deadline(60)
def test_a_thousand_channels_over_all_nodes(five):
    source = random.Random(7)
    names = [b"many:%d" % number for number in range(1_000)]
    held = [set() for _ in NODES]
    for name in names:
        for j in source.sample(NODES, source.choice([1, 1, 1, 2, 5])):
            held[j].add(name)
    subscribers = [Subscriber(five[j], 3, channels=sorted(held[j])) for j in NODES]
    for one in subscribers:
        one.wait_confirmed()
    expected = [(name, sum(name in h for h in held)) for name in names]
    note("1,000 channels exact on all five nodes after", eventually(
        5, lambda: all(numsub(n, *names) == expected for n in five)))
    for i in NODES:
        pipe = five[i].reader.pipeline(transaction=False)
        for name in names:
            pipe.publish(name, b"%d" % i)
        assert pipe.execute() == [
            receivers(i, [int(name in h) for h in held]) for name in names]
    for j, one in enumerate(subscribers):
        one.wait_count(5 * len(held[j]))
        assert sorted((m[2], m[3]) for m in one.messages) == sorted(
            (name, b"%d" % i) for name in held[j] for i in NODES)
        one.close()


@pytest.mark.deadline(120)
def test_megabytes_of_channel_names_for_twelve_at_once_end_no_link(five):
    count, askers = 60_000, 12
    lost = [node.status()["linksLost"] for node in five]
    holder = five[1].wire(3, 60)
    names = [b"%090d" % number for number in range(count)]
    for start in range(0, count, 1_000):
        some = names[start:start + 1_000]
        holder.send(resp.encode("SUBSCRIBE", *some))
        for name in some:
            assert holder.read(60)[1] == name
    replies = [None] * askers

    def ask(number):
        with five[0].client(socket_timeout=60) as client:
            replies[number] = client.execute_command("PUBSUB", "CHANNELS", "0*")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(askers)]
    eventually(5, lambda: numsub(five[0], names[-1]) == [(names[-1], 1)])
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    note("5.4 MB of names to each of twelve after", time.monotonic() - began)
    assert all(reply is not None and len(reply) == count for reply in replies), [
        reply if reply is None else len(reply) for reply in replies]
    assert all(set(reply) == set(names) for reply in replies)
    assert [node.status()["linksLost"] for node in five] == lost
    assert all(five[0].status_of(node) == "alive" for node in five)
    holder.close()
