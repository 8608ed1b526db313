import MeshCore

public typealias ServerCounters = Counters<ServerCounter, 5>

/// The counters of a server besides those of its node and its gateway.
public enum ServerCounter: String, CounterName {
    case publishersPaused =
        "Times that a publisher was not read from because of a congested link or destination."
    case clientsThrottled =
        "Times that a client was not read from because too much of its output waited."
    case namesMatchedInSteps =
        "Names of messages whose matching patterns took more than one event to find."
    case idleClientsEnded = "Clients ended because they said nothing for longer than `timeout`."
    case patternSearchesCut =
        "Messages of other nodes given to some of their patterns only: too much waited for the rest."
}
