import MeshCore
import MeshGateway
import MeshWire

/// What Redis clients send, through the whole gateway: the same bytes get the same answers, however
/// they are cut, and two clients may send anything at once.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzRESP(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count > 0 else { return 0 }
    let whole = Conversation()
    let input = [UInt8](unsafe UnsafeBufferPointer(start: start, count: count))
    let cut = Int(input[0]) % count
    whole.session.receive(input[...])
    let parts = Conversation()
    parts.session.receive(input[..<cut])
    parts.session.receive(input[cut...])
    precondition(whole.session.output == parts.session.output, "cut at \(cut) it answers otherwise")
    precondition(whole.session.hasEnded == parts.session.hasEnded)
    return 0
}

/// Keeps the `~Copyable` session where two of them can be had at once.
final class Conversation {
    var session = Session()
}

/// One gateway with one client, and a driver without a mesh.
struct Session: ~Copyable {
    var gateway = Gateway(GatewayConfiguration(), hasher: KeyHasher(1, 2))
    let client: ClientIndex
    var waiting: [UInt8] = []
    var output: [UInt8] = []
    var hasEnded = false
    let now = Instant(nanoseconds: 1_000_000_000)

    init() {
        gateway.setReady(true)
        client = gateway.open(address: "127.0.0.1:1", at: now)!
    }

    mutating func receive(_ more: ArraySlice<UInt8>) {
        if hasEnded { return }
        waiting += more
        let bytes = waiting
        var offset = 0
        var turns = 0
        loop: while true {
            turns += 1
            precondition(turns <= 2 * bytes.count + 8, "it does not get on")
            let before = offset
            var request = gateway.next(bytes.span, at: &offset, from: client, now: now)
            if case .command = request {
                request = gateway.carryOut(bytes.span, from: client, now: now)
            }
            precondition(before <= offset && offset <= bytes.count)
            switch request {
            case .incomplete(let needed):
                precondition(needed > bytes.count - offset, "it has what it asks for")
                break loop
            case .handled: break
            case .publish(let publication):
                let source = publication.isDecoded ? gateway.decodedLine : bytes
                for slice in [publication.message.name, publication.message.payload] {
                    precondition(slice.start >= 0 && slice.count >= 0)
                    precondition(slice.end <= source.count)
                }
                gateway.published(
                    publication, source.span, by: client, number: 0, nodeCount: 1, isParked: false)
            case .ask(let query, _):
                precondition(gateway.finished(query) == client)
            case .report: answer(gateway.report)
            case .command: preconditionFailure("it is carried out")
            case .blocked: preconditionFailure("no question is open")
            case .end:
                hasEnded = true
                break loop
            }
            gateway.changes.removeAll()
            collect()
        }
        collect()
        waiting.removeFirst(offset)
        if hasEnded { _ = gateway.close(client, .inOrder) }
    }

    private mutating func answer(_ report: Report) {
        switch report {
        case .online(let users): gateway.reply(client, .array(users.map { _ in .integer(0) }))
        case .watch(let users):
            for index in users.indices {
                gateway.presenceNow(client, user: index, isOnline: index % 2 == 0)
            }
        case .members, .links, .whereabouts: gateway.reply(client, .array([]))
        case .patternCount: gateway.reply(client, .integer(3))
        case .status: gateway.reply(client, .map([("id", .text("x")), ("keys", .integer(1))]))
        case .info: gateway.reply(client, .text("redis_version:7.2.0\r\n"))
        }
    }

    private mutating func collect() {
        gateway.dirty.removeAll()
        while gateway.outputCount(client) > 0 {
            var sent: [UInt8] = []
            unsafe gateway.flush(client) { raw in
                unsafe sent.append(contentsOf: raw)
                return raw.count
            }
            if sent.isEmpty { break }
            output += sent
        }
    }
}
