import MeshCore
import MeshWire

// MONITOR and CLIENT PAUSE: what looks at commands before they are carried out. While nobody wants either,
// commands take their short way and cost nothing more.

/// Clients that read the commands of all.
struct Monitors {
    var clients: [ClientIndex] = []
    /// Microseconds from the driver's time to 1970, as they were when the last one began.
    var wallOffset: Int64 = 0

    /// The bytes of one argument that a line shows; where there is more, three dots follow.
    static let argumentBytesMax = 4_096
    /// The same of a line.
    static let lineBytesMax = 64 * 1024
}

/// CLIENT PAUSE.
struct ClientPause {
    /// Nil: there is none.
    var end: Instant?
    /// Not only commands that publish.
    var holdsAll = false
    /// Clients whose input waits for the end.
    var waiting: [ClientIndex] = []
}

extension Gateway {
    /// Whether a PUBLISH may be carried out without a look at anything else.
    mutating func chooseWay() {
        redis.takesShortWay =
            hub.isReady && redis.monitors.clients.isEmpty && redis.pause.end == nil
            && !hub.registry.hasGone
    }

    // MARK: MONITOR

    /// Answers `.report(.monitor)`.
    public mutating func beginMonitoring(_ client: ClientIndex, wallMicroseconds: Int64) {
        redis.monitors.wallOffset = wallMicroseconds - hub.now.nanoseconds / 1_000
        if !conversations[client.slot].isMonitoring {
            conversations[client.slot].isMonitoring = true
            redis.monitors.clients.append(client)
            chooseWay()
        }
        reply(client, .simple("OK"))
    }

    mutating func endMonitoring(_ client: ClientIndex) {
        conversations[client.slot].isMonitoring = false
        redis.monitors.clients.removeAll { $0 == client }
        chooseWay()
    }

    /// Shows a command that is about to be carried out. As in Redis those that administer are not shown,
    /// and secrets are not.
    @inline(never)
    mutating func show(_ command: Command, _ input: Span<UInt8>, _ client: ClientIndex) {
        guard command.operation != .administer else { return }
        var line = lineStart(hub.clients[client.slot].identity.address)
        for index in 0..<arguments.count where line.count < Monitors.lineBytesMax {
            line.append(0x20)
            if isSecret(index, of: command, input) {
                line += Array("\"(redacted)\"".utf8)
            } else {
                append(
                    bytes(index, input, countMax: Monitors.argumentBytesMax + 1), to: &line)
            }
        }
        tellMonitors(line)
    }

    /// Shows a publication of a script.
    mutating func show(_ isShard: Bool, _ name: Slice, _ payload: Slice, _ bytes: [UInt8]) {
        var line = lineStart("lua")
        let most = Monitors.argumentBytesMax + 1
        for word in [
            Array((isShard ? "spublish" : "publish").utf8),
            Array(bytes[Int(name.start)..<name.end].prefix(most)),
            Array(bytes[Int(payload.start)..<payload.end].prefix(most)),
        ] {
            line.append(0x20)
            append(word, to: &line)
        }
        tellMonitors(line)
    }

    private func lineStart(_ source: String) -> [UInt8] {
        let (seconds, rest) = (hub.now.nanoseconds / 1_000 + redis.monitors.wallOffset)
            .quotientAndRemainder(dividingBy: 1_000_000)
        let digits = String(rest)
        let zeros = String(repeating: "0", count: max(0, 6 - digits.count))
        return Array("+\(seconds).\(zeros)\(digits) [0 \(source)]".utf8)
    }

    /// Passwords, and tokens of sessions.
    private func isSecret(_ index: Int, of command: Command, _ input: Span<UInt8>) -> Bool {
        switch command {
        case .auth: return index > 0
        case .hello:
            return (1...2).contains {
                index - $0 >= 2 && equals(index - $0, "auth", input)
            }
        case .meshAttach: return index == 3 && equals(2, "resume", input)
        default: return false
        }
    }

    /// A word in quotes, as Redis writes it: on one line, whatever is in it.
    private func append(_ word: [UInt8], to line: inout [UInt8]) {
        let hexadecimal = Array("0123456789abcdef".utf8)
        line.append(UInt8(ascii: "\""))
        for byte in word.prefix(Monitors.argumentBytesMax) {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): line += [UInt8(ascii: "\\"), byte]
            case 0x0A: line += Array("\\n".utf8)
            case 0x0D: line += Array("\\r".utf8)
            case 0x09: line += Array("\\t".utf8)
            case 0x07: line += Array("\\a".utf8)
            case 0x08: line += Array("\\b".utf8)
            case 0x20..<0x7F: line.append(byte)
            default:
                line += Array("\\x".utf8)
                line += [hexadecimal[Int(byte >> 4)], hexadecimal[Int(byte & 15)]]
            }
        }
        line.append(UInt8(ascii: "\""))
        if word.count > Monitors.argumentBytesMax { line += Array("...".utf8) }
    }

    private mutating func tellMonitors(_ line: [UInt8]) {
        let line = line + [0x0D, 0x0A]
        for client in redis.monitors.clients {
            let slot = client.slot
            guard hub.clients[slot].flags.isDisjoint(with: [.doomed, .ending]) else { continue }
            if hub.clients[slot].flags.contains(.holding) {
                hub.clients[slot].held.append(line)
                hub.heldBack(client, .unknown)
            } else {
                hub.clients[slot].output.append(line)
                hub.wrote(client)
            }
        }
    }

    // MARK: CLIENT PAUSE

    mutating func pause(_ input: Span<UInt8>, _ client: ClientIndex) {
        guard arguments.count <= 4 else {
            fail(client, .syntax(.argumentCount(command: "client|pause")))
            return
        }
        let holdsAll = arguments.count == 3 || equals(3, "all", input)
        guard holdsAll || equals(3, "write", input) else {
            fail(client, .redis(.pauseMode))
            return
        }
        guard let milliseconds = integer(2, input), milliseconds <= 1 << 40 else {
            fail(client, .redis(.waitTime(.value)))
            return
        }
        guard milliseconds >= 0 else {
            fail(client, .redis(.waitTime(.negative)))
            return
        }
        let end = hub.now + .milliseconds(Int64(milliseconds))
        redis.pause.end = max(redis.pause.end ?? end, end)
        redis.pause.holdsAll = holdsAll
        chooseWay()
        ok(client)
    }

    /// Those that wait go on.
    mutating func endPause() {
        redis.pause.end = nil
        redis.pause.holdsAll = false
        hub.outbox.resumable += redis.pause.waiting
        redis.pause.waiting.removeAll()
        chooseWay()
        hub.outbox.hasWork = true
    }

    /// Whether the client's input waits for the end of a pause.
    public func isPaused(_ client: ClientIndex) -> Bool { redis.pause.waiting.contains(client) }

    /// The client's command stays where it is until the pause ends.
    mutating func awaitPauseEnd(_ client: ClientIndex) -> Request {
        if !redis.pause.waiting.contains(client) { redis.pause.waiting.append(client) }
        return .blocked
    }

    /// Whether the command at hand publishes, and so waits too; what is queued does not yet.
    func mustHold(_ input: Span<UInt8>, _ client: ClientIndex) -> Bool {
        guard !conversations[client.slot].isQueueing, let command = named(input) else {
            return false
        }
        return command.operation == .publish
    }
}
