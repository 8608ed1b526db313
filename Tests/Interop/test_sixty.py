"""Sixty processes on one machine."""
import random
import time

import pytest

import mesh as harness
from mesh import Mesh, eventually, free_port, note, subscribed
from resp import encode

pytestmark = [pytest.mark.mesh, pytest.mark.deadline(150)]
COUNT = 60


@pytest.fixture(scope="module")
def sixty():
    """Sixty nodes, started at the same moment, each with another as its seed; all ready."""
    assert "debug" not in harness.BINARY, "measured with a release build, not %s" % harness.BINARY
    source = random.Random(60)
    with Mesh() as mesh:
        listen = [{"mesh": ("127.0.0.1", free_port())} for _ in range(COUNT)]
        # A random tree: any two are connected through seeds.
        seeds = [None] + [source.randrange(i) for i in range(1, COUNT)]
        for index in range(COUNT):
            mesh.add(listen=listen[index],
                     seeds=[] if seeds[index] is None else [listen[seeds[index]]["mesh"]])
        start = time.monotonic()
        for node in mesh:
            node.start()
        note("60 nodes: processes started after", time.monotonic() - start)
        mesh.wait_ready(20)
        took = time.monotonic() - start
        note("60 nodes: all ready after", took)
        assert took < 20
        note("60 nodes: all name all after", mesh.wait_members(20) + took)
        yield mesh


def link_lists(mesh):
    return {node.id: sorted(row["peer"] for row in node.rows("MESH.LINKS")) for node in mesh}


def test_degree_is_at_most_sixteen_and_links_are_mutual(sixty):
    def settled():
        links = link_lists(sixty)
        for id, peers in links.items():
            assert len(peers) == len(set(peers)) <= 16, "%s: %d links" % (id, len(peers))
            for other in peers:
                assert id in links[other], "%s says it links %s, which does not" % (id, other)
        ring = sorted(links, key=lambda id: int(id, 16))
        for position, id in enumerate(ring):
            for step in (1, 2):
                follower = ring[(position + step) % COUNT]
                assert follower in links[id], "%s lacks successor %d" % (id, step)
        degrees[:] = [len(peers) for peers in links.values()]
        assert sum(degrees) / COUNT >= 14, "the budget of 16 is not used: %s" % degrees

    degrees = []
    note("60 nodes: links settled after", eventually(20, settled))
    note("60 nodes: degree least, mean, most", "%d, %.1f, %d" % (
        min(degrees), sum(degrees) / COUNT, max(degrees)))
    # The cap is hard: also while things change.
    for _ in range(20):
        assert max(len(peers) for peers in link_lists(sixty).values()) <= 16
        time.sleep(0.05)


def test_random_pairs_deliver_in_few_hops(sixty):
    source = random.Random(600)
    wires = [subscribed(node.wire(3), "SUBSCRIBE", "node:%d" % node.index) for node in sixty]
    channels = ["node:%d" % index for index in range(COUNT)]
    expected = [word for channel in channels for word in (channel.encode(), 1)]
    note("60 nodes: 60 channels known everywhere after", eventually(
        10, lambda: all(node.call("PUBSUB", "NUMSUB", *channels) == expected for node in sixty)))

    def total(name):
        return sum(metrics[name] for metrics in [node.metrics() for node in sixty])

    hops, delivered = total("smallworld_message_hops_total"), total(
        "smallworld_messages_delivered_total")
    limit = total("smallworld_dropped_hop_limit_total")
    start = time.monotonic()
    sent = {index: [] for index in range(COUNT)}
    for node in sixty:
        targets = source.sample([i for i in range(COUNT) if i != node.index], 10)
        wire = node.wire(2)
        for target in targets:
            payload = b"%d to %d" % (node.index, target)
            assert wire.call("PUBLISH", "node:%d" % target, payload) == 1
            sent[target].append(payload)
        wire.close()
    for index, wire in enumerate(wires):
        got = sorted(wire.read(5)[2] for _ in sent[index])
        assert got == sorted(sent[index]), "node %d" % index
    note("60 nodes: 600 random pairs delivered in", time.monotonic() - start)
    for wire in wires:
        assert wire.waiting(0.02) == [], "delivered twice"

    hops = total("smallworld_message_hops_total") - hops
    delivered = total("smallworld_messages_delivered_total") - delivered
    assert delivered == 600
    note("60 nodes: mean hops", "%.3f" % (hops / delivered))
    assert hops / delivered <= 1.9
    for name in ("hop_limit", "no_route", "unknown_destination"):
        assert total("smallworld_dropped_%s_total" % name) == 0 or name != "hop_limit"
        note("60 nodes: dropped, %s" % name.replace("_", " "),
             "%d" % total("smallworld_dropped_%s_total" % name))
    assert limit == 0


def test_one_message_to_all_sixty(sixty):
    wires = [subscribed(node.wire(3), "SUBSCRIBE", "to all") for node in sixty]
    eventually(10, lambda: all(node.call("PUBSUB", "NUMSUB", "to all") == [b"to all", COUNT]
                               for node in sixty))
    start = time.monotonic()
    for number in range(20):
        assert sixty[number * 3].call("PUBLISH", "to all", b"%d" % number) == COUNT
    for wire in wires:
        assert sorted(int(wire.read(5)[2]) for _ in range(20)) == list(range(20))
    note("60 nodes: 20 messages to all in", time.monotonic() - start)
    for wire in wires:
        assert wire.waiting(0.01) == []
        wire.close()


def test_rest_is_cheap(sixty):
    """Heartbeats, not gossip, are what an idle mesh costs."""
    before = [node.cpu_seconds() for node in sixty]
    bytes_before = [node.metric("smallworld_received_bytes_total") for node in sixty]
    time.sleep(5)
    cpu = sum(node.cpu_seconds() for node in sixty) - sum(before)
    received = sum(node.metric("smallworld_received_bytes_total") for node in sixty) - sum(
        bytes_before)
    note("60 nodes idle: CPU of all together", "%.1f %% of one core" % (cpu / 5 * 100))
    note("60 nodes idle: received per node", "%.0f bytes/s" % (received / 5 / COUNT))
    note("60 nodes idle: resident, mean", "%.1f MiB" % (
        sum(node.resident() for node in sixty) / COUNT / (1 << 20)))
    assert cpu / 5 < 0.5
    assert received / 5 / COUNT < 10_000


def test_ten_of_sixty_killed_at_once(sixty):
    """Runs last: it leaves fifty."""
    source = random.Random(10)
    victims = source.sample(list(sixty), 10)
    ids = {node.id for node in victims}
    for node in victims:
        node.kill()
    others = sixty.alive()
    start = time.monotonic()

    def gone():
        for node in others:
            left = ids & set(node.members() + node.members("suspect"))
            assert not left, "node %d still has %d of them" % (node.index, len(left))

    took = eventually(6, gone)
    note("60 nodes, 10 killed at once: gone everywhere after", time.monotonic() - start)
    wires = [subscribed(node.wire(3), "SUBSCRIBE", "left") for node in others]
    eventually(10, lambda: all(node.call("PUBSUB", "NUMSUB", "left") == [b"left", 50]
                               for node in others))
    wire = others[0].wire(2)
    wire.send(encode("PUBLISH", "left", "x"))
    assert wire.reply() == 50
    for one in wires:
        assert one.read(5)[2] == b"x"
    assert took < 6
