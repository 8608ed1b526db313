import CLinux
import Glibc
import MeshCore
import MeshServer
import MeshWire

/// The settings that a reactor is given at birth.
public struct ReactorOptions: Sendable {
    public var server: ServerOptions
    public var limits = Limits()
    public var log = Log()
    public var clientAddress = ClientAddressSource.listener
    /// Finds the addresses that the seeds have now; nil: leave them as they are. It is called on a thread
    /// of its own and may block. Nil: they do not change.
    public var resolveSeeds: (@Sendable () -> [Endpoint]?)?
    /// Writes down where members are, at most `rememberedCountMax` addresses; on a thread of its own too.
    public var remember: (@Sendable ([Endpoint]) -> Void)?
    public var rememberedCountMax = 32
    /// Called on the reactor's thread each time that the node becomes ready; must not block.
    public var onReady: @Sendable () -> Void = {}

    public init(server: ServerOptions) {
        self.server = server
    }
}

/// Where other nodes send clients that are to come to this one.
public enum ClientAddressSource: Sendable {
    /// To the listener of clients, if they can reach it wherever other nodes reach this one.
    case listener
    /// There: `HOST:PORT`, 64 bytes at most.
    case told(String)
    /// Nowhere: clients of other nodes cannot reach this one, and that is as it should be.
    case hidden
}

/// Drives one `Server` over sockets, on one thread, which owns all of it. It knows descriptors and
/// time, and nothing of what the bytes mean.
///
///     wait → read → server → effects → queues ──────────────────┐
///       ▲                                                       │ all ready sockets
///       └───────────────── flush each dirty connection once ◀───┘
///
/// Nothing is sent while input is read: what all ready sockets led to leaves in one send per
/// connection. Effects are performed right after each event, before its bytes are reused. Links that
/// end while effects are performed (a dial that fails at once) wait in `deferred`, so that the
/// server is never entered twice.
///
/// It has some forty properties: the sockets, the buffers, and a list for each thing that connections
/// wait for. One thread owns all of them, and a turn of the loop goes through most.
@safe public struct Reactor: ~Copyable {
    /// Why `run` has returned.
    public enum Ending: Sendable, Equatable {
        /// The node has said goodbye, or its time to do so was up.
        case left
        /// `Inbox.stop`.
        case stopped
    }

    enum Phase: Equatable {
        case running
        /// The server has left; everything is being flushed and closed.
        case flushing(deadline: Instant)
        case ended(Ending)
    }

    /// A link that has ended while effects were performed. Valid while the link's epoch is the same:
    /// the node may have closed the slot since.
    struct EndedLink {
        var link: LinkIndex
        var epoch: UInt32
        var reason: Disconnection
    }

    struct ConnectionName {
        var index: ConnectionIndex
        var generation: UInt32
    }

    /// Leftovers up to this size are put before the next read, in the shared buffer; larger ones
    /// stay where they are and the read goes behind them, because copying them each time would
    /// make large frames quadratic.
    static let leftoverMax = 64 * 1024

    /// Clients that CONFIG SET can make room for, if there are descriptors: memory of places that nobody
    /// takes is not touched.
    static let clientCountBound = 65_536

    /// Memory for input that a connection without leftovers keeps.
    static let idleInputBytes = 4 * 1024

    let options: ReactorOptions
    var limits: Limits { options.limits }
    let listeners: Listeners
    let inbox: Inbox
    let host: HostFacts

    var server: Server
    var effects = ServerEffects()
    let poller: Poller
    var connections: Connections
    var now: Instant
    var phase = Phase.running
    var counters = DriverCounters()
    var log: Log
    var clientSettings: ClientSettings

