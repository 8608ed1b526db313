import MeshCore
import MeshWire

/// A connection that serves a service.
struct Provider {
    let client: ClientIndex
    /// The connection; the client's index may be used again by another.
    let clientID: Int64
    /// The most requests that it has at once; 0: it takes none for now.
    var concurrency: Int
    /// Those that it has; more than `concurrency` if that was lowered.
    var given: Int
    /// Requests that wait for this provider alone.
    var waiting = FIFO<TakenID>()
    /// It has too much to read: it gets nothing before it has answered something.
    var isBehind = false

    var free: Int { concurrency - given }

    static let concurrencyMax = 1_024
    static let concurrencyUsual = 16
    /// Services of one connection.
    static let servicesMax = 1_024
}

/// The providers of one service at this node. Those that may be given something stand in lists, one for each
/// number of free credits, so that the one with most is at hand however many they are.
///
///     free 16 ──▶ place 4 ⇄ place 0
///     free 15
///     free 14 ──▶ place 2
struct Providers {
    private struct Place {
        var provider: Provider
        /// The list that it stands in; 0: none.
        var list = 0
        var next = -1
        var previous = -1
    }

    private struct List {
        var first = -1
        var last = -1
    }

    /// Nil: free.
    private var places: [Place?] = []
    private var freePlaces: [Int] = []
    private var ofClients: [Int: Int] = [:]
    private var lists: [List] = []
    /// A bit for each list: there is somebody in it.
    private var filled: [UInt64] = []
    /// Providers.
    private(set) var count = 0
    /// Those that take requests.
    private(set) var activeCount = 0
    /// Requests that they have.
    private(set) var givenCount = 0

    subscript(place: Int) -> Provider? { places[place]?.provider }

    func place(of client: ClientIndex) -> Int? { ofClients[client.slot] }

    /// The places of those that take requests, in no order that means anything.
    var activePlaces: [Int] {
        places.indices.filter { (places[$0]?.provider.concurrency ?? 0) > 0 }
    }

    // MARK: Changes

    mutating func insert(_ provider: Provider) {
        let place = freePlaces.popLast() ?? places.count
        if place == places.count { places.append(nil) }
        places[place] = Place(provider: provider)
        ofClients[provider.client.slot] = place
        count += 1
        activeCount += provider.concurrency > 0 ? 1 : 0
        givenCount += provider.given
        enlist(place)
    }

    mutating func remove(_ place: Int) -> Provider? {
        strike(place)
        guard let provider = places[place]?.provider else { return nil }
        places[place] = nil
        freePlaces.append(place)
        ofClients[provider.client.slot] = nil
        count -= 1
        activeCount -= provider.concurrency > 0 ? 1 : 0
        givenCount -= provider.given
        return provider
    }

    mutating func setConcurrency(_ concurrency: Int, _ place: Int) {
        strike(place)
        activeCount -= (places[place]?.provider.concurrency ?? 0) > 0 ? 1 : 0
        places[place]?.provider.concurrency = concurrency
        activeCount += concurrency > 0 ? 1 : 0
        enlist(place)
    }

    /// It has been given a request: among those with as many free credits it is the last now.
    mutating func gave(_ place: Int) {
        strike(place)
        places[place]?.provider.given += 1
        givenCount += 1
        enlist(place)
    }

    /// It has done with one.
    mutating func ended(_ place: Int) {
        strike(place)
        places[place]?.provider.given -= 1
        places[place]?.provider.isBehind = false
        givenCount -= 1
        enlist(place)
    }

    /// It gets nothing before it has answered something.
    mutating func fallBehind(_ place: Int) {
        strike(place)
        places[place]?.provider.isBehind = true
    }

    mutating func wait(_ id: TakenID, for place: Int) { places[place]?.provider.waiting.append(id) }

    mutating func popWaiting(_ place: Int) { _ = places[place]?.provider.waiting.popFirst() }

    /// Takes all that waits for this provider alone.
    mutating func takeWaiting(_ place: Int) -> [TakenID] {
        let waiting = places[place]?.provider.waiting.waiting ?? []
        places[place]?.provider.waiting = FIFO()
        return waiting
    }

    mutating func removeWaiting(_ id: TakenID, _ place: Int) {
        places[place]?.provider.waiting.removeAll { $0 == id }
    }

    // MARK: Choice

    /// The provider with most free credits, in turn among equals; nil: all have what they may.
    var freest: Int? {
        guard let word = filled.lastIndex(where: { $0 != 0 }) else { return nil }
        return lists[word * 64 + 63 - filled[word].leadingZeroBitCount].first
    }

    /// The provider for a key, by the highest hash of both: only the share of one that comes or goes moves.
    /// O(n).
    func place(forKey hash: UInt64) -> Int? {
        var best: (place: Int, weight: UInt64)?
        for place in places.indices {
            guard let provider = places[place]?.provider, provider.concurrency > 0 else { continue }
            let weight = Rendezvous.weight(hash, UInt64(bitPattern: provider.clientID))
            if let known = best, known.weight >= weight { continue }
            best = (place, weight)
        }
        return best?.place
    }

    private mutating func enlist(_ place: Int) {
        guard let provider = places[place]?.provider, provider.free > 0, !provider.isBehind else {
            return
        }
        let number = provider.free
        while lists.count <= number {
            if lists.count % 64 == 0 { filled.append(0) }
            lists.append(List())
        }
        let last = lists[number].last
        places[place]?.list = number
        places[place]?.previous = last
        places[place]?.next = -1
        if last < 0 { lists[number].first = place } else { places[last]?.next = place }
        lists[number].last = place
        filled[number / 64] |= 1 << UInt64(number % 64)
    }

    private mutating func strike(_ place: Int) {
        guard let gone = places[place], gone.list > 0 else { return }
        if gone.previous < 0 {
            lists[gone.list].first = gone.next
        } else {
            places[gone.previous]?.next = gone.next
        }
        if gone.next < 0 {
            lists[gone.list].last = gone.previous
        } else {
            places[gone.next]?.previous = gone.previous
        }
        if lists[gone.list].first < 0 { filled[gone.list / 64] &= ~(1 << UInt64(gone.list % 64)) }
        places[place]?.list = 0
    }
}

/// Rendezvous hashing (Thaler and Ravishankar 1998): of all candidates the one with the highest weight has the
/// key, so that of what others have nothing moves when one comes or goes.
enum Rendezvous {
    static func weight(_ hash: UInt64, _ candidate: UInt64) -> UInt64 {
        mix(hash ^ mix(candidate &+ 0x9E37_79B9_7F4A_7C15))
    }

    /// MurmurHash3's finaliser, which spreads every bit (Appleby 2011).
    private static func mix(_ value: UInt64) -> UInt64 {
        var word = value
        word = (word ^ (word >> 33)) &* 0xFF51_AFD7_ED55_8CCD
        word = (word ^ (word >> 33)) &* 0xC4CE_B9FE_1A85_EC53
        return word ^ (word >> 33)
    }
}
