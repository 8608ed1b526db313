import MeshDriver
import MeshWire
import Testing

@testable import MeshCore
@testable import MeshServer

/// Messages to one node, whoever holds their key.
@Suite struct PostingTests {
    private static let bytes = Array("sumpayload".utf8)

    private static func message(_ body: RoutedBody, sender: UInt64 = 7) -> OutgoingMessage {
        let nameCount = body == .request ? 3 : 0
        return OutgoingMessage(
            body, Key(5), name: Slice(start: 0, count: nameCount),
            payload: Slice(start: nameCount, count: bytes.count - nameCount), sender: sender)
    }

    private static func mesh(_ count: Int) -> MemoryMesh {
        var mesh = MemoryMesh(
            hasher: KeyHasher(cluster: "posts"), latency: .milliseconds(1),
            at: Instant(nanoseconds: 1_000_000_000))
        for number in 0..<count {
            let options = ServerOptions(
                node: Configuration(
                    endpoint: MemoryMesh.endpoint(number), name: "n\(number)",
                    seeds: number == 0 ? [] : [MemoryMesh.endpoint(0)]))
            mesh.append(options, id: NodeID(UInt64(number + 1) << 60), seed: UInt64(number))
        }
        mesh.run(for: .seconds(3))
        return mesh
    }

    private final class Seen {
        var delivered: [(host: Int, body: RoutedBody, count: Int)] = []
        var reported: [UInt64] = []
    }

    private static func watch(_ mesh: inout MemoryMesh) -> Seen {
        let seen = Seen()
        mesh.witness = { host, effects, _ in
            for place in 0..<effects.count {
                switch effects[place] {
                case .deliver(let body, _, _, _, let payload, _),
                    .deliverKept(let body, _, _, _, let payload, _):
                    seen.delivered.append((host, body, Int(payload.count)))
                case .undelivered(let sender, _, _, _, _, _): seen.reported.append(sender)
                default: break
                }
            }
        }
        return seen
    }

    private static func post(
        _ message: OutgoingMessage, from host: Int, to node: NodeID, _ bytes: [UInt8],
        _ mesh: inout MemoryMesh
    ) -> PublishOutcome.Verdict {
        var effects = EffectBuffer()
        let now = mesh.now
        let outcome = mesh.hosts[host].server.node.post(
            message, to: node, bytes: bytes.span, at: now, into: &effects)
        // Its frames are sent again when nobody acknowledges them: the driver has not seen these effects.
        return outcome.verdict
    }

    @Test(arguments: [RoutedBody.request, .reply])
    func `a message goes to the one node, once, also when it is lost on its way`(
        body: RoutedBody
    ) {
        var mesh = Self.mesh(3)
        let seen = Self.watch(&mesh)
        let verdict = Self.post(
            Self.message(body), from: 0, to: NodeID(2 << 60), Self.bytes, &mesh)
        #expect(verdict == .sent)
        mesh.run(for: .seconds(2))
        #expect(seen.delivered.map(\.host) == [1] && seen.delivered[0].body == body)
        #expect(seen.reported == [])
    }

    @Test func `a large message goes in parts`() {
        var mesh = Self.mesh(2)
        let seen = Self.watch(&mesh)
        let bytes = [UInt8](repeating: 1, count: 300_000)
        let message = OutgoingMessage(
            .request, Key(5), name: Slice(start: 0, count: 3),
            payload: Slice(start: 3, count: 299_997), sender: 7)
        let verdict = Self.post(message, from: 0, to: NodeID(2 << 60), bytes, &mesh)
        #expect(verdict == .sent)
        mesh.run(for: .seconds(5))
        #expect(seen.delivered.map(\.count) == [299_997] && seen.delivered[0].body == .request)
    }

    @Test func `one to nobody goes nowhere, and one to a node that dies is reported`() {
        var mesh = Self.mesh(3)
        let seen = Self.watch(&mesh)
        for node in [NodeID(1 << 60), NodeID(9)] {
            let verdict = Self.post(Self.message(.request), from: 0, to: node, Self.bytes, &mesh)
            #expect(verdict == .nowhere)
        }
        mesh.crash(1)
        let verdict = Self.post(
            Self.message(.request), from: 0, to: NodeID(2 << 60), Self.bytes, &mesh)
        #expect(verdict == .sent)
        mesh.run(for: .seconds(6))
        #expect(seen.reported == [7] && seen.delivered.isEmpty)
    }
}
