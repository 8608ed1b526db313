"""Clients that read too slowly: what each policy of MESH.POLICY does to them, and to nobody else."""
import threading
import time

import pytest

import mesh
from mesh import Mesh, eventually, note
from pace import Paced, SlowReader, Stream
from resp import Closed, Failure, Push, encode

pytestmark = pytest.mark.mesh
SIZE = 1_000
COUNT = 40_000
POLICIES = ("drop-oldest", "drop-newest", "latest")


@pytest.fixture(scope="module")
def two():
    with Mesh(2, extra=["--slow-queue", "1mb", "--output-limit", "64mb 0 0"]) as nodes:
        yield nodes


def stalled(node, *setup, protocol=3):
    """A connection that has said all this and then does not read."""
    wire = node.wire(protocol)
    for words in setup:
        wire.send(encode(*words))
        wire.read()
    return wire


def payload(number):
    return (b"%09d" % number).ljust(SIZE, b".")


def flood(node, channel, count, reader=None):
    """Publishes numbered messages, no faster than the reader, which is as slow as Python is."""
    wire = node.wire(2)
    for first in range(0, count, 1_000):
        last = min(first + 1_000, count)
        wire.send(b"".join(encode("PUBLISH", channel, payload(k)) for k in range(first, last)))
        for _ in range(first, last):
            wire.reply(30)
        if reader:
            reader.wait_count(last - 2_000, 30)
    wire.close()


def numbers(frames):
    return [int(frame[2][:9]) for frame in frames if frame[0] == b"message"]


def gaps(frames):
    """(kind, name, count, milliseconds) of each notice."""
    return [tuple(frame[1:]) for frame in frames if frame[0] == b"gap"]


def everything(wire, last, within=30):
    """All frames until the message `last`."""
    frames = []
    deadline = time.monotonic() + within
    while True:
        frame = wire.read(deadline - time.monotonic())
        frames.append(frame)
        if frame[0] == b"message" and frame[2] == last:
            return frames


def heard(node, channel, count=1):
    eventually(5, lambda: node.call("PUBSUB", "NUMSUB", channel) == [channel.encode(), count])


@pytest.mark.deadline(120)
@pytest.mark.parametrize("protocol", (2, 3))
@pytest.mark.parametrize("policy", POLICIES)
def test_a_stalled_subscriber_loses_what_its_policy_says_and_nobody_else_does(
        two, policy, protocol):
    channel = "slow:%s:%d" % (policy, protocol)
    slow = stalled(two[1], ["MESH.POLICY", policy], ["MESH.GAPS", "ON"], ["SUBSCRIBE", channel],
                   protocol=protocol)
    good = mesh.Subscriber(two[1], 3, [channel]).wait_confirmed()
    heard(two[0], channel, 2)
    before = two[1].metrics().total("smallworld_slow_consumer_dropped_total", policy=policy)
    memory = two[1].resident()
    flood(two[0], channel, COUNT, good)
    good.wait_count(COUNT, 30)
    assert [int(message[3][:9]) for message in good.messages] == list(range(COUNT))
    assert two[1].resident() - memory < 32 << 20
    info = two[1].client_list()
    row = next(row for row in info if row["policy"] == policy and row["resp"] == str(protocol))
    dropped = int(row["dropped"])
    counted = two[1].metrics().total("smallworld_slow_consumer_dropped_total", policy=policy)
    assert dropped == counted - before > 0
    status = two[1].status()
    name = {"drop-oldest": "Oldest", "drop-newest": "Newest", "latest": "Latest"}[policy]
    assert status["slowDropped" + name] == counted

    # It reads again: what waited, the gap in its place, then what is new.
    last = b"end"
    reader = threading.Timer(0.5, lambda: two[0].call("PUBLISH", channel, last))
    reader.start()
    if policy == "drop-newest":
        # What comes while nothing fits is lost too, so the end is told once there is room.
        reader.cancel()
        frames = slow.waiting(1.0)
        two[0].call("PUBLISH", channel, last)
        frames += slow.waiting(0.3)
        assert frames.pop()[2] == last
    else:
        frames = everything(slow, last)
        frames.pop()
    kind = Push if protocol == 3 else list
    assert all(type(frame) is kind for frame in frames)
    got = numbers(frames)
    assert got == sorted(set(got)), "in order, none twice"
    told = gaps(frames)
    assert {gap[:2] for gap in told} == {(b"channel", channel.encode())}
    assert sum(gap[2] for gap in told) == dropped == COUNT - len(got)
    assert all(0 <= gap[3] < 60_000 for gap in told)
    # The first notice stands where the messages would have stood. The kernel takes more of a stalled
    # connection when it likes, so there may be other gaps, of which a client that stays behind is told
    # every 100 ms.
    first = next(place for place, frame in enumerate(frames) if frame[0] == b"gap")
    assert got[:first] == list(range(first)) and first > 100
    if policy != "drop-newest":
        assert got[first] == first + frames[first][3]
    if policy == "latest":
        assert got[-1] == COUNT - 1
    elif policy == "drop-oldest":
        assert got[-500:] == list(range(COUNT - 500, COUNT))
    else:
        # Some 256 KiB on their way, and a queue of 1 MB that is not touched any more.
        assert first > 1_000
    note("%s, RESP%d: of %d messages of %d bytes dropped" % (policy, protocol, COUNT, SIZE),
         "%d" % dropped)
    slow.close()
    good.close()


