import MeshCore

public typealias DriverCounters = Counters<DriverCounter, 20>

/// The counters of a driver.
public enum DriverCounter: String, CounterName {
    case droppedQueueFull = "Messages dropped because a link's queue was at its bound."
    case droppedQueueFullBytes = "Bytes of those messages."
    case linksMisbehaved = "Links closed for malformed bytes or an unbounded control queue."
    case linksAccepted = "Link connections accepted."
    case linksDialled = "Link connections dialled."
    case clientsAccepted = "Client connections accepted."
    case clientsClosed = "Client and HTTP connections that ended."
    case connectionsRefused = "Connections closed at once: no slot, no descriptor, too many."
    case descriptorsUsedUp =
        "Clients closed at once because all descriptors but those for links were in use."
    /// After each of these the listeners rested (`Limits.starvedTime`).
    case acceptsFailed = "Times that accepting failed for want of memory or descriptors."
    case sendsStarved = "Writes to sockets that the kernel had no memory for; they are repeated."
    case logLinesLost =
        "Log lines that standard error did not take: a full disk, a reader that stands still."
    case logLinesLeftOut = "Log lines left out because there were too many."
    case httpAccepted = "HTTP connections accepted."
    case httpRefused = "HTTP connections closed for bytes that are no request."
    case httpTimedOut = "HTTP connections closed for a head that did not end."
    case receivedBytes = "Bytes received on all ports."
    case receives = "Calls that read from sockets."
    case sends = "Calls that wrote to sockets."
    case wakeUps = "Turns of the event loop."
}
