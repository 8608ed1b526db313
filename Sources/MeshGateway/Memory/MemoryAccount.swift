import MeshCore
import MeshWire

/// The memory that clients take, counted as it grows.
struct MemoryAccount {
    /// Output of all clients. Memory that their queues hold ready for more is not touched yet, or given back
    /// within two seconds.
    var output = 0
    /// Commands of which more is to come, with their arguments so far.
    var input = 0
    /// Messages of sessions without a connection, when they were counted last, and what has come since.
    /// Messages that have left since are not taken off.
    var sessions = 0
    var sessionsSince = 0
    /// Requests of this node's clients that have not ended, and those that wait for providers here.
    var requests = 0
    /// Rosters that are watched here, and what has not been told of this node's.
    var rosters = 0
}

/// The parts of a client's in `MemoryAccount`.
struct MemoryCharge {
    var output = 0
    var input = 0
}

extension Hub {
    // MARK: Output

    /// Output of all clients together, and what is so much of it that those with most are to read first.
    public var outputBytes: (count: Int, crowded: Int) {
        // Not a mere `get`: the caller would copy the whole gateway for it.
        mutating get { (memory.output, configuration.memory.crowdedOutput) }
    }

    /// To be called when a client's output has grown by much, or was offered to its socket and has not all
    /// left.
    @inline(never)
    mutating func countOutput(_ client: ClientIndex) {
        let slot = client.slot
        let bytes = clients[slot].output.count + clients[slot].held.count
        memory.output += bytes - clients[slot].charge.output
        clients[slot].charge.output = bytes
        if bytes > 0 {
            clients[slot].flags.insert(.counted)
        } else {
            clients[slot].flags.remove(.counted)
        }
        if memory.output > configuration.memory.output { relieveOutput() }
    }

    /// Ends the clients with most output until all of it together is less than its share by a sixteenth.
    @inline(never)
    private mutating func relieveOutput() {
        let goal = configuration.memory.output / 16 * 15
        while memory.output > goal {
            let victims = largest { clients[$0].charge.output }
            guard !victims.isEmpty else { return }
            for victim in victims where memory.output > goal { endForMemory(victim) }
        }
    }

    /// The client has more than others of what there is too little of.
    private mutating func endForMemory(_ client: ClientIndex) {
        let slot = client.slot
        counters[.clientsEndedForMemory] += 1
        cut(client, .unknown, isForMemory: true)
        // A session's output is kept for the moment until `close` has seen what was read of it.
        memory.output -= clients[slot].charge.output
        clients[slot].charge.output = 0
    }

    /// Clients with more than half as much as the one with most, those of lower index first: together they
    /// go in few rounds, however many there are.
    private func largest(_ size: (Int) -> Int) -> [ClientIndex] {
        var most = 0
        for slot in clients.slots where isCharged(slot) { most = max(most, size(slot)) }
        guard most > 0 else { return [] }
        return clients.slots.filter { isCharged($0) && size($0) > most / 2 }
            .map { ClientIndex($0) }
    }

    private func isCharged(_ slot: Int) -> Bool {
        clients[slot].flags.contains(.open) && !clients[slot].flags.contains(.doomed)
    }

    // MARK: Mailboxes

    /// To be called when a message was stored.
    @inline(__always)
    mutating func chargeMailboxes() {
        if stored.byteCount > configuration.memory.mailboxes { relieveMailboxes() }
    }

    /// To be called when a message of this size was put into the mailbox of a session without a connection.
    @inline(__always)
    mutating func chargeSessions(_ size: Int) {
        memory.sessionsSince += size + WaitingMessages.entryCost
        if memory.sessions + memory.sessionsSince > configuration.memory.sessions {
            relieveSessions()
        }
    }

