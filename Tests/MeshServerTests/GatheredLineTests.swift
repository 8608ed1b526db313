import MeshCore
import MeshWire
import Testing

@testable import MeshServer

/// Strangers cannot fill the log.
@Suite struct GatheredLineTests {
    private static func line(_ event: String, _ address: String) -> LogLine {
        LogLine(.warning, event, [("address", .text(address))])
    }

    private static func words(_ line: LogLine) -> String {
        line.fields.reduce(line.event) { words, field in
            switch field.1 {
            case .text(let text): words + " \(field.0)=\(text)"
            case .integer(let number): words + " \(field.0)=\(number)"
            }
        }
    }

    private let start = Instant(nanoseconds: 1_000_000_000)

    @Test func `a host has one line at once, and then one with a count every ten seconds`() {
        var lines = GatheredLines()
        var written: [String] = []
        for second in 0..<25 {
            let now = start + .seconds(Int64(second))
            written += lines.take(at: now).map(Self.words)
            for number in 0..<40 {
                let line = Self.line("misbehaved", "127.0.0.1:\(second * 100 + number)")
                if lines.admit(line, from: "127.0.0.1:1", at: now) {
                    written.append(Self.words(line))
                }
            }
        }
        #expect(
            written == [
                "misbehaved address=127.0.0.1:0", "misbehaved address=127.0.0.1:939 count=399",
                "misbehaved address=127.0.0.1:1939 count=400",
            ])
        // The last ones are told too, and then nothing is kept.
        let last = lines.take(at: start + .seconds(30)).map(Self.words)
        #expect(last == ["misbehaved address=127.0.0.1:2439 count=200"])
        #expect(lines.nextDeadline == start + .seconds(40))
        let later = start + .seconds(40)
        let none = lines.take(at: later)
        #expect(none.isEmpty)
        #expect(lines.nextDeadline == nil)
        let isNew = lines.admit(Self.line("misbehaved", "x"), from: "127.0.0.1:1", at: later)
        #expect(isNew)
    }

    @Test func `hosts and events are told apart`() {
        var lines = GatheredLines()
        let hosts = ["10.0.0.1:5", "10.0.0.2:5", "[2001:db8:0:0:0:0:0:1]:5", "/run/socket"]
        for host in hosts {
            for event in ["misbehaved", "slowConsumerCut"] {
                let first = lines.admit(Self.line(event, host), from: host, at: start)
                let second = lines.admit(Self.line(event, host), from: host, at: start)
                #expect(first && !second)
            }
        }
        let told = lines.take(at: start + .seconds(10))
        #expect(told.count == 8)
    }

    @Test func `beyond a bound of hosts all others share a line`() {
        var lines = GatheredLines()
        var written = 0
        for host in 0..<5_000 {
            let address = "10.0.\(host / 250).\(host % 250):7"
            if lines.admit(Self.line("misbehaved", address), from: address, at: start) {
                written += 1
            }
        }
        #expect(written == GatheredLines.hostMax + 1)
        let told = lines.take(at: start + .seconds(10)).map(Self.words)
        let rest = 5_000 - GatheredLines.hostMax - 1
        #expect(told == ["misbehaved address=10.0.19.249:7 count=\(rest) hosts=others"])
    }

    @Test func `strangers that give their places to others have one line`() {
        let servers = Servers()
        var lines: [String] = []
        for port in 1...300 as ClosedRange<UInt16> {
            let line = servers.mesh.hosts[0].server.lineNow(
                for: .greetingDisplaced(LinkIndex(0)), now: servers.now
            ) { _ in Endpoint(ipv4: 0x0A09_0807, port: port) }
            if let line { lines.append(Self.words(line)) }
        }
        #expect(lines.count == 1)
        #expect(lines.first?.hasPrefix("greetingDisplaced address=10.9.8.7:1 hint=") == true)
    }

    @Test func `a server without clients tells of the last ones in time`() throws {
        let servers = Servers()
        let host = Endpoint(ipv4: 0x0A09_0807, port: 5_000)
        var now = servers.now
        var admitted = 0
        for _ in 0..<400 {
            let line = servers.mesh.hosts[0].server.breach(
                "misbehaved", at: host, by: nil, "no frame")
            let gathered = servers.mesh.hosts[0].server.gathered(line, at: host, now: now)
            if gathered != nil { admitted += 1 }
        }
        #expect(admitted == 1)
        let end = now + .seconds(10)
        var told: [String] = []
        var effects = ServerEffects()
        while let due = servers.mesh.hosts[0].server.nextDeadline(), due <= end {
            now = due
            servers.mesh.hosts[0].server.handle(
                .deadline, bytes: Span(), at: due, into: &effects)
            for case .log(let line) in effects.orders { told.append(Self.words(line)) }
            effects.orders.removeAll()
            effects.removeAll()
        }
        #expect(told == ["misbehaved address=10.9.8.7:5000 reason=no frame count=399"])
    }
}
