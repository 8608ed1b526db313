"""Joining: through any live node, past dead seeds, all at once, before the seed is there.

"Ready means ready": what a node answers right after it says that it is ready
must already be right.
"""
import contextlib
import socket

import pytest

from mesh import (Mesh, deliver_everywhere, eventually, free_port, note, steadily, subscribed,
                  text)
from resp import Failure

pytestmark = pytest.mark.mesh


def own_ports():
    """Ports chosen before the start, for nodes that must know each other's."""
    return {"mesh": ("127.0.0.1", free_port())}


@contextlib.contextmanager
def silent_listener():
    """A seed that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()


def closed_port():
    """A seed that refuses connections."""
    return ("127.0.0.1", free_port())


@pytest.mark.parametrize("through", [0, 1, 2, 3])
def test_a_node_joins_through_any_live_node(through):
    with Mesh(4) as mesh:
        subscriber = subscribed(mesh[3 - through].wire(3), "SUBSCRIBE", "there")
        eventually(5, lambda: mesh[through].call("PUBSUB", "NUMSUB", "there") == [b"there", 1])
        late = mesh.add(seeds=[mesh[through].mesh]).start()
        took = late.wait_ready(5)
        # No waiting from here on: it has said that it is ready.
        assert late.call("PUBLISH", "there", "at once") == 1
        assert late.call("PUBSUB", "NUMSUB", "there") == [b"there", 1]
        assert len(late.members()) == 5
        assert subscriber.read(2) == [b"message", b"there", b"at once"]
        note("joined through node %d, ready after" % through, took)
        note("… known to all members after", mesh.wait_members(3))


def test_two_dead_seeds_and_one_alive():
    with Mesh(3) as mesh, silent_listener() as silent:
        late = mesh.add(seeds=[closed_port(), silent, mesh[2].mesh]).start()
        # Tried at once, not one by one: the silent seed costs nothing.
        note("two dead seeds and one alive, ready after", late.wait_ready(1.5))
        mesh.wait_members(3)
        assert len(late.members()) == 4


@pytest.mark.parametrize("count", [2, 5, 12])
def test_all_start_at_the_same_moment_and_each_names_another(count):
    with Mesh() as mesh:
        listen = [own_ports() for _ in range(count)]
        for index in range(count):
            mesh.add(seeds=[listen[(index + 1) % count]["mesh"]], listen=listen[index])
        for node in mesh:
            node.start()
        note("%d nodes in a circle of seeds, all ready after" % count, mesh.wait_ready(10))
        note("… and of one mind after", mesh.wait_members(5))
        for node in mesh:
            assert len(node.members()) == count
        deliver_everywhere(mesh)


def test_a_node_whose_seed_comes_up_only_later():
    with Mesh() as mesh:
        listen = own_ports()
        early = mesh.add(seeds=[listen["mesh"]]).start().wait_listening()

        def waits():
            assert early.http("/healthz")[0] == 200
            status, body = early.http("/readyz")
            assert status == 503, "it is ready alone, though it was told to join"
            assert "no seed has answered" in body, body
            for command in (["PING"], ["PUBLISH", "a", "b"], ["MESH.SEND", "a", "b"]):
                reply = early.wire().call(*command)
                assert isinstance(reply, Failure) and reply.startswith(b"LOADING "), reply

        steadily(1.0, waits)
        # Nobody is left to guess what it waits for.
        eventually(6, lambda: "noSeedAnswers" in early.tail() and text(listen["mesh"]) in early.tail())
        seed = mesh.add(listen=listen).start()
        seed.wait_ready(5)
        # Retried with back-off, 5 s at most.
        early.wait_ready(10)
        note("the seed came up later; members agree after", mesh.wait_members(5))
        deliver_everywhere(mesh)


def test_a_seed_that_is_the_node_itself_is_ignored():
    with Mesh() as mesh:
        listen = own_ports()
        alone = mesh.add(seeds=[listen["mesh"]], listen=listen).start()
        note("only itself as a seed, ready after", alone.wait_ready(2))
        assert len(alone.members()) == 1
        other = own_ports()
        second = mesh.add(seeds=[other["mesh"], listen["mesh"]], listen=other).start()
        second.wait_ready(3)
        mesh.wait_members(3)
        assert len(second.members()) == 2


def test_two_clusters_of_one_name_become_one_through_one_node():
    with Mesh(3) as mesh:
        others = [mesh.add(seeds=[]).start().wait_listening()]
        others[0].wait_ready(5)
        second = mesh.add(seeds=[others[0].mesh]).start()
        second.wait_ready(5)
        assert len(others[0].members()) == 2 and len(mesh[0].members()) == 3
        bridge = mesh.add(seeds=[mesh[1].mesh, second.mesh]).start()
        bridge.wait_ready(5)
        note("two clusters joined by a node with a seed in each after", mesh.wait_members(5))
        deliver_everywhere(mesh)


def test_the_printed_ports_are_those_of_port_zero():
    with Mesh() as mesh:
        node = mesh.add().start().wait_listening()
        node.wait_ready()
        assert all(port > 0 for _, port in node.addresses.values())
        assert node.client().ping()
        assert "smallworld_" in node.http("/metrics")[1]
        assert node.http("/healthz")[0] == 200 and node.http("/nothing")[0] == 404
        off = mesh.add(seeds=[node.mesh], listen={"redis": None, "http": None}).start()
        off.wait_ready()
        assert set(off.addresses) == {"mesh"}
        eventually(5, lambda: len(node.members()) == 2)


def test_addresses_that_others_can_reach_need_insecure():
    with Mesh() as mesh:
        node = mesh.add(listen={"mesh": ("0.0.0.0", 0)}).start()
        assert node.process.wait(5) != 0
        node.ended_by_us = True
        assert "--insecure" in node.tail(), "it does not say what to do: %s" % node.tail()


def test_a_taken_port_is_said_clearly():
    with Mesh(1) as mesh:
        for name in ("mesh", "redis", "http"):
            node = mesh.add(listen={name: mesh[0].addresses[name]}).start()
            assert node.process.wait(5) != 0
            node.ended_by_us = True
            assert text(mesh[0].addresses[name]) in node.tail(), node.tail()


def test_flags_win_over_the_configuration_file(tmp_path):
    file = tmp_path / "node.json5"
    file.write_text("""{
        // JSON5: comments, no quotes, trailing commas.
        name: 'from the file', zone: "z1", degree: 8,
    }""")
    with Mesh() as mesh:
        node = mesh.add(extra=["--config", str(file), "--zone", "z2"]).start()
        node.wait_ready()
        status = node.status()
        assert (status["name"], status["zone"], status["degree"]) == ("node-0", "z2", 8), status
        file.write_text("{ nonsense: 1 }")
        broken = mesh.add(extra=["--config", str(file)]).start()
        assert broken.process.wait(5) != 0
        broken.ended_by_us = True
        assert "nonsense" in broken.tail()
