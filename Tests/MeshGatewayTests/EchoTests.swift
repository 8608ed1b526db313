import MeshCore
import MeshWire
import Testing

@testable import MeshGateway

/// Messages that do not come back to the connection that sent them.
@Suite struct EchoTests {
    @Test func `a publisher that listens does without its own message, by channel and by pattern`()
    {
        var harness = Harness(peerCount: 1)
        let publisher = harness.open(3)
        let other = harness.open(3)
        _ = harness.exchange(publisher, "SUBSCRIBE news\r\nPSUBSCRIBE n* x*\r\n")
        _ = harness.exchange(other, "SUBSCRIBE news\r\nPSUBSCRIBE *\r\n")
        let message = ">3·$7·message·$4·news·$1·m·"
        let matched = ">4·$8·pmessage·$1·*·$4·news·$1·m·"
        let own = ">4·$8·pmessage·$2·n*·$4·news·$1·m·"
        #expect(harness.exchange(publisher, "MESH.PUBLISH news m NOECHO\r\n") == ":2·")
        #expect(harness.read(other) == message + matched)
        #expect(harness.exchange(publisher, "MESH.PUBLISH news m\r\n") == ":4·" + message + own)
        #expect(harness.read(other) == message + matched)
        // One that does not listen skips nobody; nobody skips others of the same user.
        let third = harness.open(3)
        #expect(harness.exchange(third, "MESH.PUBLISH news m NOECHO VOLATILE\r\n") == ":4·")
        for wrong in ["NOECHO NOECHO", "LOUD", "VOLATILE x"] {
            let answer = harness.exchange(third, "MESH.PUBLISH news m \(wrong)\r\n")
            #expect(answer.hasPrefix("-ERR syntax error: MESH.PUBLISH channel payload"))
        }
        let answer = harness.exchange(third, "MESH.SEND ann m NOECHO\r\n")
        #expect(answer.hasPrefix("-ERR syntax error: MESH.SEND user payload [VOLATILE]"))
    }

    @Test func `a publisher under a policy, or alone on its channel, is skipped too`() {
        var harness = Harness()
        let publisher = harness.open(3)
        _ = harness.exchange(publisher, "MESH.POLICY drop-oldest\r\nSUBSCRIBE news\r\n")
        #expect(harness.exchange(publisher, "MESH.PUBLISH news m NOECHO\r\n") == ":0·")
        #expect(harness.exchange(publisher, "PING\r\n") == "+PONG·")
    }
}
