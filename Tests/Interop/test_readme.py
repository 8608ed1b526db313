"""README's configuration for three machines, used on three machines as it stands there.

The machines are network namespaces: needs root and iproute2. Addresses and the path of the state file alone
are replaced, by those that the test has.
"""
import os
import re
import socket

import pytest

import mesh as harness
import namespaces
from mesh import Mesh, deliver_everywhere

pytestmark = pytest.mark.mesh


def configuration():
    with open(os.path.join(harness.ROOT, "README.md")) as file:
        blocks = re.findall(r"^```json5\n(.*?)^```", file.read(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1, blocks
    return blocks[0]


class ConfiguredNode(harness.Node):
    """A node that is told nothing but its file."""

    def __init__(self, owner, index, namespace, folder):
        super().__init__(owner, index, namespace=namespace)
        text = configuration()
        assert text.count("10.0.0.") == 3 and "/var/lib/smallworld/state" in text, text
        text = text.replace("10.0.0.", "10.77.0.")
        text = text.replace("/var/lib/smallworld/state", str(folder / ("state-%d" % index)))
        self.file = folder / ("smallworld-%d.json5" % index)
        self.file.write_text(text)

    def command(self):
        return ["ip", "netns", "exec", self.namespace, harness.BINARY, "node", "--config",
                str(self.file)]


def test_one_file_serves_on_three_machines(tmp_path):
    with namespaces.Network(3) as network, Mesh() as nodes:
        for index in range(3):
            node = ConfiguredNode(nodes, index, network.name(index), tmp_path)
            nodes.nodes.append(node)
            node.start()
        nodes.wait_ready()
        nodes.wait_members()
        ends = sorted(row["endpoint"] for row in nodes[0].rows("MESH.MEMBERS"))
        assert ends == ["%s:7400" % network.address(index) for index in range(3)], ends
        deliver_everywhere(nodes)
        for node in nodes:
            assert "clientsUnreachable" not in node.tail(50), node.tail()

        # The port to open is that of the mesh; nobody else reaches the other two.
        with namespaces.entered(network.name(1)):
            socket.create_connection((network.address(0), 7400), 5).close()
            for port in (7379, 7480):
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((network.address(0), port), 5)

        # A node that comes again finds the others while the first seed is away.
        nodes[0].kill()
        assert nodes[2].terminate() == 0
        nodes[2].start()
        nodes.wait_ready()
        nodes.wait_members()
