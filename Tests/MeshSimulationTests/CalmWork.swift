import MeshCore
import MeshGateway
import MeshServer

@testable import MeshSimulation

/// The work of a run in which nothing goes wrong, and the counts that it may lead to.
///
/// All numbers are those of the scene: of clients, commands, changes and messages, counted where they are
/// made, and of steps in the graph of the links. No bound is a number that a run once had. A repair that
/// should not be needed has the bound zero, however well it is done.
struct CalmWork {
    /// Nodes that are up at the end.
    var nodes = 0
    var seconds = 0.0
    /// Ends of links: each link has two.
    var linkEnds = 0

    /// First holders of keys and patterns that come to a node, and last ones that go.
    var changes = 0
    /// Of them patterns: they travel with their text.
    var patternBytes = 0
    /// Messages that have a destination besides their own node.
    var messages = 0
    /// Their destinations.
    var deliveries = 0
    /// Steps in the graph of the links from the origins to the destinations.
    var steps = 0
    /// Copies that others than the origins send, at the least: each destination that is no neighbour of the
    /// origin gets its copy from somebody else.
    var forwardsMin = 0
    /// The messages that one node has sent another.
    struct Flow {
        var messages = 0
        /// Between the two nodes.
        var steps: Int
        /// First messages of stretches of 20 ms, less what the network's jitter may take of that.
        private(set) var stretches = 0
        private var last: Instant?

        init(steps: Int) { self.steps = steps }

        mutating func send(at now: Instant) {
            messages += 1
            guard last.map({ now - $0 >= .milliseconds(19) }) ?? true else { return }
            stretches += 1
            last = now
        }

        /// Messages that have arrived are acknowledged when they are 16, or after 20 ms: those that have waited so
        /// long are so far apart.
        var acknowledgementsMax: Int { min(messages, messages / 16 + stretches) }
    }
    var flows: [[Int]: Flow] = [:]

    var clients = 0
    var commands = 0
    var publications = 0
    /// Clients that a message is for, all together.
    var copies = 0
    var sessions = 0
    var sessionsResumed = 0
    var sessionsMoved = 0
    var sessionsEnded = 0
    var clientsMoved = 0
    var pausesMax = 0
    /// Questions of clients, and the nodes that they went to.
    var questions = 0
    var questionsTo = 0

    // Counts that newcomers and leavers lead to; in all other runs 0.
    var linksOpened = 0...0
    var linksLost = 0...0
    var linksRefused = 0...0
    /// A node's place among coordinates that all are told, over the same arcs as changes.
    var spreadsMax = 0
    var recordsRepaired = 0
    var wholeSets = 0
    var membershipFrames = 0...0
    var linkFrames = 0...0
    var comparisonFrames = 0...0
    var repairFrames = 0...0

    /// All that clients can do has been done. What may not be counted even then is never to be counted.
    static var all: CalmWork {
        var work = CalmWork()
        (work.nodes, work.seconds, work.linkEnds) = (2, 1, 2)
        (work.changes, work.messages, work.deliveries, work.steps) = (1, 1, 1, 2)
        var flow = Flow(steps: 2)
        flow.send(at: Instant(nanoseconds: 0))
        work.flows = [[0, 1]: flow]
        (work.clients, work.commands, work.publications, work.copies) = (1, 1, 1, 1)
        (work.sessions, work.sessionsResumed, work.sessionsMoved) = (1, 1, 1)
        (work.sessionsEnded, work.clientsMoved, work.questions, work.questionsTo) = (1, 1, 1, 1)
        return work
    }

    private func exactly(_ count: Int) -> ClosedRange<Int> { count...count }
    private var never: ClosedRange<Int> { 0...0 }

    /// Frames of acknowledgements.
    private var acknowledgementFramesMax: Int {
        flows.values.reduce(sessionParts.upperBound) { $0 + $1.acknowledgementsMax * $1.steps }
    }

    /// A session that moves has a beginning, what waits if anything does, the word that this was all, and an
    /// end. The nodes are neighbours.
    private var sessionParts: ClosedRange<Int> { 3 * sessionsMoved...4 * sessionsMoved }

    /// Acknowledgements that are passed on count as messages do.
    private var forwardsMax: Int {
        let back = flows.values.reduce(0) {
            $0 + $1.acknowledgementsMax * ($1.steps - 1)
        }
        return max(forwardsMin, steps - deliveries + back)
    }

    /// Each flow has ended with an acknowledgement, and each is of one message at least.
    var acknowledgementsInAll: ClosedRange<Int> {
        flows.count...max(flows.count, deliveries + sessionParts.upperBound)
    }