    /// The connection of each link and client.
    var connectionOfLink: [ConnectionIndex]
    var connectionOfClient: [ConnectionIndex] = []
    /// The address that each link's peer connects from or was dialled at. A free slot keeps its last one.
    var endpointOfLink: [Endpoint]
    /// Raised whenever a link's slot changes hands.
    var linkEpochs: [UInt32]
    /// Links and HTTP connections to flush; clients the server names.
    var dirty: [ConnectionIndex] = []
    /// The server's list of clients to flush while it is worked through.
    var dirtyClients: [ClientIndex] = []
    var deferred: [EndedLink] = []
    /// Connections that have a deadline.
    var timed: [ConnectionName] = []
    var earliestTimed: Instant?
    var nextTrim: Instant
    /// Bytes written to queues since they were flushed; replies are not counted.
    var gatheredBytes = 0
    var wasReady = false
    /// A thread resolves the names of the seeds.
    var isResolving = false
    /// The names that are resolved again and again have been replaced.
    var hasNewSeeds = false
    /// A thread writes down where members are.
    var isRemembering = false
    /// The addresses that were written down last.
    var remembered: [Endpoint] = []
    /// From then on they may be written again.
    var nextMemory: Instant
    /// The server has left, and connections have not been told to end yet.
    var hasLeft = false
    /// Connections of the monitoring port, those that were accepted first at the front.
    var httpConnections: [ConnectionIndex] = []
    var lingeringCount = 0
    /// The descriptor that `accept` gives up when there is no other.
    var spareDescriptor: Int32
    /// From then on the log may say again that descriptors are used up.
    var nextDescriptorComplaint: Instant
    /// Connections closed for want of a descriptor since the log said so.
    var uncomplained = 0
    /// A connection whose descriptor's number is not below is closed at once: of Redis clients, of
    /// HTTP clients. Descriptors are numbered from the bottom, so numbers say how many are in use.
    let clientDescriptorMax: Int32
    let httpDescriptorMax: Int32
    /// The listeners rest until then.
    var acceptAgain: Instant?
    /// Connections for whose output the kernel had no memory.
    var starved: [ConnectionName] = []
    /// They are tried again then.
    var starvedAgain: Instant?
    /// Links with output that the kernel has not sent yet.
    var leaving: [ConnectionName] = []
    /// They are looked at again then.
    var leavingAgain: Instant?
    private let buffer: UnsafeMutableRawPointer

    /// Serves on the calling thread until the inbox asks for the end.
    ///
    /// The one way in from other modules: a reactor's size follows from `Server`, and
    /// the package manager does not build anew what keeps one when only those have changed.
    ///
    /// - Throws: `SystemError` when the kernel has no descriptors left or no longer answers;
    ///   nothing that a peer sends does it.
    public static func serve(
        _ options: ReactorOptions, listeners: Listeners, inbox: Inbox
    ) throws(SystemError) -> Ending {
        var reactor = try Reactor(options, listeners: listeners, inbox: inbox)
        return try reactor.run()
    }

    /// - Throws: `SystemError` when the kernel has no descriptors left.
    init(
        _ options: ReactorOptions, listeners: Listeners, inbox: Inbox
    ) throws(SystemError) {
        let poller = try Poller()
        var registered = poller.add(inbox.event, .input, .inbox)
        for (number, listener) in listeners.all.enumerated() where registered {
            registered = poller.add(listener.descriptor, .input, .listener(number))
        }
        if !registered { throw SystemError("watch the listeners", code: ENOSPC) }
        self.init(options, listeners, inbox, poller)
    }

