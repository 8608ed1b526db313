"""Seeds that are not there: names without an address yet, names that move, nobody who answers.

Names are resolved by a file of hosts that only the nodes of a test see; to mount it needs root, as network
namespaces do.
"""
import stat

import pytest

from mesh import Mesh, deliver_everywhere, eventually, free_port, note, steadily, text

pytestmark = pytest.mark.mesh

#: Mounts $1 over the file of hosts, where nobody but the node sees it.
WITH_HOSTS = ["unshare", "--mount", "sh", "-c",
              "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"", "sh"]


class Hosts:
    """What the nodes' resolver knows."""

    def __init__(self, folder):
        self.path = str(folder / "hosts")
        self.set()

    def set(self, **names):
        # The same file is written anew: a mount goes on showing what it has mounted.
        with open(self.path, "w") as file:
            file.write("127.0.0.1 localhost\n")
            for name, address in names.items():
                file.write("%s %s.smallworld.test\n" % (address, name))

    def start(self, node):
        node.prefix = [*WITH_HOSTS, self.path]
        return node.start().wait_listening()


def named(name, port):
    return ("%s.smallworld.test" % name, port)


def test_a_seed_whose_name_resolves_later_is_found(tmp_path):
    hosts = Hosts(tmp_path)
    with Mesh() as mesh:
        port = free_port()
        early = hosts.start(mesh.add(seeds=[named("first", port)]))

        def waits():
            assert early.http("/readyz")[0] == 503

        steadily(2, waits)
        assert early.tail().count("seedUnknown") == 1, early.tail()
        seed = mesh.add(listen={"mesh": ("127.0.0.1", port)}).start()
        seed.wait_ready()
        hosts.set(first="127.0.0.1")
        note("the name of the only seed resolves; ready after", early.wait_ready(8))
        mesh.wait_members(3)
        assert "seedFound" in early.tail()
        deliver_everywhere(mesh)


def test_a_seed_that_comes_back_at_another_address_is_found_by_its_name(tmp_path):
    hosts = Hosts(tmp_path)
    with Mesh() as mesh:
        port = free_port()
        seeds = [named("first", port)]
        hosts.set(first="127.0.0.5")
        first = hosts.start(mesh.add(seeds=seeds, listen={"mesh": ("127.0.0.5", port)},
                                     extra=["--alone-after", "0.5"]))
        first.wait_ready(5)
        others = [hosts.start(mesh.add(seeds=seeds)) for _ in range(2)]
        mesh.wait_ready(5)
        mesh.wait_members(3)
        first.kill()
        eventually(5, lambda: len(others[0].members()) == 2)
        hosts.set(first="127.0.0.6")
        again = hosts.start(mesh.add(seeds=seeds, listen={"mesh": ("127.0.0.6", port)}))
        # It does not serve before it has met the others, who ask for its name every five seconds.
        note("the seed is back at another address; ready after", again.wait_ready(9))
        assert "servesAlone" not in again.tail()
        assert len(again.members()) == 3
        deliver_everywhere(mesh)


def test_a_node_whose_seeds_are_silent_serves_alone_and_merges_later():
    with Mesh() as mesh:
        port = free_port()
        early = mesh.add(seeds=[("127.0.0.1", port)], extra=["--alone-after", "2"]).start()
        early.wait_listening()

        def waits():
            assert early.http("/readyz")[0] == 503

        steadily(1.5, waits)
        assert 1.9 < early.wait_ready(5) < 4
        assert early.http("/readyz")[1].startswith("ready, alone")
        assert early.status()["alone"] == 1 and "servesAlone" in early.tail()
        seed = mesh.add(listen={"mesh": ("127.0.0.1", port)}).start()
        seed.wait_ready()
        note("a node that serves alone and its seed are one mesh after", mesh.wait_members(8))
        assert early.http("/readyz")[1] == "ready\n" and early.status()["alone"] == 0
        deliver_everywhere(mesh)


def test_a_node_may_be_told_never_to_serve_alone():
    with Mesh() as mesh:
        node = mesh.add(seeds=[("127.0.0.1", free_port())], extra=["--alone-after", "off"])
        node.start().wait_listening()

        def waits():
            assert node.http("/readyz")[0] == 503

        steadily(12, waits)


def test_a_node_finds_the_mesh_again_when_its_seed_is_gone(tmp_path):
    state = tmp_path / "state"
    with Mesh(3) as mesh:
        late = mesh.add(seeds=[mesh[0].mesh], extra=["--state", str(state)]).start()
        late.wait_ready()
        mesh.wait_members(3)
        eventually(15, lambda: state.exists() and len(state.read_text().splitlines()) == 4)
        assert stat.S_IMODE(state.stat().st_mode) == 0o600
        late.kill()
        mesh[0].kill()
        late.start()
        note("restarted while the only seed is gone, ready after", late.wait_ready(5))
        eventually(5, lambda: len(late.members()) == 3)
        assert "servesAlone" not in late.tail()


@pytest.mark.turn
@pytest.mark.parametrize("content", [
    b"", b"\xff\x00" * 100, b"smallworld members 1\nnobody\n", b"smallworld members 1\n" * 4000,
    b"smallworld members 1\n10.0.0.1:7400\n"])
def test_a_broken_state_file_is_a_warning(tmp_path, content):
    state = tmp_path / "state"
    state.write_bytes(content)
    with Mesh(1) as mesh:
        node = mesh.add(seeds=[mesh[0].mesh], extra=["--state", str(state)]).start()
        node.wait_ready(5)
        assert "stateUnreadable" in node.printed(), node.printed()
        mesh.wait_members(3)
        written = "smallworld members 1\n%s\n" % text(mesh[0].mesh)
        eventually(15, lambda: state.read_bytes() == written.encode())


def test_a_state_file_that_cannot_be_written_is_a_warning(tmp_path):
    with Mesh(1) as mesh:
        node = mesh.add(seeds=[mesh[0].mesh], extra=["--state", str(tmp_path / "no" / "state")])
        node.start().wait_ready(5)
        eventually(15, lambda: "stateUnwritable" in node.printed())
        deliver_everywhere(mesh)


def test_two_nodes_with_one_advertised_address_are_named_and_talk():
    with Mesh(3) as mesh:
        wrong = mesh.add(seeds=[mesh[0].mesh], extra=["--advertise", text(mesh[2].mesh)]).start()
        wrong.wait_ready(5)
        for node in (mesh[2], wrong):
            eventually(20, lambda: "addressShared" in node.printed()
                       and text(mesh[2].mesh) in node.printed().partition("addressShared")[2])
            assert node.printed().count("addressShared") == 1
        mesh.wait_members(20)
        deliver_everywhere(mesh)


def test_a_node_that_nobody_can_dial_is_named_and_harmless():
    """It dials the others, and what it advertises refuses. Nodes that come later find that they cannot reach it."""
    with Mesh(2) as mesh:
        nowhere = "127.0.0.1:%d" % free_port()
        wrong = mesh.add(seeds=[mesh[0].mesh], extra=["--advertise", nowhere]).start()
        wrong.wait_ready(5)
        late = mesh.add(seeds=[mesh[0].mesh]).start()
        late.wait_ready(5)
        mesh.wait_members(20)
        others = [mesh[0], mesh[1], late]
        eventually(20, lambda: any(
            "memberUnreachable address=%s" % nowhere in node.printed() for node in others))
        deliver_everywhere(mesh)
        for node in others + [wrong]:
            assert "memberDead" not in node.printed()
            assert node.printed().count("memberUnreachable") <= 1
        assert len(late.members()) == 4


def test_a_node_of_another_cluster_is_named_on_both_sides_once():
    with Mesh(1) as mesh:
        other = mesh.add(seeds=[mesh[0].mesh], extra=["--cluster", "staging", "--alone-after", "1"])
        other.start().wait_ready(5)
        steadily(5, lambda: len(other.members()) == 1 and len(mesh[0].members()) == 1)
        assert mesh[0].printed().count("otherCluster") == 1
        assert "cluster=staging" in mesh[0].printed()
        assert other.printed().count("wrongCluster") == 1
        assert text(mesh[0].mesh) in other.printed().partition("refused")[2]
