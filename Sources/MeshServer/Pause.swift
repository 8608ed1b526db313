import MeshCore
import MeshGateway

/// Clients that are not listened to for a while, and why.
struct Pause {
    struct Publisher {
        /// `Hub.senderTag`: the client's index may be used again by another.
        var tag: UInt64
        var client: ClientIndex
        var cause: Cause
    }

    /// The reason for a pause: something is too full.
    enum Cause {
        /// `isShared`: the message that met the full flow also goes to others.
        case mesh(Congestion, isShared: Bool)
        case link(LinkIndex)
    }

    struct Waiting {
        /// `Hub.senderTag`
        var tag: UInt64
        var client: ClientIndex

        init(tag: UInt64, _ client: ClientIndex) {
            self.tag = tag
            self.client = client
        }
    }

    /// Clients whose question is answered, or whose replies have left.
    var resumable = FIFO<ClientIndex>()
    /// Clients that ask faster than they read, or have much to read where all together have too much.
    var throttled: [ClientIndex] = []
    /// The output of clients that have much of it, by place, and all of it together.
    private var outputs: [Int] = []
    private(set) var outputBytes = 0
    /// Clients that wait until the node has compared with another.
    var ofBehind: [Waiting] = []
    /// Clients whose commands have cost as much as a turn may.
    var ofTurn: [Waiting] = []
    /// Publishers that wait, the one that has waited longest first.
    var publishers: [Publisher] = []
    /// Publishers to look at again, now that something has drained.
    var rechecking: [Publisher] = []
    /// The number of them that were looked at.
    var rechecked = 0
    /// Publishers that were looked at and go on waiting.
    var kept: [Publisher] = []
    /// Some flow or link is no longer congested, or gone.
    var mayEnd = false
    /// Links that are congested, by their driver's account.
    var congestedLinks: [LinkIndex] = []
    /// The last publication was not taken: its command is to be given again.
    var isPostponed = false

    /// Notes the bytes of output that wait for the client; 0 stands for little.
    mutating func noteOutput(_ bytes: Int, of client: ClientIndex) {
        while outputs.count <= client.slot { outputs.append(0) }
        outputBytes += bytes - outputs[client.slot]
        outputs[client.slot] = bytes
    }
}

extension Server {
    /// A link's queue is above the driver's bound: those that publish over it wait.
    public mutating func linkIsCongested(_ link: LinkIndex) {
        if !pause.congestedLinks.contains(link) { pause.congestedLinks.append(link) }
    }

    /// A link's queue has fallen below half of that, or the link is gone.
    public mutating func linkHasDrained(_ link: LinkIndex) {
        pause.congestedLinks.removeAll { $0 == link }
        pause.mayEnd = true
    }

    /// A client whose input goes on, each once after what it waited for; nil: none, for now. The
    /// driver asks before it sleeps, and goes on with the client before it asks again.
    public mutating func nextResumable() -> ClientIndex? {
        if !pause.ofBehind.isEmpty, !node.isBehind {
            for waiting in pause.ofBehind where edge.gateway.hub.client(tagged: waiting.tag) != nil
            {
                pause.resumable.append(waiting.client)
            }
            pause.ofBehind.removeAll()
        }
        if let client = pause.resumable.popFirst() { return client }
        if pause.mayEnd, pause.rechecking.isEmpty {
            pause.mayEnd = false
            swap(&pause.rechecking, &pause.publishers)
        }
        // One that waits for something else would add a message to what is too full each time. And of
        // those that wait for the same, the first may fill it again.
        while pause.rechecked < pause.rechecking.count {
            let publisher = pause.rechecking[pause.rechecked]
            pause.rechecked += 1
            guard edge.gateway.hub.client(tagged: publisher.tag) != nil else { continue }
            if !isCongested(publisher.cause) { return publisher.client }
            pause.kept.append(publisher)
        }
        if pause.rechecked > 0 {
            pause.publishers = pause.kept + pause.publishers
            pause.kept.removeAll()
            pause.rechecking.removeAll()
            pause.rechecked = 0
        }
        return nil
    }

    /// Whether `nextResumable` may name a client.
    public mutating func mayResume() -> Bool {
        !pause.resumable.isEmpty || !pause.ofBehind.isEmpty && !node.isBehind
            || pause.mayEnd && !pause.publishers.isEmpty
    }

    /// Whether the client is not listened to for now, for a reason of this server's.
    func isWaiting(_ client: ClientIndex) -> Bool {
        pause.throttled.contains(client) || edge.gateway.isPaused(client)
            || (pause.ofBehind + pause.ofTurn).contains { $0.client == client }
            || (pause.publishers + pause.rechecking + pause.kept).contains { $0.client == client }
            || patternSteps.turns.waiting.contains {
                if case .publisher(client, _, _) = $0 { true } else { false }
            }
    }

    mutating func pausePublisher(_ client: ClientIndex, _ cause: Pause.Cause) {
        counters[.publishersPaused] &+= 1
        pause.publishers.append(
            Pause.Publisher(
                tag: edge.gateway.hub.senderTag(of: client), client: client, cause: cause))
    }

