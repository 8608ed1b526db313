import JSON5
import MeshCore
import MeshWire

/// Writes down what happened to one message, or to one host, hop by hop and event by event.
struct Tracer {
    enum Subject {
        /// A message of the workload, by its number.
        case message(UInt32)
        case host(Int)
    }

    let subject: Subject
    let from: Instant
    let to: Instant
    /// At most this many lines are kept; the rest is counted.
    static var lineCountMax: Int { 200_000 }
    private(set) var lines: [String] = []
    private(set) var droppedLineCount = 0

    init(_ subject: Subject, from: Instant, to: Instant) {
        self.subject = subject
        self.from = from
        self.to = to
    }

    private func isDue(_ time: Instant) -> Bool { time >= from && time <= to }

    private mutating func write(_ time: Instant, _ host: Int, _ text: String) {
        guard lines.count < Self.lineCountMax else {
            droppedLineCount += 1
            return
        }
        lines.append(
            "\(decimal(Double(time.nanoseconds) / 1e9, places: 6))  host \(host)  \(text)")
    }

    mutating func sent(_ time: Instant, _ host: Int, to other: Int, _ parcel: Parcel) {
        guard isDue(time) else { return }
        switch subject {
        case .message(let number):
            if Self.messageNumber(parcel, at: 0) == number {
                write(time, host, "sends it to host \(other), link \(parcel.pathCount)")
            }
        case .host(let subject):
            if host == subject {
                write(time, host, "→ host \(other): \(Self.describe(parcel, at: 0))")
            }
        }
    }

    mutating func received(
        _ time: Instant, _ host: Int, _ parcel: Parcel, at start: Int, _ prefix: FramePrefix
    ) {
        guard isDue(time), case .host(host) = subject else { return }
        write(time, host, "← \(Self.describe(parcel, at: start)), \(prefix.length) bytes")
    }

    mutating func delivered(_ time: Instant, _ host: Int, _ message: UInt32, hops: Int) {
        guard isDue(time) else { return }
        switch subject {
        case .message(message):
            write(time, host, "delivers it after \(hops) \(hops == 1 ? "hop" : "hops")")
        case .host(host):
            write(time, host, "delivers message \(message) after \(hops)")
        default: break
        }
    }

    mutating func log(_ time: Instant, _ host: Int, _ event: LogEvent) {
        guard isDue(time), case .host(host) = subject else { return }
        write(time, host, "log: \(event)")
    }

    /// The number that the workload gave a client's message; nil for control.
    static func messageNumber(_ parcel: Parcel, at start: Int) -> UInt32? {
        parcel.withSpan { span in
            var needed = 0
            guard let prefix = try? FramePrefix.read(span, at: start, needed: &needed),
                prefix.kind == .routed, prefix.body != RoutedBody.control.rawValue,
                let header = try? RoutedHeader.read(span, at: start, prefix),
                header.payloadOffset + 4 <= prefix.length
            else { return nil }
            return span.load(UInt32.self, at: start + header.payloadOffset)
        }
    }

    private static func describe(_ parcel: Parcel, at start: Int) -> String {
        parcel.withSpan { span in
            var needed = 0
            guard let prefix = try? FramePrefix.read(span, at: start, needed: &needed) else {
                return "malformed bytes"
            }
            switch prefix.kind {
            case .arc: return "records for an arc of the ring"
            case .link:
                let message = try? Message.decode(
                    span, from: start + Frame.prefixSize, to: start + prefix.length)
                return message.map { label("\($0)") } ?? "malformed message"
            case .routed:
                if prefix.body == RoutedBody.control.rawValue { return "routed control" }
                return messageNumber(parcel, at: start).map { "message \($0)" } ?? "message"
            }
        }
    }

    /// The name of an enum's case, without its payload.
    private static func label(_ description: String) -> String {
        String(description.prefix { $0 != "(" })
    }
}
