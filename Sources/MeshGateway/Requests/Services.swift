import MeshCore
import MeshWire

/// A request, or one of those who were all asked by it, at the node of the providers.
struct TakenID: Hashable, Comparable {
    let request: RequestID
    /// Among the connections here that a request to all has gone to; else 0.
    var place: UInt16 = 0

    static func < (one: TakenID, other: TakenID) -> Bool {
        one.request == other.request ? one.place < other.place : one.request < other.request
    }
}

/// A request that this node has taken for one of its connections.
struct TakenRequest {
    let target: RequestTarget
    /// Empty once it is given.
    var payload: [UInt8]
    let expiresAt: Instant
    let flags: RequestHeader.Flags
    /// Of its key, if it has one.
    var hash: UInt64 = 0
    /// The one that it waits for, or that has it; none: it waits for any provider.
    var provider = ClientIndex.none
    /// The provider's connection.
    var providerID: Int64 = 0
    var givenAt: Instant?
    /// The asker is still there for it.
    var isAwaited = true
    /// The parts of the answer that have gone.
    var partCount: UInt32 = 0
    /// Its turn among those that wait.
    fileprivate(set) var arrival: UInt64 = 0

    /// The memory that it takes while it waits, in bytes.
    var cost: Int { payload.count + 200 }

    init(
        _ target: RequestTarget, payload: [UInt8], expiresAt: Instant, _ header: RequestHeader
    ) {
        self.target = target
        self.payload = payload
        self.expiresAt = expiresAt
        flags = header.flags
        hash = header.hash
    }
}

/// The services of this node's clients, and the requests for them, for users and for rooms here.
///
///     taken ─▶ waits ─▶ given to one connection ─▶ answered, rejected, failed, or the connection goes
///
/// A request that nobody awaits any more still counts for its provider until the provider has answered it:
/// what it works at is what its concurrency bounds. One for a user or a room is forgotten then.
struct Services {
    struct Service {
        fileprivate(set) var providers = Providers()
        /// Requests that wait for any provider.
        fileprivate var waiting = FIFO<TakenID>()
        /// Those that wait, for any provider or for one.
        fileprivate(set) var waitingCount = 0
        fileprivate var waitingBytes = 0
        /// The mesh knows that it is served here.
        var isOffered = false
        var record = ServiceRecord()
    }

    private var services: [[UInt8]: Service] = [:]
    private var taken: [TakenID: TakenRequest] = [:]
    /// Those that connections have; the place of each.
    private var ofProviders: [Int: [RequestID: UInt16]] = [:]
    /// How many of them are for users and rooms.
    private var personal: [Int: Int] = [:]
    private var ofAskers: [NodeID: Set<TakenID>] = [:]
    /// Services that the mesh knows of, by their keys, which several may share.
    private var offeredNames: [Key: Int] = [:]
    private var lastArrival: UInt64 = 0
    /// The node leaves: nothing new is taken.
    private(set) var isDraining = false

    /// Requests that wait for one service, and their bytes.
    static let waitingMax = 1_024
    static let waitingBytesMax = 8 * 1024 * 1024
    /// Requests for users and rooms that a connection has at once.
    static let personalMax = 1_024
    /// The connections of one node that a request to all goes to.
    static let askedMax = 1_000

    /// Services with a provider here.
    var count: Int { services.count }
    /// Requests taken and not ended.
    var takenCount: Int { taken.count }

    /// In order.
    var names: [[UInt8]] {
        services.keys.sorted { lexicographicOrder($0.span, $1.span) < 0 }
    }

    /// Requests for it are taken.
    func isServed(_ service: [UInt8]) -> Bool {
        !isDraining && (services[service]?.providers.activeCount ?? 0) > 0
    }

    subscript(service name: [UInt8]) -> Service? { services[name] }

    subscript(id: TakenID) -> TakenRequest? { taken[id] }

    /// The place of a request among those that a connection has; nil: it does not have it.
    func given(_ id: RequestID, to client: ClientIndex) -> TakenID? {
        ofProviders[client.slot]?[id].map { TakenID(request: id, place: $0) }
    }

    /// Those that a connection has, in order.
    func given(to client: ClientIndex) -> [TakenID] {
        (ofProviders[client.slot] ?? [:]).map { TakenID(request: $0.key, place: $0.value) }.sorted()
    }

    func hasGiven(to client: ClientIndex) -> Bool { ofProviders[client.slot] != nil }

    /// How many it has for users and rooms.
    func personalCount(_ client: ClientIndex) -> Int { personal[client.slot] ?? 0 }

    /// Those of the clients of a node, in order.
    func ids(of asker: NodeID) -> [TakenID] { (ofAskers[asker] ?? []).sorted() }

