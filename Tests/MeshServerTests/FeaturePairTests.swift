import Foundation
import MeshDriver
import MeshGateway
import MeshWire
import Testing

@testable import MeshCore
@testable import MeshServer

/// A few steps that use something of the mesh, with clients of their own beside those of the scene.
struct Feature: Sendable, CustomTestStringConvertible {
    typealias Step = (Scene, Feature.State) -> Void

    /// The things that its steps hand to later ones.
    final class State {
        var clients: [Int] = []
        var token = ""
        var link: LinkIndex?
    }

    var name: String
    var steps: [@Sendable (Scene, State) -> Void]

    var testDescription: String { name }
}

/// Pairs of features meet: each by itself is tested elsewhere. All pairs are made from one table, in several
/// orders of their steps; what must hold in all of them is said once (`Scene.check`).
@Suite struct FeaturePairTests {
    /// The sanitizer makes a step take ten times as long: then each pair is tried in one order.
    private static let isSanitized =
        ProcessInfo.processInfo.environment["TSAN_OPTIONS"] != nil

    /// Each pair twice: either one begins, and then their steps are mixed.
    @Test(arguments: Feature.all.indices)
    func `the promises of two features hold together`(first: Int) {
        for second in first..<Feature.all.count {
            for order in 0..<2 where !Self.isSanitized || order == (first + second) % 2 {
                meet(Feature.all[first], Feature.all[second], order, UInt64(first * 100 + second))
            }
        }
    }

    private func meet(_ one: Feature, _ other: Feature, _ order: Int, _ seed: UInt64) {
        var random = RandomSource(seed: UInt64(order) &+ seed)
        let scene = Scene(seed: UInt64(order))
        let room = (0..<3).map { scene.open($0) }
        for client in room { scene.join(client, "channel room", "SUBSCRIBE room", replies: 0) }
        let publishers = (0..<3).map { scene.open($0) }
        let states = [Feature.State(), Feature.State()]
        var left = [one.steps[...], other.steps[...]]
        let pauses: [Int64] = [0, 1, 5, 30, 400]
        var hasBegun = false
        while !(left[0].isEmpty && left[1].isEmpty) {
            let isFirst =
                left[1].isEmpty
                || !left[0].isEmpty
                    && (hasBegun ? random.next(below: 2) == 0 : order == 0)
            hasBegun = true
            // All nodes' clients go on publishing meanwhile, and the bytes of some steps are on their way.
            for publisher in publishers { scene.publish(publisher, "channel room") }
            left[isFirst ? 0 : 1].removeFirst()(scene, states[isFirst ? 0 : 1])
            scene.hangUp()
            scene.run(for: .milliseconds(pauses[random.next(below: pauses.count)]))
        }
        scene.check("\(one.name) and \(other.name), order \(order)")
    }
}

// MARK: The table

