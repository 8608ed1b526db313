import Glibc
import MeshCore
import MeshDriver
import MeshServer
import MeshWire

/// A message's whole way over three nodes of one process, for a tool that counts instructions
/// (`Tests/Bench/instructions.py`).
///
///     client ──▶ publishing node ──▶ transit node ──▶ subscribing node ──▶ clients
///                       ◀────────────── acknowledgement ──────┘
///
/// In each turn one client sends `batch` publications at once, and each node wakes up once, in this
/// order; the transit node passes an acknowledgement on in the turn after. Each node's wake-up is a
/// function that is not inlined: it and what it calls are this node's account, but for
/// `reachClient`, which compares everything with what has to come, byte for byte. Time stands still,
/// so no heartbeat is in the account.
struct MessagePath: ~Copyable {
    static let batch = 16

    /// A channel, who publishes to it and who has subscribed to it.
    private struct Channel {
        var publisher: ClientIndex
        var subscribers: ClosedRange<ClientIndex>
        var publications: Batch
        /// The bytes that each subscriber gets for them.
        var messages: Batch
    }

    private var mesh: MemoryMesh
    private var channels: [Channel] = []
    private let replies = Batch(Array(":1\r\n".utf8))
    private var turn = 0

    /// - Parameter fanOut: 1: sixteen publishers with a channel each, and sixteen subscribers; else
    ///   one channel with one publisher and so many subscribers.
    init(fanOut: Int) {
        mesh = .settled(count: 3, degree: 4, apart: (publishing, subscribing))
        for number in 0..<(fanOut == 1 ? 16 : 1) {
            let name = "user:00000" + (number < 10 ? "0" : "") + "\(number)"
            let publisher = mesh.open(publishing)!
            let subscribers = (0..<fanOut).map { _ in mesh.open(subscribing)! }
            for subscriber in subscribers {
                mesh.consume(command(["SUBSCRIBE", name]).span, from: subscriber, subscribing)
            }
            let payload = String(repeating: "p", count: 128)
            channels.append(
                Channel(
                    publisher: publisher, subscribers: subscribers.first!...subscribers.last!,
                    publications: Batch(command(["PUBLISH", name, payload])),
                    messages: Batch(command(["message", name, payload]))))
        }
        mesh.run(for: .seconds(5))
        // The replies to the subscriptions.
        unsafe mesh.flushClients(subscribing) { $1.count }
        var neighbours: [[Int]] = []
        for host in 0..<3 {
            neighbours.append(mesh.hosts[host].wires.map(\.host).filter { $0 >= 0 }.sorted())
        }
        precondition(
            neighbours == [[transit], [publishing, subscribing], [transit]],
            "the nodes stand as \(neighbours)")
    }

    /// Publishes a batch to the next channel in turn. Returns what is wrong with what has come out.
    mutating func publishBatch() -> String? {
        let slot = turn % channels.count
        channels[slot].publications.number(from: turn * Self.batch)
        channels[slot].messages.number(from: turn * Self.batch)
        turn += 1
        let channel = channels[slot]
        var replies = Expectation(replies, for: channel.publisher...channel.publisher)
        var messages = Expectation(channel.messages, for: channel.subscribers)
        publishingNode(&mesh, channel.publisher, channel.publications.bytes.span, &replies)
        transitNode(&mesh)
        subscribingNode(&mesh, &messages)
        return replies.fault ?? messages.fault
    }

    /// Lets the last acknowledgements arrive. Returns what is wrong after all.
    mutating func finish() -> String? {
        for _ in 0..<2 {
            var nothing = Expectation(replies, for: nil)
            publishingNode(&mesh, .none, Span(), &nothing)
            transitNode(&mesh)
            subscribingNode(&mesh, &nothing)
            if let fault = nothing.fault { return fault }
        }
        let delivered = mesh.hosts[subscribing].deliveredCount
        return delivered == turn * Self.batch ? nil : "\(delivered) messages have arrived"
    }
}

// The hosts, in the order of a message's way.
private let publishing = 0
private let transit = 1
private let subscribing = 2

@inline(never)
private func publishingNode(
    _ mesh: inout MemoryMesh, _ client: ClientIndex, _ input: Span<UInt8>,
    _ output: inout Expectation
) {
    unsafe mesh.wake(publishing, client, input) { unsafe output.reachClient($0, $1) }
}

@inline(never)
private func transitNode(_ mesh: inout MemoryMesh) {
    unsafe mesh.wake(transit, .none, Span()) { $1.count }
}

@inline(never)
private func subscribingNode(_ mesh: inout MemoryMesh, _ output: inout Expectation) {
    unsafe mesh.wake(subscribing, .none, Span()) { unsafe output.reachClient($0, $1) }
}

/// So many equal commands or messages in a row as a client sends at once. Each ends in a payload
/// and a line end, if it is long enough to have one.
private struct Batch {
    private(set) var bytes: [UInt8]

    init(_ one: [UInt8]) {
        bytes = Array(repeatElement(one, count: MessagePath.batch).joined())
    }

    /// Writes the messages' numbers at the ends of their payloads: no two messages are the same.
    mutating func number(from first: Int) {
        let size = bytes.count / MessagePath.batch
        for index in 0..<MessagePath.batch {
            var rest = first + index
            for digit in 1...8 {
                bytes[(index + 1) * size - 2 - digit] = UInt8(ascii: "0") + UInt8(rest % 10)
                rest /= 10
            }
        }
    }
}

/// The clients that have to get something in a turn: each of them these bytes, once, and nobody else.
private struct Expectation {
    private let bytes: [UInt8]
    private let clients: ClosedRange<ClientIndex>?
    private var right = 0
    private var wrong = 0

    init(_ batch: Batch, for clients: ClosedRange<ClientIndex>?) {
        bytes = batch.bytes
        self.clients = clients
    }

    /// A client's socket. Not inlined: what it does is in nobody's account.
    @inline(never)
    mutating func reachClient(_ client: ClientIndex, _ output: UnsafeRawBufferPointer) -> Int {
        var isRight = clients?.contains(client) == true && output.count == bytes.count
        if isRight {
            isRight = unsafe bytes.withUnsafeBytes {
                unsafe memcmp($0.baseAddress!, output.baseAddress!, $0.count) == 0
            }
        }
        if isRight { right += 1 } else { wrong += 1 }
        return output.count
    }

    var fault: String? {
        let due = clients?.count ?? 0
        if right == due, wrong == 0 { return nil }
        return "\(right) of \(due) clients got what is theirs, \(wrong) got something else"
    }
}
