import MeshCore
import MeshWire

/// A connection that serves a service.
struct Provider {
    let client: ClientIndex
    /// The connection; the client's index may be used again by another.
    let clientID: Int64
    /// The most requests that it has at once.
    var concurrency: Int
    /// Those that it has; more than `concurrency` if that was lowered.
    var given: Int

    var free: Int { concurrency - given }

    static let concurrencyMax = 1_024
    static let concurrencyUsual = 16
    /// Services of one connection.
    static let servicesMax = 1_024
}

/// A request that this node has taken for one of its services.
struct TakenRequest {
    let service: [UInt8]
    /// Empty once it is given.
    var payload: [UInt8]
    let expiresAt: Instant
    /// None: it waits.
    var provider = ClientIndex.none
    /// The provider's connection.
    var providerID: Int64 = 0
    /// The asker is still there for it.
    var isAwaited = true

    /// The memory that it takes while it waits, in bytes.
    var cost: Int { payload.count + 200 }
}

/// The services of this node's clients, and the requests for them.
///
///     taken ─▶ waits ─▶ given to one provider ─▶ answered, rejected, failed, or the provider goes
///
/// A request that nobody awaits any more still counts for its provider until the provider has answered it:
/// what it works at is what its concurrency bounds.
struct Services {
    private struct Service {
        var providers: [Provider] = []
        var waiting = FIFO<RequestID>()
        var waitingBytes = 0
        var givenCount = 0
        /// Where the search for a free provider begins.
        var turn = 0
    }

    private var services: [[UInt8]: Service] = [:]
    private var taken: [RequestID: TakenRequest] = [:]
    private var ofProviders: [Int: Set<RequestID>] = [:]
    private var ofAskers: [NodeID: Set<RequestID>] = [:]

    /// Requests that wait for one service, and their bytes.
    static let waitingMax = 1_024
    static let waitingBytesMax = 8 * 1024 * 1024

    /// Services with a provider here.
    var count: Int { services.count }
    /// Requests taken and not ended.
    var takenCount: Int { taken.count }

    func has(_ service: [UInt8]) -> Bool { services[service] != nil }

    func hasWaiting(_ service: [UInt8]) -> Bool { services[service]?.waiting.isEmpty == false }

    subscript(id: RequestID) -> TakenRequest? { taken[id] }

    /// Those that a connection has, in order.
    func given(to client: ClientIndex) -> [RequestID] {
        (ofProviders[client.slot] ?? []).sorted()
    }

    /// Those of the clients of a node, in order.
    func ids(of asker: NodeID) -> [RequestID] { (ofAskers[asker] ?? []).sorted() }

    /// The fields of a reply that tell of a service.
    func header(_ number: UInt32, _ status: ReplyStatus, _ name: [UInt8]) -> ReplyHeader {
        let service = services[name]
        return ReplyHeader(
            number: number, status: status,
            waiting: UInt16(clamping: service?.waiting.count ?? 0),
            providers: UInt16(clamping: service?.providers.count ?? 0),
            given: UInt16(clamping: service?.givenCount ?? 0))
    }

    // MARK: Providers

    /// The client serves from now on, or with another concurrency.
    mutating func serve(
        _ name: [UInt8], _ concurrency: Int, _ client: ClientIndex, id: Int64
    ) {
        let place = services[name]?.providers.firstIndex { $0.client == client }
        if let place {
            services[name]?.providers[place].concurrency = concurrency
            return
        }
        // It may have served before, and not have answered everything.
        let given = given(to: client).count { taken[$0]?.service == name }
        services[name, default: Service()].providers.append(
            Provider(client: client, clientID: id, concurrency: concurrency, given: given))
        services[name]?.givenCount += given
    }