    /// Ends the clients, and takes from the sessions, that have most in their mailboxes, until an eighth of
    /// the share is free.
    @inline(never)
    private mutating func relieveMailboxes() {
        let goal = configuration.memory.mailboxes / 8 * 7
        while stored.byteCount > goal {
            let before = stored.byteCount
            let clients = largest { self.clients[$0].mailbox.waiting.byteCount }
            let most = clients.map { self.clients[$0.slot].mailbox.waiting.byteCount }.max() ?? 0
            for client in clients where stored.byteCount > goal {
                if self.clients[client.slot].mailbox.policy == .disconnect {
                    endForMemory(client)
                } else {
                    shed(client)
                }
            }
            shedLargest(atLeast: most / 2) { $0.stored.byteCount <= goal }
            // Mail of clients with sessions is theirs until their connections are closed.
            if stored.byteCount >= before { return }
        }
    }

    /// Counts what waits for sessions without a connection, and takes from those with most.
    @inline(never)
    private mutating func relieveSessions() {
        countSessions()
        let share = configuration.memory.sessions
        // Near the bound it would soon be counted again.
        guard memory.sessions > share / 16 * 15 else { return }
        let goal = share / 8 * 7
        while memory.sessions > goal {
            let before = memory.sessions
            shedLargest(atLeast: 1) { $0.memory.sessions <= goal }
            countSessions()
            if memory.sessions >= before { return }
        }
    }

    private mutating func countSessions() {
        var sum = 0
        for slot in mailboxes.slots where !mailboxes[slot].session.isNone {
            sum += mailboxes[slot].messages.waiting.cost
        }
        memory.sessions = sum
        memory.sessionsSince = 0
    }

    /// Half of what waits for each session with more than half of the most, and with `least` bytes.
    private mutating func shedLargest(
        atLeast least: Int, until isEnough: (borrowing Hub) -> Bool
    ) {
        var most = 0
        for slot in mailboxes.slots where !mailboxes[slot].session.isNone {
            most = max(most, mailboxes[slot].messages.waiting.cost)
        }
        guard most > 0, most >= least else { return }
        for slot in mailboxes.slots
        where !mailboxes[slot].session.isNone
            && mailboxes[slot].messages.waiting.cost > most / 2
        {
            if isEnough(self) { return }
            shed(MailboxIndex(slot))
        }
    }

    /// The client's oldest messages go until half of the bytes are left; it is told if it wants to be.
    private mutating func shed(_ client: ClientIndex) {
        let slot = client.slot
        let cost = clients[slot].mailbox.waiting.cost
        while clients[slot].mailbox.waiting.cost > cost / 2 {
            let message = clients[slot].mailbox.waiting.takeFirst(stored)
            noteLoss(Mailbox.Loss(message: message, isOldest: true), client)
        }
        noteTrouble(.mailboxesShed, of: client)
    }

    /// The session's oldest messages go until half of the bytes are left; the session is told how many.
    private mutating func shed(_ box: MailboxIndex) {
        let cost = mailboxes[box].messages.waiting.cost
        while mailboxes[box].messages.waiting.cost > cost / 2 {
            loseOldest(of: box)
        }
        memory.sessions -= cost - mailboxes[box].messages.waiting.cost
        noteTrouble(.mailboxesShed, of: mailboxes[box].session)
    }

    // MARK: Input

    /// So many bytes of a client's commands wait for more.
    mutating func countInput(_ bytes: Int, of client: ClientIndex) {
        memory.input += bytes - clients[client.slot].charge.input
        clients[client.slot].charge.input = bytes
    }

    /// The client that has most of what waits, if all together have too much: what it has is given up, and
    /// counts no more. Those whose commands are carried out in part come last: what they have goes soon, if
    /// they read.
    mutating func relieveInput() -> ClientIndex? {
        guard memory.input > configuration.memory.input else { return nil }
        let idle = largest { clients[$0].flags.contains(.midway) ? 0 : clients[$0].charge.input }
        guard let victim = idle.first ?? largest({ clients[$0].charge.input }).first else {
            return nil
        }
        countInput(0, of: victim)
        return victim
    }

    /// A client has gone.
    mutating func refund(_ client: ClientIndex) {
        memory.output -= clients[client.slot].charge.output
        memory.input -= clients[client.slot].charge.input
        clients[client.slot].charge = MemoryCharge()
    }
}
