import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway
@testable import MeshServer

/// Large messages to and fro, each sent when the last has come.
@Suite struct LargeReplyTests {
    @Test(arguments: [70_000, 300_000])
    func `a large message is not kept back by an acknowledgement that is due later`(size: Int) {
        let servers = Servers(2)
        let clients = [servers.open(0), servers.open(1)]
        #expect(servers.exchange(clients[0], "MESH.ATTACH ann\r\n", 0) == "+OK·")
        #expect(servers.exchange(clients[1], "MESH.ATTACH bob\r\n", 1) == "+OK·")
        servers.run(for: .milliseconds(100))
        let text = String(repeating: "x", count: size)
        let begin = servers.mesh.now
        for round in 0..<20 {
            let sender = round % 2
            let user = sender == 0 ? "bob" : "ann"
            // A short one before it, in the other lane.
            servers.send("MESH.SEND \(user) short\r\n", from: clients[sender], sender)
            servers.send(
                "*3\r\n$9\r\nMESH.SEND\r\n$3\r\n\(user)\r\n$\(size)\r\n\(text)\r\n",
                from: clients[sender], sender)
            var got = ""
            var waited = 0
            while !got.contains("·$\(size)·"), waited < 1_000 {
                servers.run(for: .milliseconds(1))
                waited += 1
                got += servers.read(clients[1 - sender], 1 - sender)
            }
            _ = servers.read(clients[sender], sender)
        }
        let time = servers.mesh.now - begin
        #expect(time < .milliseconds(20 * 45), "\(time.milliseconds) ms")
    }
}
