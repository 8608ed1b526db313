import MeshCore
import MeshWire

// Settings of the clients that change while the node runs.

/// Levels of the log, as Redis names them.
public enum RedisLogLevel: String, CaseIterable, Sendable {
    case debug, verbose, notice, warning
}

/// Settings of clients and log that the driver carries out.
public struct ClientSettings: Equatable, Sendable {
    /// See `GatewayConfiguration.keepAliveSeconds`.
    public var keepAliveSeconds: Int
    public var logLevel: RedisLogLevel

    public init(keepAliveSeconds: Int, logLevel: RedisLogLevel) {
        self.keepAliveSeconds = keepAliveSeconds
        self.logLevel = logLevel
    }
}

extension Hub {
    /// The settings that the driver carries out.
    public var settings: ClientSettings {
        ClientSettings(
            keepAliveSeconds: configuration.keepAliveSeconds, logLevel: configuration.logLevel)
    }

    /// Changes bounds of the clients while the gateway serves: they hold from now on.
    public mutating func reconfigure(_ change: (inout GatewayConfiguration) -> Void) {
        let before = settings
        change(&configuration)
        outputAlarm = configuration.outputAlarm
        if settings != before { outbox.hasNewSettings = true }
    }

    /// The policy of clients that do not choose one.
    public var slowConsumerPolicy: SlowConsumerPolicy { configuration.slowConsumerPolicy }

    /// Clients that have said nothing for longer than `timeout` and listen to nothing: as in Redis,
    /// those that are subscribed, attached or wait for an answer stay.
    public mutating func idleClients(at now: Instant) -> [ClientIndex] {
        let most = configuration.idleSecondsMax
        guard most > 0 else { return [] }
        var idle: [ClientIndex] = []
        for slot in clients.slots {
            guard clients[slot].flags.intersection([.open, .doomed, .ending, .asking]) == .open,
                clients[slot].lists.isEmpty,
                (now - clients[slot].identity.lastSeenAt).milliseconds / 1_000 > Int64(most),
                openRequests.count(of: ClientIndex(slot)) == 0
            else { continue }
            idle.append(ClientIndex(slot))
        }
        return idle
    }
}