    /// The fields of a reply that tell of a service.
    func header(
        _ number: UInt32, _ status: ReplyStatus, _ name: [UInt8], place: UInt32
    ) -> ReplyHeader {
        let service = services[name]
        return ReplyHeader(
            number: number, status: status, waiting: UInt16(clamping: service?.waitingCount ?? 0),
            providers: UInt16(clamping: service?.providers.activeCount ?? 0),
            given: UInt16(clamping: service?.providers.givenCount ?? 0), place: place)
    }

    // MARK: Providers

    /// The client serves from now on, or with another concurrency.
    mutating func serve(
        _ name: [UInt8], _ concurrency: Int, _ client: ClientIndex, id: Int64
    ) {
        if let place = services[name]?.providers.place(of: client) {
            services[name]?.providers.setConcurrency(concurrency, place)
            return
        }
        // It may have served before, and not have answered everything.
        let given = given(to: client).count { isOf(name, $0) }
        services[name, default: Service()].providers.insert(
            Provider(client: client, clientID: id, concurrency: concurrency, given: given))
    }

    private func isOf(_ service: [UInt8], _ id: TakenID) -> Bool {
        guard let target = taken[id]?.target else { return false }
        return target.kind == .service && target.name == service
    }

    /// The client serves no longer. What it has been given it may still answer. What waits for it alone is to
    /// be taken before (`takeWaiting`), and when nobody serves any more, what waits at all.
    mutating func endServing(_ name: [UInt8], _ client: ClientIndex) {
        guard let place = services[name]?.providers.place(of: client) else { return }
        _ = services[name]?.providers.remove(place)
    }

    /// Forgets a service that has no providers any more.
    mutating func tidy(_ name: [UInt8]) {
        if services[name]?.providers.count == 0 { services[name] = nil }
    }

    mutating func drain() { isDraining = true }

    /// Notes whether the mesh is to know of a service.
    ///
    /// - Returns: the directory's change; nil: there is none.
    mutating func offer(_ name: [UInt8], _ key: Key, _ isOffered: Bool) -> DirectoryChange? {
        guard services[name] != nil, services[name]?.isOffered != isOffered else { return nil }
        services[name]?.isOffered = isOffered
        let count = offeredNames[key, default: 0] + (isOffered ? 1 : -1)
        offeredNames[key] = count > 0 ? count : nil
        // A node that knows that this name was not here is told anew.
        if isOffered { return .add }
        return count == 0 ? .remove : nil
    }

    /// Takes out what waits for a service: for this provider alone, or, if nobody serves, all.
    mutating func takeWaiting(_ name: [UInt8], of client: ClientIndex) -> [TakenID] {
        guard let place = services[name]?.providers.place(of: client) else { return [] }
        var ids = services[name]?.providers.takeWaiting(place) ?? []
        let others = (services[name]?.providers.activeCount ?? 0)
        let isActive = (services[name]?.providers[place]?.concurrency ?? 0) > 0
        if others == (isActive ? 1 : 0) {
            ids += services[name]?.waiting.waiting ?? []
            services[name]?.waiting = FIFO()
        }
        for id in ids { countOut(id) }
        return ids
    }

    /// The place of the provider that has most room; nil: none has any.
    func freest(_ name: [UInt8]) -> Int? { services[name]?.providers.freest }

    /// A provider gets nothing before it has answered something: it has too much to read, or ends.
    mutating func fallBehind(_ name: [UInt8], _ place: Int) {
        services[name]?.providers.fallBehind(place)
    }

    // MARK: Requests

    /// Whether one more request of this cost may wait.
    func mayWait(_ name: [UInt8], _ cost: Int) -> Bool {
        guard let service = services[name] else { return false }
        return service.waitingCount < Self.waitingMax
            && (service.waitingCount == 0 || service.waitingBytes + cost <= Self.waitingBytesMax)
    }

    func hasWaiting(_ name: [UInt8]) -> Bool { services[name]?.waiting.isEmpty == false }

    /// It waits for any provider, or for the one at a place.
    mutating func wait(_ id: TakenID, _ request: TakenRequest, for place: Int?) {
        let name = request.target.name
        lastArrival += 1
        var request = request
        request.arrival = lastArrival
        if let place, let provider = services[name]?.providers[place] {
            request.provider = provider.client
            request.providerID = provider.clientID
            services[name]?.providers.wait(id, for: place)
        } else {
            request.provider = .none
            services[name]?.waiting.append(id)
        }
        taken[id] = request
        ofAskers[id.request.asker, default: []].insert(id)
        services[name]?.waitingCount += 1
        services[name]?.waitingBytes += request.cost
    }

