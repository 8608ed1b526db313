import MeshCore
import MeshWire

/// The things that a `World` has seen happen since this was last emptied; the checkers read it.
///
/// Trivial values in the order of their times, so that writing costs next to nothing.
struct Observations {
    /// A message that a node has handed to its clients.
    struct Arrival {
        var time: Instant
        var host: Int32
        /// The first four bytes of its payload, which `Workload` numbers.
        var message: UInt32
        /// Links that it came over.
        var hops: Int32
    }

    /// Something a node has told its operator.
    struct News {
        var time: Instant
        var host: Int32
        var event: LogEvent
    }

    /// A message that came to a host where it had been before, or over more links than it may.
    struct Detour {
        var time: Instant
        var host: Int32
        var hops: Int32
        /// How often it had been there before.
        var returns: Int32
    }

    /// A node has given up copies of a message, and told the sender.
    struct Report {
        var time: Instant
        var host: Int32
        /// As `OutgoingMessage.sender`: `sender(of:)`, or the tag that a gateway gave its client.
        var sender: UInt64
        var count: Int32
        /// `NodeID(0)`: a user who did not come back.
        var destination: NodeID
        /// It was refused when it was published.
        var isRefusal = false

        /// The sender of a message of the workload. A gateway's tag begins with the index of a client,
        /// which is not negative: no tag is one of these.
        static func sender(of message: UInt32) -> UInt64 { 1 << 63 | UInt64(message) }

        /// The number of the message, if it is one of the workload.
        var message: Int? { Self.message(of: sender) }

        static func message(of sender: UInt64) -> Int? {
            sender >> 63 == 1 ? Int(UInt32(truncatingIfNeeded: sender)) : nil
        }
    }

    /// A node was told that messages of another will never come.
    struct Gap {
        var time: Instant
        var host: Int32
        var origin: NodeID
        var count: UInt32
    }

    /// A node has taken changes of the directory that were news to it.
    struct ChangeArrival {
        var time: Instant
        /// When the first of them was made.
        var made: Instant
        var host: Int32
        var count: Int32
        /// They were asked for.
        var isRepair: Bool
    }

    var arrivals: [Arrival] = []
    /// Senders of copies that have found their user gone, and have come back to their origins.
    var returns: [UInt64] = []
    var changes: [ChangeArrival] = []
    var reports: [Report] = []
    var gaps: [Gap] = []
    var news: [News] = []
    var detours: [Detour] = []
    var surprises: [ConfirmationChecker.Surprise] = []
    var unaware: [ConfirmationChecker.Unaware] = []

    /// Whether anybody reads such news. Most are of new members, n² of them.
    static func isRead(_ event: LogEvent) -> Bool {
        switch event {
        case .memberDead, .memberSuspect, .linkUp: true
        default: false
        }
    }

    mutating func removeAll() {
        arrivals.removeAll(keepingCapacity: true)
        returns.removeAll(keepingCapacity: true)
        changes.removeAll(keepingCapacity: true)
        reports.removeAll(keepingCapacity: true)
        gaps.removeAll(keepingCapacity: true)
        news.removeAll(keepingCapacity: true)
        detours.removeAll(keepingCapacity: true)
        surprises.removeAll(keepingCapacity: true)
        unaware.removeAll(keepingCapacity: true)
    }
}
