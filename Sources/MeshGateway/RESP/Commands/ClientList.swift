import MeshCore
import MeshWire

// CLIENT LIST, INFO and KILL: the connections of this node.

extension Gateway {
    /// Output up to this size is the buffer of a client in Redis, and what is beyond it a list of blocks of
    /// this size.
    private static let bufferBytes = 16 * 1024

    /// Appends a client as CLIENT LIST tells of it, without the line's end. What has no meaning here is 0.
    ///
    /// Of the output that has not left yet `obl` are the bytes of the first 16 KiB, `omem` those of the
    /// rest and of the messages that wait in the mailbox, and `oll` counts blocks of 16 KiB and such
    /// messages: so Redis's tools see a client that is behind under every policy.
    func append(_ client: ClientIndex, to line: inout String) {
        let slot = client.slot
        let waiting = hub.clients[slot].output.count + hub.clients[slot].held.count
        let buffered = min(waiting, Self.bufferBytes)
        let blockCount = (waiting - buffered + Self.bufferBytes - 1) / Self.bufferBytes
        let messageCount = hub.clients[slot].mailbox.waiting.count
        let messageBytes = hub.clients[slot].mailbox.waiting.byteCount
        let memory =
            hub.clients[slot].output.byteCapacity + hub.clients[slot].held.byteCapacity
            + messageBytes + MemoryLayout<Session>.stride
        func add(_ name: String, _ value: String) {
            line += name
            line += value
        }
        func add(_ name: String, _ value: Int) { add(name, String(value)) }
        func add(_ name: String, _ value: [UInt8]) {
            add(name, String(decoding: value, as: UTF8.self))
        }
        add("id=", Int(hub.clients[slot].identity.id))
        add(" addr=", hub.clients[slot].identity.address)
        add(" laddr=", localAddress(of: client))
        add(" fd=", slot)
        add(" name=", hub.clients[slot].identity.name)
        add(" age=", Int((hub.now - hub.clients[slot].identity.openedAt).milliseconds / 1_000))
        add(" idle=", Int((hub.now - hub.clients[slot].identity.lastSeenAt).milliseconds / 1_000))
        add(" flags=", letters(client))
        add(" db=0 sub=", Int(hub.clients[slot].lists[count: .channel]))
        add(" psub=", Int(hub.clients[slot].lists[count: .pattern]))
        add(" ssub=", Int(hub.clients[slot].lists[count: .shardChannel]))
        add(" multi=", queuedCount(client))
        add(" qbuf=", hub.clients[slot].charge.input)
        add(" qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=", buffered)
        add(" oll=", blockCount + messageCount)
        add(" omem=", waiting - buffered + messageBytes)
        add(" tot-mem=", memory)
        add(" events=", waiting > 0 ? "rw" : "r")
        add(
            " cmd=",
            lastCommand(of: client).map { redis.table[$0].fullName } ?? "NULL")
        add(" user=", userName(client))
        add(" redir=-1 resp=", hub.clients[slot].isRESP3 ? "3" : "2")
        add(" lib-name=", hub.clients[slot].identity.libraryName)
        add(" lib-ver=", hub.clients[slot].identity.libraryVersion)
        add(" policy=", hub.clients[slot].mailbox.policy.name)
        add(" dropped=", hub.clients[slot].droppedCount)
        add(" attached=", attachedNames(client))
        add(" sessions=", hub.clients[slot].sessions.entries.count)
        add(" marks=", hub.clients[slot].marks.count)
    }

    /// The commands of the client's transaction; -1: it is in none.
    private func queuedCount(_ client: ClientIndex) -> Int {
        guard case .queueing(let transaction) = conversations[client.slot].phase else { return -1 }
        return transaction.count
    }

    /// The address that a client has connected to.
    private func localAddress(of client: ClientIndex) -> String {
        hub.clients[client.slot].origin == .unixSocket
            ? hub.clients[client.slot].identity.address : hub.configuration.localAddress
    }

    /// Redis's letters for the states of a client.
    private func letters(_ client: ClientIndex) -> String {
        let flags = hub.clients[client.slot].flags
        var letters = ""
        if hub.clients[client.slot].lists.redisCount > 0 { letters += "P" }
        if conversations[client.slot].isQueueing { letters += "x" }
        if flags.contains(.asking) { letters += "b" }
        if !flags.isDisjoint(with: [.ending, .doomed]) { letters += "c" }
        if conversations[client.slot].isMonitoring { letters += "O" }
        if hub.clients[client.slot].origin == .unixSocket { letters += "U" }
        if conversations[client.slot].isNeverEvicted { letters += "e" }
        if conversations[client.slot].touchesNothing { letters += "T" }
        return letters.isEmpty ? "N" : letters
    }

    /// The user that is attached, of several one and how many more there are. Bytes that would not stand
    /// in one word are written as `%20`, and names are cut at 64 bytes.
    private func attachedNames(_ client: ClientIndex) -> String {
        let count = hub.clients[client.slot].lists[count: .user]
        guard count > 0 else { return "" }
        let subscription = hub.clients[client.slot].lists[first: .user]
        let name = hub.registry.topics.name(hub.registry.subscription(subscription).topic)
        let digits = Array("0123456789abcdef")
        var word = ""
        for byte in name.prefix(64) {
            if byte > 0x20, byte < 0x7F, byte != UInt8(ascii: "%") {
                word.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                word += "%\(digits[Int(byte >> 4)])\(digits[Int(byte & 15)])"
            }
        }
        return count > 1 ? "\(word)+\(count - 1)" : word
    }