    private init(
        _ options: ReactorOptions, _ listeners: Listeners, _ inbox: Inbox,
        _ poller: consuming Poller
    ) {
        let configuration = options.server.node
        precondition(configuration.degree >= 4 && configuration.degree <= 64)
        let limits = options.limits
        self.options = options
        self.listeners = listeners
        self.inbox = inbox
        self.poller = poller
        let started = Clock.now
        now = started
        nextTrim = started + .seconds(1)
        nextMemory = started + .seconds(1)
        nextDescriptorComplaint = started
        var random = SystemRandomNumberGenerator()
        host = HostFacts(random: (random.next(), random.next(), random.next()))
        let hasher = KeyHasher(cluster: configuration.cluster)
        let node = Node(
            id: NodeID(random.next()),
            incarnation: Incarnation(bootMilliseconds: Clock.wallMilliseconds),
            seed: random.next(), configuration: configuration, hasher: hasher, at: started)
        var server = options.server
        if listeners.redisEndpoint != nil || listeners.redisPath != nil {
            server.gateway.clientAddress = Reactor.clientAddress(options, listeners.redisEndpoint)
            server.gateway.sharesMachine = configuration.endpoint.isLoopback
        }
        if let redis = listeners.redisEndpoint { server.gateway.localAddress = redis.description }
        let descriptors =
            limits.descriptorCount ?? Int(clamping: linux_raise_descriptor_limit())
        // All link slots, the files of the driver itself, and some for whoever else lives in this
        // process; half of them at the most, where they are few.
        let forLinks = min(configuration.linkSlotCount + 16, descriptors / 2)
        httpDescriptorMax = Int32(clamping: descriptors - forLinks)
        clientDescriptorMax = Int32(clamping: descriptors - forLinks - min(16, descriptors / 8))
        server.gateway.clientCountBound = max(
            server.gateway.clientCountMax, min(Int(clientDescriptorMax), Reactor.clientCountBound))
        server.gateway.keepAliveSeconds = Int(limits.clientKeepAliveSeconds)
        server.gateway.logLevel = RedisLogLevel(options.log.level)
        log = options.log
        log.source = configuration.name
        clientSettings = ClientSettings(
            keepAliveSeconds: server.gateway.keepAliveSeconds,
            logLevel: server.gateway.logLevel)
        self.server = Server(
            server, node: node, hasher: hasher, secret: (random.next(), random.next()),
            at: started)
        connections = Connections(
            capacity: server.gateway.clientCountBound + configuration.linkSlotCount
                + limits.httpConnectionCount + limits.lingeringCount)
        connectionOfLink = Array(repeating: .none, count: configuration.linkSlotCount)
        endpointOfLink = Array(
            repeating: Endpoint(ipv4: 0, port: 0), count: configuration.linkSlotCount)
        linkEpochs = Array(repeating: 0, count: configuration.linkSlotCount)
        spareDescriptor = linux_open_spare()
        unsafe buffer = .allocate(
            byteCount: Reactor.leftoverMax + limits.readBytes, alignment: 64)
    }

    /// Where others send the clients of the listener; nil: others cannot reach it. One on all addresses
    /// is reached at the one that the node tells other nodes. A Unix socket alone is no address.
    private static func clientAddress(_ options: ReactorOptions, _ listener: Endpoint?) -> String? {
        switch options.clientAddress {
        case .told(let address): return address
        case .hidden: return nil
        case .listener:
            guard let listener else { return nil }
            let node = options.server.node.endpoint
            var endpoint = listener.isUnspecified ? node : listener
            endpoint.port = listener.port
            return endpoint.isLoopback && !node.isLoopback ? nil : endpoint.description
        }
    }

    deinit {
        for slot in 0..<connections.used {
            let index = ConnectionIndex(slot)
            if !connections[index].isFree { connections[index].stream.close() }
        }
        if spareDescriptor >= 0 { close(spareDescriptor) }
        unsafe buffer.deallocate()
    }

    private mutating func run() throws(SystemError) -> Ending {
        server.setWallClock(milliseconds: Int64(Clock.wallMilliseconds), at: now)
        logStart()
        while true {
            let ready = try poller.wait(nanoseconds: waitingTime())
            now = Clock.now
            counters[.wakeUps] &+= 1
            wake()
            // Links come before clients: after a pause of this process, messages of clients would else
            // miss those who have subscribed elsewhere meanwhile.
            dispatch(ready, ofClients: false)
            dispatch(ready, ofClients: true)
            if !deferred.isEmpty { handleDeferred() }
            runDeadlines()
            flushAll()
            resumeClients()
            noteReadiness()
            if case .ended(let ending) = phase {
                listeners.close()
                return ending
            }
        }
    }

    private mutating func dispatch(_ ready: Int, ofClients: Bool) {
        var index = 0
        while index < ready {
            if isClient(poller[index].token) == ofClients {
                dispatch(poller[index])
                if Clock.now - now >= limits.turnTime { pauseForBreath() }
            }
            index += 1
        }
    }

    private func isClient(_ token: Token) -> Bool {
        let slot = token.index.slot
        return slot >= 0 && slot < connections.used && connections[token.index].role == .client
    }

