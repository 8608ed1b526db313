import MeshCore

public typealias ServerCounters = Counters<ServerCounter, 1>

/// What a server counts besides its node and its gateway.
public enum ServerCounter: String, CounterName {
    case publishersPaused =
        "Times that a publisher was not read from because of a congested link or destination."
}