    func bounds(of counter: NodeCounter) -> ClosedRange<Int> {
        switch counter {
        case .messagesOriginated: exactly(messages)
        case .messagesDelivered: exactly(deliveries)
        // All that lies within three steps is reached by a shortest way (Routing).
        case .messageHops: exactly(steps)
        case .messagesForwarded: forwardsMin...forwardsMax
        case .acknowledgementsSent:
            0...flows.values.reduce(sessionParts.upperBound) { $0 + $1.acknowledgementsMax }
        // A message to one node can carry one.
        case .acknowledgementsCarried: 0...messages
        case .recordsLive: exactly(changes * (nodes - 1))
        // An arc's header of 24 bytes, and records of 28 with 7 for the one change; each change by itself,
        // because they are further apart than the 10 ms for which changes gather.
        case .recordBytesLive: exactly((changes * 59 + patternBytes) * (nodes - 1))
        case .recordsRepaired: exactly(recordsRepaired)
        // A change has 7 bytes, a key of a whole set five at least; what names them 64.
        case .recordBytesRepaired:
            recordsRepaired == 0
                ? never : 5 * recordsRepaired...7 * recordsRepaired + 64 * (nodes + 2)
        case .snapshotsSent, .snapshotsReceived: exactly(wholeSets)
        case .linksOpened: linksOpened
        case .linksLost: linksLost
        case .linksRefused: linksRefused
        case .droppedHopLimit, .droppedNoRoute, .droppedUnknownDestination, .droppedVolatile,
            .droppedUnknownOrigin, .droppedBeyondWindow:
            never
        case .retransmitted, .undelivered, .parked, .duplicates, .reordered, .gaps: never
        case .foundNobody, .foundNoSubscriber, .takenBack: never
        case .sessionsSent, .sessionsDelivered: sessionParts
        case .sessionsGivenUp: never
        case .unknownMessages, .unknownRecords, .unsupported, .unsupportedElsewhere: never
        case .keyCollisions, .protocolErrors, .handshakesAbandoned, .greetingsDisplaced,
            .dialsWithheld:
            never
        case .linksHollow, .flowsStalled: never
        case .suspicions, .suspectsNotHeard, .deaths, .refutations, .recordsDuplicate,
            .confirmedEarly:
            never
        }
    }

    func bounds(of counter: GatewayCounter) -> ClosedRange<Int> {
        switch counter {
        case .connectionsAccepted: exactly(clients)
        case .commands: exactly(commands)
        case .messagesPublished: exactly(publications)
        case .clientCopies: exactly(copies)
        case .sessionsOpened: exactly(sessions)
        case .sessionsResumed: exactly(sessionsResumed + sessionsMoved)
        case .sessionsMovedIn, .sessionsMovedOut: exactly(sessionsMoved)
        case .sessionsEnded: exactly(sessionsEnded)
        case .movedNotices: exactly(clientsMoved)
        // A session that comes from another node is asked for there.
        case .questions: exactly(questions + sessionsMoved)
        case .connectionsRefused, .commandErrors, .droppedClientCopies, .discardedOutputBytes:
            never
        case .droppedOldest, .droppedNewest, .droppedSuperseded: never
        case .undelivered, .undeliveredReports: never
        case .sessionsExpired, .sessionsLost, .sessionsRefused, .sessionTokensRefused: never
        case .sessionMessagesDropped, .sessionMessagesRepeated, .sessionTwins: never
        case .sessionDeparturesLost, .gapNotices, .sessionPartingsLost: never
        case .clientsOverdue, .clientProtocolErrors, .clientsKilled, .subscriptionsRefused,
            .userLimitsMet:
            never
        case .clientsEndedForMemory, .mailboxesShed, .commandsGivenUp: never
        case .answersCut, .answersMalformed, .authenticationFailures: never
        case .ordersCarriedOut: never
        case .keyspaceNotificationsAsked, .connectionsOfHostsRefused: never
        // Nobody asks.
        case .requestsAnswered, .requestsRejected, .requestsFailed, .requestsBusy: never
        case .requestsUnserved, .requestsDied, .requestsTimedOut, .requestsCancelled: never
        case .requestAttempts, .requestsGiven, .repliesLate, .repliesLost, .postsMalformed: never
        case .onceDuplicates, .onceForgottenEarly, .labelsMalformed: never
        // Nobody watches a room.
        case .rosterBatches, .rosterResyncs: never
        }
    }

    func bounds(of counter: ServerCounter) -> ClosedRange<Int> {
        switch counter {
        case .publishersPaused: 0...pausesMax
        case .namesMatchedInSteps, .patternSearchesCut, .idleClientsEnded, .clientsThrottled:
            never
        }
    }

    /// Frames between nodes, as a tap on every line counts them.
    func bounds(of purpose: TrafficCount.Purpose) -> ClosedRange<Int> {
        switch purpose {
        // One each way on a link that is idle for 450 ms; a link that carries something else has fewer.
        case .heartbeats:
            (messages + changes > 0 ? 0 : Int(Double(linkEnds) * (seconds / 0.45 - 1)))...Int(
                Double(linkEnds) * (seconds / 0.45 + 1))
        case .membership: membershipFrames
        case .links: linkFrames
        // Each node is sent each change once, by whomever, and acknowledges it once.
        case .changes: 2 * changes * (nodes - 1)...(2 * changes + spreadsMax) * (nodes - 1)
        case .comparison: comparisonFrames
        case .repair: repairFrames
        // The origins' own copies, one at least and one for each destination at most, and the others'.
        case .messages:
            messages + forwardsMin + sessionParts.lowerBound...max(messages + forwardsMin, steps)
                + sessionParts.upperBound
        case .acknowledgements: 0...acknowledgementFramesMax
        // There and back, over three steps at most.
        case .control: 0...(questionsTo + sessionsMoved) * 6
        }
    }
}
