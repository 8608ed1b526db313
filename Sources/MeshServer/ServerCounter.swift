import MeshCore

public typealias ServerCounters = Counters<ServerCounter, 1>

/// The counters of a server besides those of its node and its gateway.
public enum ServerCounter: String, CounterName {
    case publishersPaused =
        "Times that a publisher was not read from because of a congested link or destination."
}
