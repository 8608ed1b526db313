import Glibc
import MeshCore
import MeshServer
import MeshWire
import Synchronization

@testable import MeshTransport

/// A path where there is nothing yet.
func temporaryPath() -> String {
    "/tmp/smallworld-\(getpid())-\(UInt32.random(in: 0...(.max))).sock"
}

/// A reactor on a thread of its own, on ports that were free; it ends with the test.
final class TestReactor: Sendable {
    let mesh: Endpoint
    let redis: Endpoint
    let http: Endpoint
    /// A Unix socket for Redis clients.
    let path: String
    let inbox: Inbox
    private let ending = Mutex<Reactor.Ending?>(nil)

    /// - Parameter adjust: changes to the options before the start.
    init(
        seeds: [Endpoint] = [], meshAt: Endpoint? = nil,
        _ adjust: (inout ReactorOptions) -> Void = { _ in }
    ) throws {
        let any = Endpoint(ipv4: 0x7F00_0001, port: 0)
        path = temporaryPath()
        let listeners = try Listeners(
            mesh: meshAt ?? any, redis: any, redisSocket: UnixSocket(path: path), http: any)
        mesh = listeners.meshEndpoint
        redis = listeners.redisEndpoint!
        http = listeners.httpEndpoint!
        let inbox = try Inbox()
        self.inbox = inbox
        var options = ReactorOptions(
            server: ServerOptions(
                node: Configuration(endpoint: mesh, name: "test:\(mesh.port)", seeds: seeds)))
        options.log.level = .error
        adjust(&options)
        Process.prepare()
        let settled = options
        let error = Thread.start(name: "reactor") { [weak self] in
            let ending = try! Reactor.serve(settled, listeners: listeners, inbox: inbox)
            self?.ending.withLock { $0 = ending }
        }
        if let error { throw error }
    }

    deinit { inbox.stop() }

    func waitForEnd(seconds: Double = 5) throws -> Reactor.Ending {
        try eventually(seconds: seconds, "ended") { ending.withLock { $0 } != nil }
        return ending.withLock { $0! }
    }

    /// The body of an HTTP answer.
    func get(_ path: String) throws -> String {
        let socket = try TestSocket(http)
        try socket.send("GET \(path) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        let answer = try socket.receiveAll()
        return answer.split(separator: "\r\n\r\n", maxSplits: 1).last.map(String.init) ?? ""
    }

    /// A figure of /metrics, -1 if there is none.
    func metric(_ name: String) throws -> Int {
        for line in try get("/metrics").split(separator: "\n")
        where line.hasPrefix("smallworld_\(name) ") {
            return Int(line.split(separator: " ").last!) ?? -1
        }
        return -1
    }

    func waitUntilReady() throws {
        try eventually("ready") { try get("/readyz") == "ready\n" }
    }

    func waitForMetric(_ name: String, _ value: Int, seconds: Double = 10) throws {
        try eventually(seconds: seconds, "\(name) = \(value)") { try metric(name) == value }
    }
}