@pytest.mark.deadline(120)
@pytest.mark.parametrize("policy", (*POLICIES, "disconnect"))
def test_the_others_keep_their_rate_beside_a_subscriber_that_takes_half(policy):
    """4 MB/s come for it and it takes 2: twice what its queue drains. Meanwhile nobody else is
    slower: not those on its node, not those of its channel, not its publisher's other receivers."""
    limits = ["--slow-queue", "1mb", "--output-limit", "6mb 0 0"]
    with Mesh(3, extra=limits) as three:
        slow = SlowReader(
            three[1], 2_000_000, ["MESH.POLICY", policy], ["MESH.GAPS", "ON"],
            ["SUBSCRIBE", "heavy"])
        heavy = Stream(b"heavy", three[0], [three[2]], rate=1_000, size=4_000)
        light = [Stream(b"light:%d" % k, three[k % 3], [three[(k + 1) % 3]], rate=1_000)
                 for k in range(6)]
        heard(three[0], "heavy", 2)
        memory = three[1].resident()
        slow.start()
        with Paced([heavy, *light]) as load:
            load.go_on(1)
            first = len(heavy.marks)
            load.go_on(5)
            last = len(heavy.marks) - 1
            grown = three[1].resident() - memory
            load.wait_all()
        for stream in (heavy, *light):
            kept = stream.share(0, stream.marks[first], stream.marks[last])
            assert kept >= 0.95, "%s keeps %.3f of its rate" % (stream.channel, kept)
            assert stream.numbers(0) == list(range(stream.sent)), "all of it, in order"
        note("%s: the least of its rate that another stream has kept" % policy, "%.3f" % min(
            stream.share(0, stream.marks[first], stream.marks[last])
            for stream in (heavy, *light)))
        bound = (6 if policy == "disconnect" else 1) << 20
        # What its allocator keeps, and what the other streams have under way, is within the rest.
        assert grown < bound + (16 << 20), "%d MB" % (grown >> 20)
        metrics = three[1].metrics()
        if policy == "disconnect":
            eventually(5, lambda: not slow.is_alive())
            assert slow.is_closed
            assert metrics.total(
                "smallworld_slow_consumer_disconnected_total", policy="disconnect") == 1
            return
        dropped = metrics.total("smallworld_slow_consumer_dropped_total", policy=policy)
        assert dropped > 0
        wire = slow.stop()
        frames = wire.waiting(0.5)
        got = numbers(frames)
        assert got == sorted(set(got)), "in order, none twice"
        assert sum(gap[2] for gap in gaps(frames)) == dropped == heavy.sent - len(got)


def test_a_client_that_may_not_lose_anything_is_disconnected_at_the_limits():
    with Mesh(2, extra=["--output-limit", "16mb 2mb 2"]) as pair:
        def disconnected():
            return pair[1].metrics().total(
                "smallworld_slow_consumer_disconnected_total", policy="disconnect")

        for channel, count, within in (("hard", COUNT, 5), ("soft", 14_000, 8)):
            slow = stalled(pair[1], ["SUBSCRIBE", channel])
            heard(pair[0], channel)
            before = disconnected()
            flood(pair[0], channel, count)
            eventually(within, lambda: disconnected() == before + 1)
            with pytest.raises(Closed):
                while True:
                    slow.read(5)
            heard(pair[0], channel, 0)


def test_latest_keeps_the_newest_of_each_of_many_channels(two):
    channels = ["price:%d" % k for k in range(20)]
    slow = stalled(two[1], ["MESH.POLICY", "latest"], ["MESH.GAPS", "ON"])
    slow.send(encode("SUBSCRIBE", *channels))
    for _ in channels:
        slow.read()
    heard(two[0], channels[-1])
    wire = two[0].wire(2)
    for number in range(COUNT // 20):
        wire.send(b"".join(encode("PUBLISH", name, payload(number)) for name in channels))
        for _ in channels:
            wire.reply()
    frames = slow.waiting(0.5)
    got = {}
    lost = {}
    for frame in frames:
        if frame[0] == b"gap":
            lost[frame[2]] = lost.get(frame[2], 0) + frame[3]
        else:
            got.setdefault(frame[1], []).append(int(frame[2][:9]))
    for name in channels:
        values = got[name.encode()]
        assert values == sorted(set(values)) and values[-1] == COUNT // 20 - 1
        assert len(values) + lost[name.encode()] == COUNT // 20
    slow.close()


def test_the_default_can_be_configured():
    with Mesh(1, extra=["--slow-consumer", "drop-newest"]) as one:
        assert one[0].call("MESH.POLICY") == b"drop-newest"
        assert one[0].status()["slowConsumer"] == "drop-newest"


def test_mistakes_are_answered(two):
    for words in (["MESH.POLICY", "nonsense"], ["MESH.POLICY", "latest", "latest"],
                  ["MESH.GAPS"], ["MESH.GAPS", "maybe"]):
        assert isinstance(two[0].call(*words), Failure), words