    /// In the middle of a long wake-up: what is due is done, what waits is sent.
    @inline(never)
    private mutating func pauseForBreath() {
        now = Clock.now
        if !deferred.isEmpty { handleDeferred() }
        runDeadlines()
        flushAll(isMidTurn: true)
    }

    /// Nanoseconds until something is due; negative when nothing ever is.
    mutating func waitingTime() -> Int64 {
        if !deferred.isEmpty || server.mayResume() { return 0 }
        var earliest = server.nextDeadline()
        func consider(_ instant: Instant?) {
            if let instant { earliest = min(earliest ?? instant, instant) }
        }
        consider(earliestTimed)
        consider(acceptAgain)
        consider(starvedAgain)
        consider(leavingAgain)
        if case .flushing(let deadline) = phase { consider(deadline) }
        guard let earliest else { return -1 }
        return max(0, earliest.nanoseconds - Clock.now.nanoseconds)
    }

    private mutating func dispatch(_ readiness: Readiness) {
        let index = readiness.token.index
        guard index.slot >= 0 else {
            if let number = readiness.token.listener {
                accept(from: listeners.all[number])
            } else {
                takeRequests()
            }
            return
        }
        guard index.slot < connections.used, isCurrent(readiness.token) else { return }
        if connections[index].isOpening {
            goOnOpening(index)
            return
        }
        if readiness.isWritable {
            flush(index)
            guard isCurrent(readiness.token) else { return }
        }
        if readiness.isReadable || readiness.hasFailed || readiness.hasHungUp {
            receive(index, readiness)
        }
    }

    @inline(__always)
    func isCurrent(_ token: Token) -> Bool {
        connections[token.index].generation == token.generation
    }

    // MARK: Input

    /// Reads what waits on a socket, in turns, and hands it on.
    private mutating func receive(_ index: ConnectionIndex, _ readiness: Readiness) {
        let role = connections[index].role
        guard connections[index].takesInput else {
            // Level-triggered readiness would come back at once: stop asking for it.
            if connections[index].stream.isOver(readiness) {
                connections[index].peer = .gone
                connectionEnded(index)
            } else {
                watch(index, reads: false)
            }
            return
        }
        let token = readiness.token
        let stream = connections[index].stream
        var turn = 0
        while turn < limits.readsPerTurn {
            turn += 1
            let leftover = connections[index].input.count
            let isLarge = leftover > Reactor.leftoverMax
            let received: Stream.Received
            if isLarge {
                received = unsafe stream.read(
                    into: connections[index].input.reserve(limits.readBytes), limits.readBytes)
                connections[index].input.truncate(to: leftover + received.count)
            } else {
                unsafe connections[index].input.withBytes { waiting in
                    if waiting.count > 0 {
                        unsafe buffer.copyMemory(
                            from: waiting.baseAddress!, byteCount: waiting.count)
                    }
                }
                received = unsafe stream.read(into: buffer + leftover, limits.readBytes)
            }
            counters[.receives] &+= 1
            guard case .bytes(let count) = received else {
                if received == .nothing { return }
                connections[index].peer = received == .end ? .ended : .gone
                // The client of a shell pipe closes right after its commands: it gets its replies.
                flushAll()
                // That may have closed it, and begun to wait for a reset.
                if isCurrent(token), role == .none || connections[index].lingering?.doubt == nil {
                    connectionEnded(index)
                }
                return
            }
            counters[.receivedBytes] &+= UInt64(count)
            if leftover + count >= connections[index].needed {
                if isLarge {
                    consumeStored(index)
                } else {
                    let total = leftover + count
                    let input = unsafe UnsafeRawBufferPointer(start: buffer, count: total)
                    let bytes = unsafe input.bindMemory(to: UInt8.self)
                    let used = unsafe consume(index, bytes.span)
                    guard isCurrent(token), connections[index].role == role else { return }
                    connections[index].input.drop(
                        leftover, retaining: Reactor.idleInputBytes)
                    unsafe connections[index].input.append(bytes.span, used, total - used)
                }
            } else {
                if !isLarge {
                    let input = unsafe UnsafeRawBufferPointer(
                        start: buffer + leftover, count: count)
                    unsafe connections[index].input.append(
                        input.bindMemory(to: UInt8.self).span, 0, count)
                }
                // A large frame is on its way for long on a slow line: its peer is not silent.
                if role == .link { handle(.heard(connections[index].link)) }
            }
            guard isCurrent(token), connections[index].role == role else { return }
            if role == .client { noteInput(index) }
            guard isCurrent(token), connections[index].role == role,
                connections[index].takesInput
            else { return }
            if count < limits.readBytes || Clock.now - now >= limits.turnTime { return }
        }
    }

