import MeshCore
import MeshDriver
import MeshGateway
import MeshWire

@testable import MeshServer

/// A few servers that know each other, with clients. Bytes take no time; they are carried when a
/// client has sent something, and while time passes.
final class Servers {
    var mesh: MemoryMesh

    /// - Parameter areApart: the first two cannot have a link with each other; nobody is waited for.
    init(
        _ count: Int = 1, areApart: Bool = false,
        configure: (inout ServerOptions) -> Void = { _ in }
    ) {
        mesh = MemoryMesh(
            hasher: KeyHasher(cluster: "servers"), at: Instant(nanoseconds: 1_000_000_000))
        if areApart { mesh.apart = (0, 1) }
        for number in 0..<count {
            var options = ServerOptions(
                node: Configuration(
                    endpoint: MemoryMesh.endpoint(number), name: "n\(number)",
                    seeds: number == 0 ? [] : [MemoryMesh.endpoint(0)]))
            options.gateway.clientAddress = "10.0.0.\(number + 1):7379"
            configure(&options)
            mesh.append(options, id: NodeID(UInt64(number + 1) << 60), seed: UInt64(number))
        }
        mesh.run(for: .seconds(3))
        precondition(areApart || mesh.allKnowEachOther(count))
    }

    var now: Instant { mesh.now }

    func run(for delay: Delay) { mesh.run(for: delay) }

    func open(_ host: Int = 0, from origin: ClientOrigin = .machine) -> ClientIndex {
        mesh.open(host, origin: origin)!
    }

    func send(_ text: String, from client: ClientIndex, _ host: Int = 0) {
        mesh.send(Array(text.utf8), from: client, host)
        mesh.settle()
    }

    /// Takes the bytes that wait for the client: `·` is CR LF.
    func read(_ client: ClientIndex, _ host: Int = 0) -> String {
        mesh.readText(client, host)
    }

    func exchange(_ client: ClientIndex, _ text: String, _ host: Int = 0) -> String {
        send(text, from: client, host)
        // A confirmation comes when the others know.
        mesh.run(for: .zero)
        return read(client, host)
    }

    /// The answer of the monitoring port to one request.
    func get(_ path: String, _ host: Int = 0) -> String {
        var output = ByteQueue()
        var refusals: UInt64 = 0
        _ = mesh.hosts[host].server.answerHTTP(
            Array("GET \(path) HTTP/1.1\r\nHost: x\r\n\r\n".utf8).span, headBytesMax: 8_192,
            waitingMax: 1 << 20, facts: DriverFacts(), refusals: &refusals, into: &output)
        return output.withSpan {
            String(decoding: $0.array(Slice(start: 0, count: $0.count)), as: UTF8.self)
        }
    }

    func close(
        _ client: ClientIndex, _ parting: Parting = .inOrder, _ host: Int = 0
    ) -> UInt32? {
        mesh.close(client, host, parting)
    }

    func isEnded(_ client: ClientIndex, _ host: Int = 0) -> Bool { mesh.isEnded(client, host) }

    func isUp(_ host: Int) -> Bool { mesh.hosts[host].isUp }

    /// Short names of what a server has logged of these.
    func logged(_ events: [String], _ host: Int = 0) -> [String] {
        mesh.hosts[host].logLines.map(\.event).filter(events.contains)
    }

    func paused(_ host: Int = 0) -> UInt64 {
        mesh.hosts[host].server.counters[.publishersPaused]
    }
}