    /// Whether a message is not taken yet: its command stays in the client's input, and the client waits.
    @inline(never)
    mutating func mustWait(
        _ publication: Publication, _ bytes: Span<UInt8>, _ client: ClientIndex
    ) -> Bool {
        pause.isPostponed =
            node.hasCongestion && isPostponed(publication, client)
            || node.hasPatterns && !isMatched(publication, bytes, client)
        return pause.isPostponed
    }

    /// A message for a destination that has more than enough is not taken: its command stays in the
    /// client's input, and the client waits. Taken, one from each of many publishers would fill the
    /// flow beyond its window.
    private mutating func isPostponed(
        _ publication: Publication, _ client: ClientIndex
    ) -> Bool {
        let message = publication.message
        if message.isVolatile { return false }
        guard let congestion = node.congestion(of: message), edge.gateway.postpone(client)
        else { return false }
        pausePublisher(client, .mesh(congestion, isShared: node.isShared(message.key)))
        return true
    }

    /// Something that a message has gone to is full. Returns whether its publisher waits: not for one that
    /// stands still, if others get the message too.
    @inline(never)
    mutating func heed(
        _ congestion: Congestion, of publication: Publication, by client: ClientIndex
    ) -> Bool {
        let cause = Pause.Cause.mesh(
            congestion, isShared: node.isShared(publication.message.key))
        guard isCongested(cause) else { return false }
        pausePublisher(client, cause)
        return true
    }

    /// The same for requests and replies of a client. One that stands still keeps nobody from those to others.
    mutating func heed(_ congestion: Congestion, by client: ClientIndex) -> Bool {
        let cause = Pause.Cause.mesh(congestion, isShared: true)
        guard isCongested(cause) else { return false }
        pausePublisher(client, cause)
        return true
    }

    private mutating func isCongested(_ cause: Pause.Cause) -> Bool {
        switch cause {
        case .mesh(let congestion, let isShared):
            node.isCongested(congestion, isShared: isShared)
        case .link(let link):
            pause.congestedLinks.contains(link) && !node.isSecondChoice(link)
        }
    }

    /// The first congested link that a message has just been sent over.
    @inline(never)
    func congestedLink(among effects: borrowing ServerEffects) -> LinkIndex? {
        for position in 0..<effects.mesh.count {
            if case .send(let link, _, _, let sendClass) = effects.mesh[position],
                sendClass != .control, pause.congestedLinks.contains(link),
                !node.isSecondChoice(link)
            {
                return link
            }
        }
        return nil
    }

    /// Whether a client's next command waits.
    @inline(__always)
    mutating func mustPause(_ client: ClientIndex) -> Bool {
        if node.isBehind {
            pause.ofBehind.append(
                Pause.Waiting(tag: edge.gateway.hub.senderTag(of: client), client))
            return true
        }
        return isThrottled(client)
    }

    /// Whether a client's next command waits for the next turn: what has been done in this one is enough.
    @inline(never)
    mutating func isTurnOver(_ client: ClientIndex) -> Bool {
        guard edge.gateway.hub.unitsLeft == 0 else { return false }
        pause.ofTurn.append(Pause.Waiting(tag: edge.gateway.hub.senderTag(of: client), client))
        hasSteps = true
        return true
    }

    /// Pauses a client that asks faster than it reads: its replies leave before it is listened to
    /// again. False: it does not.
    @inline(__always)
    mutating func isThrottled(_ client: ClientIndex) -> Bool {
        let waiting = edge.gateway.hub.outputCount(client)
        return waiting > options.clientOutputBytes && mustRead(client, waiting)
    }

    @inline(never)
    private mutating func mustRead(_ client: ClientIndex, _ waiting: Int) -> Bool {
        pause.noteOutput(waiting, of: client)
        guard isCrowded() || waiting > readingBound(client) else { return false }
        if !pause.throttled.contains(client) {
            counters[.clientsThrottled] &+= 1
            pause.throttled.append(client)
        }
        return true
    }

    /// Whether the clients' output together is so much that those with much of it are not listened to:
    /// replies that they asked for, or all of it, messages too, or an `n`th of that.
    private mutating func isCrowded(_ n: Int = 1) -> Bool {
        let (count, crowded) = edge.gateway.hub.outputBytes
        return pause.outputBytes > options.outputBytesMax / n || count > crowded / n
    }

    /// With less than this waiting, its class's limit does not end the client for what it asks.
    private mutating func readingBound(_ client: ClientIndex) -> Int {
        max(options.clientOutputBytes, edge.gateway.hub.outputBound(client) / 4 * 3)
    }

    /// A client that asked faster than it read has read something: half of what may wait has left, and it
    /// is listened to again.
    @inline(never)
    mutating func endThrottle(_ client: ClientIndex) {
        let waiting = edge.gateway.hub.outputCount(client)
        pause.noteOutput(waiting > options.clientOutputBytes ? waiting : 0, of: client)
        guard let place = pause.throttled.firstIndex(of: client) else { return }
        let bound = isCrowded(2) ? options.clientOutputBytes : readingBound(client)
        guard waiting < bound / 2 else { return }
        pause.throttled.remove(at: place)
        pause.resumable.append(client)
    }
}