    /// The one that comes next to a provider: of those that wait for it alone, and for any.
    func next(_ name: [UInt8], for place: Int) -> TakenID? {
        guard let service = services[name] else { return nil }
        let (one, other) = (service.providers[place]?.waiting.first, service.waiting.first)
        guard let one, let other else { return one ?? other }
        return taken[one]?.arrival ?? 0 < taken[other]?.arrival ?? 0 ? one : other
    }

    /// That one waits no longer.
    mutating func takeNext(_ name: [UInt8], for place: Int) {
        guard let id = next(name, for: place) else { return }
        if services[name]?.providers[place]?.waiting.first == id {
            services[name]?.providers.popWaiting(place)
        } else {
            _ = services[name]?.waiting.popFirst()
        }
        countOut(id)
        forget(id)
    }

    /// Gives a request to a provider, by its place among those of the service.
    ///
    /// - Returns: the provider; nil: there is none.
    mutating func give(
        _ id: TakenID, _ request: TakenRequest, _ place: Int, at now: Instant
    ) -> ClientIndex? {
        guard let provider = services[request.target.name]?.providers[place] else { return nil }
        services[request.target.name]?.providers.gave(place)
        give(id, request, to: provider.client, provider.clientID, at: now)
        return provider.client
    }

    /// Gives a request to a connection.
    mutating func give(
        _ id: TakenID, _ request: TakenRequest, to client: ClientIndex, _ clientID: Int64,
        at now: Instant
    ) {
        var given = request
        given.payload = []
        given.provider = client
        given.providerID = clientID
        given.givenAt = now
        taken[id] = given
        ofAskers[id.request.asker, default: []].insert(id)
        ofProviders[client.slot, default: [:]][id.request] = id.place
        if request.target.kind != .service { personal[client.slot, default: 0] += 1 }
    }

    /// A part of the answer goes.
    mutating func notePart(of id: TakenID) { taken[id]?.partCount += 1 }

    /// A request has ended here.
    mutating func end(_ id: TakenID) {
        guard let request = taken[id] else { return }
        let name = request.target.name
        guard request.givenAt != nil else {
            if let place = services[name]?.providers.place(of: request.provider) {
                services[name]?.providers.removeWaiting(id, place)
            } else {
                services[name]?.waiting.removeAll { $0 == id }
            }
            countOut(id)
            forget(id)
            return
        }
        forget(id)
        let slot = request.provider.slot
        ofProviders[slot]?[id.request] = nil
        if ofProviders[slot]?.isEmpty == true { ofProviders[slot] = nil }
        guard request.target.kind == .service else {
            let left = (personal[slot] ?? 0) - 1
            personal[slot] = left > 0 ? left : nil
            return
        }
        if let place = services[name]?.providers.place(of: request.provider) {
            services[name]?.providers.ended(place)
        }
    }

    /// Notes how a provider has done with a request.
    mutating func record(_ id: TakenID, _ status: ReplyStatus, at now: Instant) {
        guard let request = taken[id], request.target.kind == .service, let since = request.givenAt
        else { return }
        services[request.target.name]?.record.note(status, took: now - since)
    }

    /// Nobody awaits a request that is given: its provider's answer goes nowhere.
    mutating func disown(_ id: TakenID) {
        taken[id]?.isAwaited = false
        leaveAsker(id)
    }

    /// It does not wait any more; it stays taken until it is forgotten.
    private mutating func countOut(_ id: TakenID) {
        guard let request = taken[id] else { return }
        services[request.target.name]?.waitingCount -= 1
        services[request.target.name]?.waitingBytes -= request.cost
    }

    /// Forgets a request that waits nowhere and that nobody has.
    mutating func forget(_ id: TakenID) {
        taken[id] = nil
        leaveAsker(id)
    }

    private mutating func leaveAsker(_ id: TakenID) {
        ofAskers[id.request.asker]?.remove(id)
        if ofAskers[id.request.asker]?.isEmpty == true { ofAskers[id.request.asker] = nil }
    }
}

/// How the providers of a service at one node have done, since the first of them has come.
struct ServiceRecord {
    /// Requests that were answered, and those that were failed.
    private(set) var served: UInt64 = 0
    private(set) var failed: UInt64 = 0
    private var nanoseconds: UInt64 = 0

    /// From a provider's getting a request to its answer.
    var meanMicroseconds: UInt64 {
        let count = served + failed
        return count == 0 ? 0 : nanoseconds / count / 1_000
    }

    mutating func note(_ status: ReplyStatus, took: Delay) {
        switch status {
        case .answer: served += 1
        case .failed: failed += 1
        default: return
        }
        nanoseconds += UInt64(clamping: took.nanoseconds)
    }
}