    /// Decodes from the connection's own bytes: a large frame, or input that had to wait.
    mutating func consumeStored(_ index: ConnectionIndex) {
        let token = token(of: index)
        let role = connections[index].role
        // Taken out, because what is decoded may close this very connection.
        var stored = ByteQueue()
        swap(&stored, &connections[index].input)
        let used = stored.withSpan { consume(index, $0) }
        guard isCurrent(token), connections[index].role == role else { return }
        let rest = stored.count - used
        if rest <= Reactor.leftoverMax && stored.byteCapacity > 4 * Reactor.leftoverMax {
            stored.withSpan { connections[index].input.append($0, used, rest) }
        } else {
            stored.drop(used)
            swap(&stored, &connections[index].input)
        }
    }

    /// Hands bytes to the protocol of the connection; returns how many were used up.
    @inline(__always)
    private mutating func consume(_ index: ConnectionIndex, _ bytes: Span<UInt8>) -> Int {
        switch connections[index].role {
        case .link: consumeLink(index, bytes)
        case .client: consumeClient(index, bytes)
        case .http: consumeHTTP(index, bytes)
        case .none: bytes.count
        }
    }

    /// The peer has closed or reset the connection, or the kernel has given it up.
    mutating func connectionEnded(_ index: ConnectionIndex) {
        switch connections[index].role {
        case .link: dropLink(index, .closed)
        case .client: closeClient(index, lingers: false)
        case .http: discard(index)
        case .none: if !connections[index].isFree { discard(index) }
        }
    }

    // MARK: Time

    private mutating func runDeadlines() {
        if let due = server.nextDeadline(), due <= now { handle(.deadline) }
        if let due = earliestTimed, due <= now { endTimed() }
        if let due = starvedAgain, due <= now { flushStarved() }
        if let due = leavingAgain, due <= now { lookAtLeaving() }
        if let due = acceptAgain, due <= now { resumeListeners() }
        if nextTrim <= now {
            nextTrim = now + .seconds(1)
            server.setWallClock(milliseconds: Int64(Clock.wallMilliseconds), at: now)
            for index in connectionOfLink where !index.isNone { connections[index].output.trim() }
            rememberMembers()
        }
        advancePhase()
    }

    private mutating func noteReadiness() {
        let isReady = server.isReady
        if isReady == wasReady { return }
        wasReady = isReady
        if isReady { options.onReady() }
    }

    private mutating func logStart() {
        let configuration = server.node.configuration
        var fields: [LogLine.Field] = [
            ("version", .text(server.options.version)),
            ("id", .text(server.node.id.description)), ("name", .text(configuration.name)),
            ("cluster", .text(configuration.cluster)),
            ("mesh", .text(listeners.meshEndpoint.description)),
            ("advertised", .text(configuration.endpoint.description)),
        ]
        if let redis = listeners.redisEndpoint {
            fields.append(("redis", .text(redis.description)))
        }
        if let path = listeners.redisPath { fields.append(("redisSocket", .text(path))) }
        if let http = listeners.httpEndpoint { fields.append(("http", .text(http.description))) }
        fields.append(("seeds", .integer(configuration.seeds.count)))
        log.write(.info, "started", fields)
        if case .listener = options.clientAddress, let redis = listeners.redisEndpoint,
            server.options.gateway.clientAddress == nil
        {
            log.write(
                .warning, "clientsUnreachable",
                [
                    ("redis", .text(redis.description)),
                    (
                        "hint",
                        .text(
                            "other nodes cannot send clients to this one; say where they reach it with "
                                + "--advertise-redis HOST:PORT, or that they do not: off")
                    ),
                ])
        }
    }
}
