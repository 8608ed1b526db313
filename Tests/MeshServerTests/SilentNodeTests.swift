import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshServer

/// PUBSUB CHANNELS, NUMSUB and their kin ask the other nodes. One of them that says nothing is named:
/// nobody is told 0 for it.
@Suite struct SilentNodeTests {
    /// Three servers; the second has a subscriber of the channel `news`.
    private struct Scene {
        let servers: Servers
        let client: ClientIndex

        /// - Parameter isMute: the second's answers are lost, and it is heard all the same.
        init(isMute: Bool) {
            servers = Servers(3)
            client = servers.open(0)
            let reader = servers.open(1)
            _ = servers.exchange(reader, "SUBSCRIBE news\r\n", 1)
            _ = servers.exchange(reader, "SSUBSCRIBE news\r\n", 1)
            servers.run(for: .milliseconds(200))
            servers.mesh.judge = { from, _, frame in
                let isAnswer = frame.count > 48 && frame[48] == Message.Number.answer.rawValue
                return isMute && from == 1 && frame[7] == 4 && isAnswer ? .drop : .pass
            }
        }

        func ask(_ line: String, waiting seconds: Int64) -> String {
            servers.send("\(line)\r\n", from: client, 0)
            servers.run(for: .seconds(seconds))
            return servers.read(client, 0)
        }

        func counter(_ counter: NodeCounter) -> UInt64 {
            servers.mesh.hosts[0].server.node.counters[counter]
        }
    }

    @Test(arguments: [
        "PUBSUB CHANNELS", "PUBSUB CHANNELS n*", "PUBSUB SHARDCHANNELS", "PUBSUB NUMSUB news",
        "PUBSUB SHARDNUMSUB news",
    ])
    func `a live node that does not answer is named`(line: String) {
        let scene = Scene(isMute: true)
        #expect(scene.ask(line, waiting: 0) == "")
        scene.servers.run(for: .milliseconds(900))
        #expect(scene.servers.read(scene.client, 0) == "")
        scene.servers.run(for: .milliseconds(200))
        #expect(scene.servers.read(scene.client, 0) == "-TRYAGAIN n1 has not answered·")
        #expect(scene.counter(.suspectsNotHeard) == 0)
        // The client is served on.
        #expect(scene.ask("PING", waiting: 0) == "+PONG·")
    }

    @Test func `all that have not answered are counted`() {
        let scene = Scene(isMute: true)
        scene.servers.mesh.judge = { _, to, frame in
            let isAnswer = frame.count > 48 && frame[48] == Message.Number.answer.rawValue
            return to == 0 && frame[7] == 4 && isAnswer ? .drop : .pass
        }
        #expect(
            scene.ask("PUBSUB CHANNELS", waiting: 2)
                == "-TRYAGAIN n1 and 1 more have not answered·")
    }

    @Test func `a holder that is asked for nothing is not waited for`() {
        let scene = Scene(isMute: true)
        #expect(scene.ask("PUBSUB NUMSUB other", waiting: 0) == "*2·$5·other·:0·")
        #expect(scene.ask("PUBSUB NUMPAT", waiting: 0) == ":0·")
    }

    @Test func `a suspect is left out, and counted`() {
        let scene = Scene(isMute: false)
        #expect(scene.ask("PUBSUB NUMSUB news", waiting: 1) == "*2·$4·news·:1·")
        scene.servers.mesh.freeze(1)
        scene.servers.run(for: .milliseconds(600))
        // Asked while it was not suspected yet: when the time is over it is.
        #expect(scene.ask("PUBSUB CHANNELS", waiting: 2) == "*0·")
        #expect(scene.counter(.suspectsNotHeard) == 1)
        // Suspected before it was asked.
        #expect(scene.ask("PUBSUB CHANNELS", waiting: 0) == "*0·")
        #expect(scene.counter(.suspectsNotHeard) == 2)
    }
}
