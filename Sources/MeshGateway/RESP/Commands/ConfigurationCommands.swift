import MeshCore
import MeshWire

// CONFIG: what is answered OK is seen by CONFIG GET and by what the node does.

/// The reason why CONFIG SET does not take a value, in words of no protocol.
public enum ParameterFault: Equatable, Sendable {
    case notAnInteger
    case range(least: Int, most: Int)
    case choice(of: [String])
    case outputLimits(OutputLimitFault)
    /// It is what it is, and never anything else.
    case fixed
    case duplicate
    /// There are no keys whose changes could be told.
    case noKeys
}

extension Gateway {
    /// The parameters that clients and tools look up; others do not exist.
    private var parameters: [(name: String, value: String)] {
        let limits = [
            ("normal", hub.configuration.normalOutputLimit),
            ("slave", hub.configuration.replicaOutputLimit),
            ("pubsub", hub.configuration.pubsubOutputLimit),
        ].map {
            "\($0.0) \($0.1.hard) \($0.1.soft) \($0.1.softDuration.milliseconds / 1_000)"
        }
        return [
            ("appendonly", "no"), ("client-output-buffer-limit", limits.joined(separator: " ")),
            ("databases", "16"), ("loglevel", hub.configuration.logLevel.rawValue),
            ("maxclients", "\(hub.configuration.clientCountMax)"),
            ("maxmemory", "0"), ("maxmemory-policy", "noeviction"),
            ("notify-keyspace-events", ""), ("replica-read-only", "yes"), ("save", ""),
            ("slave-read-only", "yes"), ("tcp-keepalive", "\(hub.configuration.keepAliveSeconds)"),
            ("timeout", "\(hub.configuration.idleSecondsMax)"),
        ]
    }

    mutating func getConfiguration(_ input: Span<UInt8>, _ client: ClientIndex) {
        // Beyond this many patterns nobody has a use for the answer.
        let wanted = (2..<min(arguments.count, 66)).map {
            Array(text($0, input, countMax: 256).lowercased().utf8)
        }
        let found = parameters.filter { parameter in
            wanted.contains { Glob.matches($0, Array(parameter.name.utf8)) }
        }
        reply(client, .map(found.map { ($0.name, .text($0.value)) }))
    }

    /// All of them or, with the first one that is refused, none.
    mutating func setConfiguration(_ input: Span<UInt8>, _ client: ClientIndex) {
        guard arguments.count % 2 == 0 else {
            fail(client, .syntax(.unknownArgument))
            return
        }
        var updated = hub.configuration
        var names: Set<String> = []
        for index in stride(from: 2, to: arguments.count, by: 2) {
            let name = text(index, input, countMax: 128).lowercased()
            guard parameters.contains(where: { $0.name == name }) else {
                fail(
                    client,
                    .redis(.unknownParameter(name: excerpt(index, input, countMax: 4_096))))
                return
            }
            let value = text(index + 1, input, countMax: 1_024)
            let fault =
                names.insert(name).inserted ? set(name, to: value, in: &updated) : .duplicate
            if let fault {
                if fault == .noKeys { hub.counters[.keyspaceNotificationsAsked] += 1 }
                fail(client, .redis(.parameter(name: name, fault)))
                return
            }
        }
        hub.reconfigure { $0 = updated }
        ok(client)
    }

    /// Nil: it is set, or it is so already.
    private func set(
        _ name: String, to value: String, in updated: inout GatewayConfiguration
    ) -> ParameterFault? {
        switch name {
        case "client-output-buffer-limit":
            return updated.setOutputLimits(value).map { .outputLimits($0) }
        case "maxclients":
            return set(&updated.clientCountMax, to: value, 1...hub.configuration.clientCountBound)
        case "timeout":
            return set(&updated.idleSecondsMax, to: value, 0...Int(Int32.max))
        case "tcp-keepalive":
            return set(&updated.keepAliveSeconds, to: value, 0...Int(Int32.max))
        case "loglevel":
            guard let level = RedisLogLevel(rawValue: value.lowercased()) else {
                return .choice(of: RedisLogLevel.allCases.map(\.rawValue))
            }
            updated.logLevel = level
            return nil
        case "notify-keyspace-events": return value.isEmpty ? nil : .noKeys
        default:
            // Tools set these to what they are when they start.
            let present = parameters.first { $0.name == name }?.value
            return value.lowercased() == present ? nil : .fixed
        }
    }

    private func set(
        _ number: inout Int, to value: String, _ range: ClosedRange<Int>
    ) -> ParameterFault? {
        guard let given = Int(value) else { return .notAnInteger }
        guard range.contains(given) else {
            return .range(least: range.lowerBound, most: range.upperBound)
        }
        number = given
        return nil
    }
}
