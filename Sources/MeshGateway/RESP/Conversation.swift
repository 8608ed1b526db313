import MeshWire

/// How far RESP has come with one client, besides what the hub knows of it.
///
///     serving ⇄ queueing (after MULTI) ─▶ executing (after EXEC) ─▶ serving
///         ⇄ scripting (EVAL: one publication after another), also while executing
///         ⇄ working (a command that goes on for several turns), also while executing
///         ⇄ skipping (the rest of a command that was given up)
struct Conversation: ~Copyable {
    enum Phase {
        /// Each command is carried out as it comes.
        case serving
        /// Between MULTI and EXEC.
        case queueing(Transaction)
        /// The commands of a transaction are carried out. They are at the front of the input.
        case executing
        /// A script runs. Its command is at the front of the input.
        case scripting(ScriptRun)
        /// A command goes on in the next turn.
        case working(LongCommand, isExecuting: Bool)
        /// The input is the rest of a command that is not wanted any more.
        case skipping(CommandSkip)
    }

    /// CLIENT REPLY.
    enum Replies {
        case on, off
        /// The next command gets no reply.
        case skipNext
    }

    /// The arguments of a long command of which more is to come, and where its reading goes on.
    struct Partial: ~Copyable {
        var progress = RESPProgress()
        var arguments = ArgumentList()
        /// The growth that the first ones would cause, as long as it has to be known before anything is done;
        /// nil: there is room.
        var growth: MeasuredGrowth?
        /// The reply to a command of very many names, as long as it is not complete.
        var gathered: GatheredArray?

        var isEmpty: Bool { progress.remaining == 0 }

        /// The memory that it takes beside the input, in bytes.
        var byteCount: Int {
            let elementBytes =
                switch gathered {
                case .some(let gathered): gathered.elements.count
                case nil: 0
                }
            return arguments.count * MemoryLayout<Slice>.stride + (growth?.byteCount ?? 0)
                + elementBytes
        }
    }

    var phase = Phase.serving
    var partial = Partial()
    var replies = Replies.on
    /// RESP2 with subscriptions of Redis's kinds: few commands are allowed.
    var isRestricted = false
    /// MONITOR: it reads the commands of all clients.
    var isMonitoring = false
    /// CLIENT NO-EVICT and NO-TOUCH, which mean nothing here but are shown.
    var isNeverEvicted = false
    var touchesNothing = false

    /// A PUBLISH takes the short way.
    var isPlain: Bool {
        guard case .serving = phase else { return false }
        return partial.isEmpty && replies == .on && !isRestricted
    }

    var isQueueing: Bool {
        if case .queueing = phase { true } else { false }
    }

    var isScripting: Bool {
        if case .scripting = phase { true } else { false }
    }

    /// The commands that are carried out are a transaction's, or a script's: messages wait until they have
    /// ended.
    var holdsMessages: Bool {
        switch phase {
        case .serving, .queueing, .skipping: false
        case .executing, .scripting: true
        case .working(_, let isExecuting): isExecuting
        }
    }

    /// A command is carried out in part. One whose names are still counted has done nothing, and can be
    /// passed over if it is no line.
    var isMidway: Bool {
        switch phase {
        case .working(.names(let names), _): partial.growth == nil || names.line != nil
        case .working: true
        default: false
        }
    }

    /// The transaction's part of the input that has been read already.
    var queuedBytes: Int {
        if case .queueing(let transaction) = phase { transaction.bytes } else { 0 }
    }
}

/// The commands between MULTI and EXEC. They stay in the driver's input until EXEC has come, so
/// that what they publish need not be copied.
struct Transaction {
    /// Bytes of input, from the first queued command on, that have been read and answered QUEUED.
    var bytes = 0
    var count = 0
    /// A command was refused: EXEC will be.
    var isAborted = false
}

extension Gateway {
    /// The client goes over to this.
    mutating func change(_ client: ClientIndex, _ phase: Conversation.Phase) {
        let slot = client.slot
        conversations[slot].phase = phase
        hub.clients[slot].flags.set(.holding, conversations[slot].holdsMessages)
        hub.clients[slot].flags.set(.midway, conversations[slot].isMidway)
        chooseWay(client)
    }

    /// Whether the client's next PUBLISH may take the short way. To be called when its conversation has
    /// changed.
    mutating func chooseWay(_ client: ClientIndex) {
        hub.clients[client.slot].flags.set(.busy, !conversations[client.slot].isPlain)
    }

    /// Takes the client's phase out, so that what it has gathered is not copied when it grows.
    mutating func takePhase(_ client: ClientIndex) -> Conversation.Phase {
        var phase = Conversation.Phase.serving
        swap(&phase, &conversations[client.slot].phase)
        return phase
    }
}
