"""Nodes that are killed, frozen, restarted, and that leave.

Five nodes are a full mesh; twelve nodes with six links each are not, so that
a node that dies is on other nodes' way.
"""
import contextlib
import signal
import time

import pytest

from mesh import Mesh, deliver_everywhere, eventually, note, steadily, subscribed
from resp import Failure, encode
from traffic import Traffic

pytestmark = [pytest.mark.mesh, pytest.mark.deadline(120)]


@contextlib.contextmanager
def five_nodes():
    with Mesh(5) as mesh:
        yield mesh


@contextlib.contextmanager
def sparse_twelve():
    """Twelve nodes with six links each: most messages pass other nodes."""
    with Mesh(12, extra=["--degree", "6"]) as mesh:
        mesh.wait_links_settled()
        yield mesh


both = pytest.mark.parametrize("make", [five_nodes, sparse_twelve], ids=["five", "twelve sparse"])


class Belongings:
    """A channel, a pattern, a shard channel and a user of one node, and what others see of them."""

    def __init__(self, node, tag="its"):
        self.node = node
        self.tag = tag.encode()
        self.channel, self.shard, self.user = (
            self.tag + b" channel", self.tag + b" shard", self.tag + b" user")
        self.wire = node.wire(3)
        for words in (["SUBSCRIBE", self.channel], ["PSUBSCRIBE", self.tag + b" p*"],
                      ["SSUBSCRIBE", self.shard]):
            self.wire.send(encode(*words))
            assert self.wire.read()[0] == words[0].lower().encode()
        self.attached = node.wire(3)
        assert not isinstance(self.attached.call("MESH.ATTACH", self.user), Failure)

    def there(self, node):
        """They are known on that node."""
        assert node.call("PUBSUB", "NUMSUB", self.channel)[1] == 1
        assert node.call("PUBSUB", "SHARDNUMSUB", self.shard)[1] == 1
        assert self.channel in node.call("PUBSUB", "CHANNELS")
        assert node.call("PUBSUB", "NUMPAT") == 1
        assert node.call("MESH.ONLINE", self.user) == [1]

    def gone(self, node):
        """Nothing of them is left there, and nothing is sent for them."""
        assert self.channel not in node.call("PUBSUB", "CHANNELS")
        assert self.shard not in node.call("PUBSUB", "SHARDCHANNELS")
        assert node.call("PUBSUB", "NUMSUB", self.channel)[1] == 0
        assert node.call("PUBSUB", "SHARDNUMSUB", self.shard)[1] == 0
        assert node.call("PUBSUB", "NUMPAT") == 0
        assert node.call("MESH.ONLINE", self.user) == [0]
        assert node.call("MESH.WHERE", self.user) == []
        assert node.call("PUBLISH", self.channel, "x") == 0
        assert node.call("SPUBLISH", self.shard, "x") == 0
        # -1: nowhere either, but it was somewhere a moment ago, and the message waits.
        assert node.call("MESH.SEND", self.user, "x") in (0, -1)
        assert self.node.id_at_start not in node.members() + node.members("suspect")

    def reached(self, node):
        """A message from there arrives."""
        payload = b"to it %d" % time.monotonic_ns()
        assert node.call("PUBLISH", self.channel, payload) == 1
        deadline = time.monotonic() + 1
        while True:
            if self.wire.read(max(deadline - time.monotonic(), 0.01))[2] == payload:
                return


def everywhere(nodes, check):
    for node in nodes:
        check(node)


@both
def test_kill_is_known_everywhere_within_a_second_and_the_others_go_on(make):
    with make() as mesh:
        victim = mesh[3]
        victim.id_at_start = victim.id
        others = [node for node in mesh if node is not victim]
        its = Belongings(victim)
        everywhere(others, lambda n: eventually(5, its.there, n))
        with Traffic(mesh) as traffic:
            traffic.go_on(0.5)
            traffic.leave_out(victim)
            traffic.go_on(0.3)
            victim.kill()
            start = time.monotonic()
            slowest = max(eventually(1.0, its.gone, node) for node in others)
            took = time.monotonic() - start
            assert took < 1.0, "the last node needed %.2f s" % took
            traffic.go_on(1.5)
            traffic.finish()
        note("kill -9 among %d: gone everywhere after" % len(mesh), took)
        assert slowest < 1.0
        # Also what the dead node had in hand for others: it was sent again another way.
        count = traffic.check(others)
        traffic.check_no_doubles()
        note("… messages of the others, each once and in order", count)
        for node in others:
            assert node.members() == sorted(n.id for n in others)
        deliver_everywhere(mesh)