extension Feature {
    static let all: [Feature] = [
        // Found by trying 30 million names: `u0194be6` and `u0976db3` have one key in the cluster `scene`. Nodes
        // that hold it for the one get the first message for the other in vain, and say so.
        Feature(
            name: "two names of one key",
            steps: [
                { scene, state in
                    let keys = ["u0194be6", "u0976db3"].map {
                        scene.mesh.hasher.key(.user, Array($0.utf8))
                    }
                    #expect(keys[0] == keys[1])
                    state.clients = [scene.open(1), scene.open(0), scene.open(2)]
                    scene.join(
                        state.clients[0], "user u0194be6", "MESH.ATTACH u0194be6", replies: 1)
                },
                { scene, state in
                    for _ in 0..<2 {
                        scene.publish(state.clients[1], "user u0976db3")
                        scene.publish(state.clients[1], "user u0194be6")
                    }
                },
                { scene, state in
                    scene.join(
                        state.clients[2], "user u0976db3", "MESH.ATTACH u0976db3", replies: 1)
                    for name in ["u0194be6", "u0976db3"] {
                        scene.publish(state.clients[1], "user \(name)")
                    }
                },
            ]),
        Feature(
            name: "a pattern beside the channel on one connection",
            steps: [
                { scene, state in
                    state.clients = [scene.open(1)]
                    scene.join(state.clients[0], "channel room", "SUBSCRIBE room", replies: 0)
                },
                { scene, state in
                    scene.join(state.clients[0], "pattern roo*", "PSUBSCRIBE roo*", replies: 0)
                },
                { scene, state in
                    scene.part(state.clients[0], "channel room", "UNSUBSCRIBE room", replies: 0)
                },
                { scene, state in
                    scene.join(state.clients[0], "channel room", "SUBSCRIBE room", replies: 0)
                },
            ]),
        waiting(1), waiting(2),
        Feature(
            name: "a link that ends while messages are under way",
            steps: [
                { scene, state in
                    state.clients = [scene.open(0), scene.open(1)]
                    for client in state.clients { scene.publish(client, "channel room") }
                    scene.mesh.reset(0, 1)
                    for client in state.clients { scene.publish(client, "channel room") }
                },
                { scene, state in
                    for client in state.clients { scene.publish(client, "channel room") }
                    scene.mesh.reset(0, 2)
                    scene.mesh.reset(1, 0)
                },
            ]),
        Feature(
            name: "a session that moves",
            steps: [
                { scene, state in
                    state.clients = [scene.open(1), scene.open(0)]
                    scene.join(
                        state.clients[0], "user eve", "MESH.ATTACH eve SESSION", replies: 1)
                    state.token = scene.clients[state.clients[0]].replies.dropLast().last!
                    scene.clients[state.clients[0]].session = ("user eve", state.token)
                },
                { scene, state in
                    for _ in 0..<3 { scene.publish(state.clients[1], "user eve") }
                    scene.run(for: .milliseconds(300))
                    scene.suspend(state.clients[0], "user eve", state.token)
                    scene.run(for: .milliseconds(600))
                },
                { scene, state in
                    // For two seconds both nodes get what is sent to it.
                    state.clients.append(scene.open(0))
                    scene.resume(state.clients[2], "user eve", state.token)
                    scene.run(for: .milliseconds(30))
                    for _ in 0..<3 { scene.publish(state.clients[1], "user eve") }
                },
                { scene, state in
                    for _ in 0..<3 { scene.publish(state.clients[1], "user eve") }
                },
            ]),
        Feature(
            name: "a node that leaves",
            steps: [
                { scene, _ in scene.leave(1) },
                { scene, _ in scene.run(for: .milliseconds(1_200)) },
                { scene, _ in
                    for _ in 0..<40 {
                        scene.run(for: .milliseconds(100))
                        scene.hangUp()
                    }
                },
            ]),
        slow("drop-oldest"), slow("drop-newest"), slow("latest"),
        Feature(
            name: "a watched user who comes back within the grace",
            steps: [
                { scene, state in
                    state.clients = [scene.open(0), scene.open(1)]
                    scene.send(state.clients[0], "MESH.WATCH wim", replies: 0)
                    scene.join(state.clients[1], "user wim", "MESH.ATTACH wim", replies: 1)
                    scene.run(for: .milliseconds(50))
                },
                { scene, state in
                    scene.close(state.clients[1])
                    scene.run(for: .milliseconds(100))
                    state.clients.append(scene.open(0))
                    scene.join(state.clients[2], "user wim", "MESH.ATTACH wim", replies: 1)
                },
                { scene, state in
                    scene.publish(state.clients[0], "user wim")
                    scene.run(for: .milliseconds(500))
                    let heard = scene.clients[state.clients[0]].presences
                    #expect(heard.last == "online" && heard.count { $0 == "offline" } <= 1)
                },
            ]),
        Feature(
            name: "messages that wait for a user",
            steps: [
                { scene, state in
                    state.clients = [scene.open(2), scene.open(0)]
                    scene.join(state.clients[0], "user pat", "MESH.ATTACH pat", replies: 1)
                },
                { scene, state in
                    let hadNode =
                        scene.clients[state.clients[0]].isOpen
                        && scene.clients[state.clients[0]].host == 2
                    scene.crash(2)
                    scene.run(for: .milliseconds(300))
                    guard hadNode else { return }
                    for _ in 0..<3 { scene.publishParked(state.clients[1], "user pat") }
                },
                { scene, state in
                    if scene.clients[state.clients[0]].isOpen { return }
                    state.clients.append(scene.open(1))
                    scene.join(state.clients[2], "user pat", "MESH.ATTACH pat", replies: 1)
                },
            ]),
        Feature(
            name: "a transaction that publishes",
            steps: [
                { scene, state in
                    state.clients = [scene.open(0)]
                    scene.join(state.clients[0], "channel room", "SUBSCRIBE room", replies: 0)
                    scene.send(state.clients[0], "MULTI", echoes: false)
                },
                { scene, state in
                    let texts = (0..<3).map { _ in scene.next(state.clients[0]) }
                    for (text, _) in texts {
                        scene.send(state.clients[0], "PUBLISH room \(text)", echoes: false)
                    }
                    for (_, number) in texts {
                        scene.mean(number, from: state.clients[0], to: "channel room")
                    }
                    scene.send(state.clients[0], "EXEC")
                },
            ]),
        Feature(
            name: "replies that are off",
            steps: [
                { scene, state in
                    state.clients = [scene.open(0)]
                    scene.send(state.clients[0], "CLIENT REPLY OFF", replies: 0, echoes: false)
                },
                { scene, state in
                    for _ in 0..<3 {
                        scene.publish(
                            state.clients[0], "channel room", replies: 0, echoes: false)
                    }
                },
                { scene, state in scene.send(state.clients[0], "CLIENT REPLY ON") },
            ]),
        Feature(
            name: "a question whose target dies",
            steps: [
                { scene, state in state.clients = [scene.open(0), scene.open(1)] },
                { scene, state in
                    for client in state.clients {
                        scene.send(client, "PUBSUB NUMSUB room", "PUBSUB CHANNELS")
                    }
                    scene.crash(2)
                },
                { scene, state in
                    for client in state.clients { scene.send(client, "MESH.WHERE pat") }
                },
            ]),
        Feature(
            name: "a large message",
            steps: [
                { scene, state in
                    state.clients = [scene.open(0)]
                    scene.publish(state.clients[0], "channel room", size: 300_000)
                    scene.publish(state.clients[0], "channel room")
                },
                { scene, state in scene.publish(state.clients[0], "channel room", size: 5_000) },
            ]),
        Feature(
            name: "a user on two nodes",
            steps: [
                { scene, state in
                    state.clients = [scene.open(0), scene.open(1), scene.open(0)]
                    scene.join(state.clients[0], "user nan", "MESH.ATTACH nan", replies: 1)
                    scene.join(state.clients[1], "user nan", "MESH.ATTACH nan", replies: 1)
                },
                { scene, state in
                    for _ in 0..<3 { scene.publish(state.clients[2], "user nan") }
                },
                { scene, state in
                    scene.part(state.clients[0], "user nan", "MESH.DETACH nan", replies: 1)
                    scene.publish(state.clients[2], "user nan")
                },
            ]),
        Feature(
            name: "RESP2 in the room",
            steps: [
                { scene, state in
                    state.clients = [
                        scene.open(1, protocolVersion: 2), scene.open(0, protocolVersion: 2),
                    ]
                    scene.join(state.clients[0], "channel room", "SUBSCRIBE room", replies: 0)
                },
                { scene, state in scene.publish(state.clients[1], "channel room") },
                { scene, state in
                    scene.join(state.clients[0], "pattern roo*", "PSUBSCRIBE roo*", replies: 0)
                },
            ]),
    ]