    /// The client serves no longer. What it has been given it may still answer.
    ///
    /// - Returns: requests that wait for a service which has no provider any more.
    mutating func endServing(_ name: [UInt8], _ client: ClientIndex) -> [RequestID] {
        guard let place = services[name]?.providers.firstIndex(where: { $0.client == client })
        else { return [] }
        if let gone = services[name]?.providers.remove(at: place) {
            services[name]?.givenCount -= gone.given
        }
        services[name]?.turn = 0
        guard services[name]?.providers.isEmpty == true else { return [] }
        return services.removeValue(forKey: name)?.waiting.waiting ?? []
    }

    /// The provider of a service that has most room, in turn among equals; nil: all have what they may.
    ///
    /// - Parameter isAvailable: whether a provider can be given something at all.
    func freest(_ name: [UInt8], _ isAvailable: (Provider) -> Bool) -> Int? {
        guard let service = services[name] else { return nil }
        var best: Int?
        for step in 0..<service.providers.count {
            let place = (service.turn + step) % service.providers.count
            let provider = service.providers[place]
            guard provider.free > 0, isAvailable(provider) else { continue }
            if best.map({ service.providers[$0].free < provider.free }) ?? true { best = place }
        }
        return best
    }

    // MARK: Requests

    /// Whether one more request of this cost may wait.
    func mayWait(_ name: [UInt8], _ cost: Int) -> Bool {
        guard let service = services[name] else { return false }
        return service.waiting.count < Self.waitingMax
            && (service.waiting.isEmpty || service.waitingBytes + cost <= Self.waitingBytesMax)
    }

    /// It waits for a provider.
    mutating func wait(_ id: RequestID, _ request: TakenRequest) {
        taken[id] = request
        ofAskers[id.asker, default: []].insert(id)
        services[request.service]?.waiting.append(id)
        services[request.service]?.waitingBytes += request.cost
    }

    /// The first that waits for a service.
    func firstWaiting(_ name: [UInt8]) -> (id: RequestID, request: TakenRequest)? {
        guard let id = services[name]?.waiting.first, let request = taken[id] else { return nil }
        return (id, request)
    }

    /// That one waits no longer.
    mutating func takeWaiting(_ name: [UInt8]) {
        guard let id = services[name]?.waiting.popFirst(), let request = taken[id] else { return }
        services[name]?.waitingBytes -= request.cost
        forget(id)
    }

    /// Gives a request to a provider, by its place among those of the service.
    ///
    /// - Returns: the provider; nil: there is none.
    mutating func give(_ id: RequestID, _ request: TakenRequest, _ place: Int) -> ClientIndex? {
        guard let provider = services[request.service]?.providers[place] else { return nil }
        let client = provider.client
        services[request.service]?.providers[place].given += 1
        services[request.service]?.givenCount += 1
        services[request.service]?.turn = place + 1
        var given = request
        given.payload = []
        given.provider = client
        given.providerID = provider.clientID
        taken[id] = given
        ofAskers[id.asker, default: []].insert(id)
        ofProviders[client.slot, default: []].insert(id)
        return client
    }

    /// A request has ended here.
    mutating func end(_ id: RequestID) {
        guard let request = taken[id] else { return }
        forget(id)
        let name = request.service
        guard !request.provider.isNone else {
            services[name]?.waiting.removeAll { $0 == id }
            services[name]?.waitingBytes -= request.cost
            return
        }
        let slot = request.provider.slot
        ofProviders[slot]?.remove(id)
        if ofProviders[slot]?.isEmpty == true { ofProviders[slot] = nil }
        if let place = services[name]?.providers.firstIndex(where: {
            $0.client == request.provider
        }) {
            services[name]?.providers[place].given -= 1
            services[name]?.givenCount -= 1
        }
    }

    /// Nobody awaits a request that is given: its provider's answer goes nowhere.
    mutating func disown(_ id: RequestID) {
        taken[id]?.isAwaited = false
        ofAskers[id.asker]?.remove(id)
        if ofAskers[id.asker]?.isEmpty == true { ofAskers[id.asker] = nil }
    }

    private mutating func forget(_ id: RequestID) {
        taken[id] = nil
        ofAskers[id.asker]?.remove(id)
        if ofAskers[id.asker]?.isEmpty == true { ofAskers[id.asker] = nil }
    }
}