@both
def test_a_frozen_node_is_suspected_routed_around_dead_and_comes_back(make):
    with make() as mesh:
        frozen = mesh[2]
        frozen.id_at_start = frozen.id
        others = [node for node in mesh if node is not frozen]
        its = Belongings(frozen)
        everywhere(others, lambda n: eventually(5, its.there, n))
        with Traffic(mesh) as traffic:
            traffic.go_on(0.5)
            traffic.leave_out(frozen)
            traffic.go_on(0.3)
            frozen.freeze()
            start = time.monotonic()

            def suspected():
                neighbours = [n for n in others if any(
                    row["peer"] == frozen.id_at_start for row in n.rows("MESH.LINKS"))]
                for node in neighbours:
                    assert all(row["doubted"] for row in node.rows("MESH.LINKS")
                               if row["peer"] == frozen.id_at_start), "%r trusts its link" % node

            eventually(2.0, suspected)
            note("SIGSTOP among %d: all links to it avoided after" % len(mesh),
                 time.monotonic() - start)
            # Until it is dead its entries stay; questions about them are answered at once.
            asked = time.monotonic()
            everywhere(others, lambda n: n.call("PUBSUB", "NUMSUB", its.channel, timeout=2))
            assert time.monotonic() - asked < 2.0
            time.sleep(max(2.0 - (time.monotonic() - start), 0))
            for node in others:
                eventually(5.0 - (time.monotonic() - start), its.gone, node)
            note("… dead everywhere after", time.monotonic() - start)
            traffic.go_on(1.0)
            traffic.leave_out(frozen)
            for node in others:
                assert node.metric("smallworld_deaths_total") >= 1

            frozen.thaw()
            start = time.monotonic()
            everywhere(others, lambda n: eventually(5, its.there, n))
            everywhere(others, lambda n: eventually(5, its.reached, n))
            note("SIGCONT: back everywhere, with its subscriptions, after",
                 time.monotonic() - start)
            assert frozen.metric("smallworld_refutations_total") >= 1
            traffic.go_on(0.5)
            traffic.finish()
        note("… messages of the others meanwhile, each once and in order", traffic.check(others))
        traffic.check_no_doubles()
        note("… and of one mind after", mesh.wait_members(5))
        assert frozen.id == frozen.id_at_start
        deliver_everywhere(mesh)


def test_a_short_pause_kills_nobody():
    with five_nodes() as mesh:
        its = Belongings(mesh[1])
        for _ in range(2):
            mesh[1].freeze()
            time.sleep(0.9)
            mesh[1].thaw()
            time.sleep(0.4)
        for node in mesh:
            assert node.metric("smallworld_deaths_total") == 0
            eventually(3, its.there, node)
        deliver_everywhere(mesh)


def test_a_node_restarted_at_once_at_the_same_address_leaves_no_ghost():
    with five_nodes() as mesh:
        for round, node in enumerate([mesh[2], mesh[0], mesh[4]]):
            node.id_at_start = node.id
            its = Belongings(node, "former %d" % round)
            others = [other for other in mesh if other is not node]
            everywhere(others, lambda n: eventually(5, its.there, n))
            former = node.id
            node.seeds = [others[0].mesh]
            node.kill()
            node.restart()
            took = node.wait_ready(5)
            start = time.monotonic()

            def clean(one):
                rows = one.rows("MESH.MEMBERS")
                here = [r for r in rows if r["status"] in ("alive", "suspect")]
                assert len(here) == 5, here
                assert former not in [r["id"] for r in here]
                at_its_address = [r for r in here if r["endpoint"] == "%s:%d" % node.mesh]
                assert [r["id"] for r in at_its_address] == [node.id]
                its.gone(one)

            for one in mesh:
                eventually(2, clean, one)
            note("restarted at the same address: ready after %.2f s, no ghost after" % took,
                 time.monotonic() - start)
            new = subscribed(node.wire(3), "SUBSCRIBE", "new life")
            for one in others:
                eventually(2, lambda: one.call("PUBLISH", "new life", "x") == 1)
            new.close()
            steadily(1.0, lambda: all(len(one.members()) == 5 for one in mesh))
        deliver_everywhere(mesh)


@both
def test_sigterm_leaves_gracefully(make):
    with make() as mesh:
        leaver = mesh[1]
        leaver.id_at_start = leaver.id
        others = [node for node in mesh if node is not leaver]
        its = Belongings(leaver)
        everywhere(others, lambda n: eventually(5, its.there, n))
        deaths = {node.index: node.metric("smallworld_deaths_total") for node in others}
        with Traffic(others) as traffic:
            traffic.go_on(0.5)
            leaver.ended_by_us = True
            start = time.monotonic()
            leaver.signal(signal.SIGTERM)
            status = leaver.process.wait(10)
            note("SIGTERM among %d: ended after" % len(mesh), time.monotonic() - start)
            assert status == 0, "exit status %s\n%s" % (status, leaver.tail())
            assert time.monotonic() - start < 5
            everywhere(others, lambda n: eventually(1.0, its.gone, n))
            note("… gone everywhere after", time.monotonic() - start)
            traffic.go_on(1.0)
            traffic.finish()
        traffic.check(others)
        traffic.check_no_doubles()
        for node in others:
            assert node.metric("smallworld_deaths_total") == deaths[node.index], "left is not dead"
            assert node.status_of(leaver) in ("left", None)
        deliver_everywhere(mesh)


def test_the_first_node_is_like_any_other():
    with five_nodes() as mesh:
        mesh[0].kill()
        eventually(2, lambda: all(len(node.members()) == 4 for node in mesh.alive()))
        late = mesh.add(seeds=[mesh[0].mesh, mesh[3].mesh]).start()
        late.wait_ready(3)
        mesh.wait_members(3)
        deliver_everywhere(mesh)


def test_two_at_once():
    with Mesh(8) as mesh:
        victims = [mesh[1], mesh[6]]
        belongings = []
        for number, node in enumerate(victims):
            node.id_at_start = node.id
            belongings.append(subscribed(node.wire(3), "SUBSCRIBE", "victim %d" % number))
        others = [node for node in mesh if node not in victims]
        for node in others:
            eventually(5, lambda: node.call("PUBLISH", "victim 0", "x") == 1
                       and node.call("PUBLISH", "victim 1", "x") == 1)
        for node in victims:
            node.kill()
        start = time.monotonic()
        for node in others:
            eventually(1.0, lambda: node.call("PUBLISH", "victim 0", "x") == 0
                       and node.call("PUBLISH", "victim 1", "x") == 0
                       and len(node.members()) == 6)
        took = time.monotonic() - start
        note("two of eight killed at once: gone everywhere after", took)
        assert took < 1.0
        deliver_everywhere(mesh)