    /// A publisher to a user beyond a link whose queue is full.
    private static func waiting(_ host: Int) -> Feature {
        Feature(
            name: "a publisher that waits for the link to \(host)",
            steps: [
                { scene, state in
                    state.clients = [scene.open(0), scene.open(host)]
                    scene.join(
                        state.clients[1], "user max\(host)", "MESH.ATTACH max\(host)", replies: 1)
                    state.link = scene.mesh.hosts[0].link(to: host)
                    if let link = state.link { scene.mesh.hosts[0].server.linkIsCongested(link) }
                },
                { scene, state in
                    // The first is taken, the others wait.
                    for _ in 0..<3 { scene.publish(state.clients[0], "user max\(host)") }
                },
                { scene, state in
                    // Also where the link is gone: its driver says so.
                    if let link = state.link { scene.mesh.hosts[0].server.linkHasDrained(link) }
                },
                { scene, state in scene.publish(state.clients[0], "user max\(host)") },
            ])
    }

    /// A reader of bulky messages that stops for a while. What it misses it is told.
    private static func slow(_ policy: String) -> Feature {
        Feature(
            name: "a slow reader under \(policy)",
            steps: [
                { scene, state in
                    state.clients = [scene.open(0), scene.open(0)]
                    scene.send(
                        state.clients[0], "MESH.POLICY \(policy)", "MESH.GAPS ON")
                    scene.join(
                        state.clients[0], "channel \(policy)", "SUBSCRIBE \(policy)", replies: 0)
                    scene.clients[state.clients[0]].isReading = false
                    scene.clients[state.clients[0]].mayMiss = true
                },
                { scene, state in
                    for _ in 0..<60 {
                        scene.publish(state.clients[1], "channel \(policy)", size: 8_000)
                    }
                },
                { scene, state in
                    scene.clients[state.clients[0]].isReading = true
                    scene.run(for: .milliseconds(300))
                    scene.publish(state.clients[1], "channel \(policy)")
                    scene.run(for: .milliseconds(300))
                    #expect(scene.clients[state.clients[0]].announced > 0)
                },
            ])
    }
}
