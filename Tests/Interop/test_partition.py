"""Networks that fall apart and heal: six nodes in six network namespaces.

A cut is silent: packets vanish and no connection is reset. Needs root and
iproute2, and fails without them.
"""
import time

import pytest

from mesh import Mesh, deliver_everywhere, eventually, note, subscribed
from namespaces import Network, run
from resp import encode

pytestmark = [pytest.mark.mesh, pytest.mark.deadline(150)]


def tables(node, channels):
    """All that must be the same everywhere."""
    return {
        "members": node.members(),
        "channels": sorted(node.call("PUBSUB", "CHANNELS")),
        "shard channels": sorted(node.call("PUBSUB", "SHARDCHANNELS")),
        "numsub": node.call("PUBSUB", "NUMSUB", *channels),
        "patterns": node.call("PUBSUB", "NUMPAT"),
        "users": node.call("MESH.ONLINE", *(b"user %d" % i for i in range(6)))}


class Six:
    """Six nodes, each with a channel, a pattern and a user of its own, and one that all have."""

    def __init__(self, network):
        self.network = network
        self.mesh = Mesh(6, network=network)
        self.wires = []
        self.changing = {}
        for node in self.mesh:
            wire = subscribed(node.wire(3), "SUBSCRIBE", "all", "own %d" % node.index)
            subscribed(wire, "SSUBSCRIBE", "shard %d" % node.index)
            self.wires.append(subscribed(wire, "PSUBSCRIBE", "p%d*" % node.index))
            assert node.wire(3).call("MESH.ATTACH", b"user %d" % node.index) == b"OK"
        self.held = {node.index: {b"all", b"own %d" % node.index} for node in self.mesh}

    def change(self, node, tag):
        """This node drops its own channel for another."""
        index = node.index
        wire = self.wires[index]
        for name in self.held[index] - {b"all"}:
            wire.send(encode("UNSUBSCRIBE", name))
        fresh = b"own %d, %s" % (index, tag)
        wire.send(encode("SUBSCRIBE", fresh))
        wire.waiting(0.05)
        self.held[index] = {b"all", fresh}

    def right(self, group):
        """Each of the group knows all of the group, nothing else, and they reach each other."""
        names = sorted(set().union(*(self.held[i] for i in range(6))))
        for index in group:
            node = self.mesh[index]
            found = tables(node, names)
            assert found["members"] == sorted(self.ids[i] for i in group), \
                "node %d: %d members" % (index, len(found["members"]))
            expected = sorted(set().union(*(self.held[i] for i in group)))
            assert found["channels"] == expected, "node %d" % index
            assert found["shard channels"] == sorted(b"shard %d" % i for i in group)
            assert found["numsub"] == [word for name in names for word in (
                name, sum(name in self.held[i] for i in group))], "node %d" % index
            assert found["patterns"] == len(group)
            assert found["users"] == [int(i in group) for i in range(6)]

    def works(self, group, tag):
        """Each of the group reaches each of it, and nobody else."""
        for wire in self.wires:
            wire.waiting(0.01)
        for index in group:
            payload = b"%s from %d" % (tag, index)
            assert self.mesh[index].call("PUBLISH", "all", payload) == len(group)
        expected = sorted(b"%s from %d" % (tag, i) for i in group)
        for index in range(6):
            got = sorted(frame[2] for frame in self.wires[index].waiting(0.2))
            assert got == (expected if index in group else []), "node %d" % index

    def __enter__(self):
        self.ids = [node.id for node in self.mesh]
        eventually(5, self.right, range(6))
        self.works(range(6), b"before")
        return self

    def __exit__(self, *error):
        self.mesh.__exit__(*error)


@pytest.mark.turn
@pytest.mark.parametrize("groups", [
    [[0, 1, 2], [3, 4, 5]], [[0], [1, 2, 3, 4, 5]], [[0, 3], [1, 4], [2, 5]],
    [[0], [1, 2], [3, 4, 5]]], ids=str)
def test_parts_go_on_and_merge_when_the_split_heals(groups):
    with Network(6) as network, Six(network) as six:
        network.cut(*groups)
        start = time.monotonic()
        for group in groups:
            eventually(10 - (time.monotonic() - start), six.right, group)
        note("split %s: each part of one mind after" % groups, time.monotonic() - start)
        for number, group in enumerate(groups):
            six.works(group, b"split %d" % number)
            six.change(six.mesh[group[0]], b"changed in part %d" % number)
            eventually(3, six.right, group)
        network.heal()
        took = eventually(10, six.right, range(6))
        note("healed %s: all tables agree after" % groups, took)
        six.works(range(6), b"healed")


def test_a_split_that_changes_its_shape_heals_too():
    with Network(6) as network, Six(network) as six:
        network.cut([0, 1, 2], [3, 4, 5])
        eventually(10, six.right, [0, 1, 2])
        eventually(10, six.right, [3, 4, 5])
        network.cut([0, 1, 3], [2, 4, 5])
        took = max(eventually(12, six.right, group) for group in ([0, 1, 3], [2, 4, 5]))
        note("the split changed its shape: of one mind after", took)
        network.heal()
        note("… healed after", eventually(10, six.right, range(6)))
        six.works(range(6), b"healed")


def test_a_new_node_may_join_one_part():
    with Network(6) as network:
        mesh = Mesh(network=network)
        with mesh:
            mesh.add().start().wait_listening()
            for _ in range(4):
                mesh.add(seeds=[mesh[0].mesh]).start()
            mesh.wait_ready()
            mesh.wait_members()
            network.cut([0, 1], [2, 3, 4, 5])
            eventually(10, lambda: len(mesh[0].members()) == 2 and len(mesh[2].members()) == 3)
            late = mesh.add(seeds=[mesh[3].mesh]).start()
            late.wait_ready(5)
            eventually(5, lambda: len(mesh[2].members()) == 4)
            network.heal()
            note("joined during a split, known to all after the heal in", mesh.wait_members(10))
            deliver_everywhere(mesh)


@pytest.mark.parametrize("one_way", [True, False], ids=["one way", "both ways"])
def test_one_cut_link_accuses_nobody_and_is_routed_around(one_way):
    with Network(6) as network, Six(network) as six:
        mesh = six.mesh
        run("-n", network.name(0), "route", "add", "blackhole", network.address(1) + "/32")
        if not one_way:
            run("-n", network.name(1), "route", "add", "blackhole", network.address(0) + "/32")
        start = time.monotonic()

        def around():
            six.works(range(6), b"around")

        time.sleep(2.0)
        eventually(5, around)
        note("a link cut %s: routed around after" % ("one way" if one_way else "both ways"),
             time.monotonic() - start)
        end = start + 8
        while time.monotonic() < end:
            six.right(range(6))
            time.sleep(0.2)
        for node in mesh:
            assert node.metric("smallworld_deaths_total") == 0, "%r has accused somebody" % node
        run("-n", network.name(0), "route", "del", "blackhole", network.address(1) + "/32")
        if not one_way:
            run("-n", network.name(1), "route", "del", "blackhole", network.address(0) + "/32")
        eventually(5, six.right, range(6))
        six.works(range(6), b"restored")