    /// Nil for a word that is no type of client.
    private func clientKind(_ index: Int, _ input: Span<UInt8>) -> ClientListing.Kind? {
        if equals(index, "normal", input) { return .normal }
        if equals(index, "pubsub", input) { return .pubsub }
        if equals(index, "master", input) || equals(index, "replica", input)
            || equals(index, "slave", input)
        {
            return .other
        }
        return nil
    }

    func kind(of client: ClientIndex) -> ClientListing.Kind {
        hub.clients[client.slot].lists.redisCount > 0 ? .pubsub : .normal
    }

    mutating func listClients(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        var listing = ClientListing()
        if arguments.count == 4, equals(2, "type", input) {
            listing.kind = clientKind(3, input)
            guard listing.kind != nil else {
                fail(client, .redis(.unknownClientType(name: excerpt(3, input))))
                return .handled
            }
        } else if arguments.count > 3, equals(2, "id", input) {
            var wanted: Set<Int64> = []
            for index in 3..<arguments.count {
                guard let id = integer(index, input), id > 0 else {
                    fail(client, .redis(.clientIDListed))
                    return .handled
                }
                wanted.insert(Int64(id))
            }
            listing.wantedIDs = wanted
        } else if arguments.count != 2 {
            fail(client, .syntax(.unknownArgument))
            return .handled
        }
        if hub.principal(of: client) != .administrator { listing.only = client }
        return begin(.listing(listing), for: client)
    }

    mutating func killClients(
        _ input: Span<UInt8>, _ client: ClientIndex, _ now: Instant
    ) -> Request {
        if arguments.count == 3 {
            let address = text(2, input, countMax: 128)
            for slot in hub.clients.slots
            where hub.clients[slot].flags.contains(.open)
                && hub.clients[slot].identity.address == address
            {
                ok(client)
                return kill(ClientIndex(slot), askedBy: client)
            }
            fail(client, .redis(.unknownClient))
            return .handled
        }
        var filter = KillFilter()
        guard read(&filter, input, client, now) else { return .handled }
        var count = 0
        var request = Request.handled
        for slot in hub.clients.slots
        where hub.clients[slot].flags.contains(.open) && !hub.clients[slot].flags.contains(.doomed)
        {
            if filter.skipsMe, slot == client.slot { continue }
            if let id = filter.id, hub.clients[slot].identity.id != id { continue }
            if let address = filter.address, hub.clients[slot].identity.address != address {
                continue
            }
            if let kind = filter.kind, self.kind(of: ClientIndex(slot)) != kind { continue }
            if let address = filter.localAddress, localAddress(of: ClientIndex(slot)) != address {
                continue
            }
            if let user = filter.user, userName(ClientIndex(slot)) != user.rawValue { continue }
            if let since = filter.openedBefore, !(hub.clients[slot].identity.openedAt < since) {
                continue
            }
            count += 1
            if case .end = kill(ClientIndex(slot), askedBy: client) { request = .end }
        }
        integer(count, client)
        return request
    }

    private struct KillFilter {
        var id: Int64?
        var address: String?
        var kind: ClientListing.Kind?
        var openedBefore: Instant?
        var skipsMe = true
        var user: Credentials.User?
        var localAddress: String?
    }

    private mutating func read(
        _ filter: inout KillFilter, _ input: Span<UInt8>, _ client: ClientIndex, _ now: Instant
    ) -> Bool {
        var index = 2
        while index < arguments.count {
            guard index + 1 < arguments.count else {
                fail(client, .syntax(.unknownArgument))
                return false
            }
            let value = index + 1
            if equals(index, "id", input) {
                guard let id = integer(value, input), id > 0 else {
                    fail(client, .redis(.clientIDKilled))
                    return false
                }
                filter.id = Int64(id)
            } else if equals(index, "type", input) {
                filter.kind = clientKind(value, input)
                guard filter.kind != nil else {
                    fail(client, .redis(.unknownClientType(name: excerpt(value, input))))
                    return false
                }
            } else if equals(index, "addr", input) {
                filter.address = text(value, input, countMax: 128)
            } else if equals(index, "laddr", input) {
                filter.localAddress = text(value, input, countMax: 128)
            } else if equals(index, "user", input) {
                guard let user = user(value, input) else {
                    fail(client, .redis(.unknownUser(name: excerpt(value, input))))
                    return false
                }
                filter.user = user
            } else if equals(index, "maxage", input) {
                guard let seconds = integer(value, input), (1...1 << 32).contains(seconds) else {
                    fail(client, .redis(.ageMax))
                    return false
                }
                filter.openedBefore = now - .seconds(Int64(seconds))
            } else if equals(index, "skipme", input) {
                if equals(value, "yes", input) {
                    filter.skipsMe = true
                } else if equals(value, "no", input) {
                    filter.skipsMe = false
                } else {
                    fail(client, .syntax(.unknownArgument))
                    return false
                }
            } else {
                fail(client, .syntax(.unknownArgument))
                return false
            }
            index += 2
        }
        return true
    }

    /// A client that kills itself is still answered.
    private mutating func kill(_ victim: ClientIndex, askedBy client: ClientIndex) -> Request {
        hub.counters[.clientsKilled] += 1
        if victim == client {
            hub.clients[client.slot].flags.insert(.ending)
            return .end
        }
        hub.doom(victim)
        return .handled
    }
}
