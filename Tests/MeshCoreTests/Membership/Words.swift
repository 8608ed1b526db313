import MeshWire

@testable import MeshCore

/// The words of a transcript: who is who, and what frames and effects say.
///
/// Actors are called A, B, C, …; their ids stand on the ring in the order of the alphabet, each in a
/// part of its own. `D 3.1` is D in the life 3 with one refutation. A digest is a number that rises with
/// each new one: equal digests have equal numbers. Times are seconds since the scene began.
final class Words {
    private var records: [String: MemberRecord] = [:]
    private var digests: [UInt64: Int] = [:]
    private var partDigests: [Int: [UInt64]] = [:]
    var began = Instant(nanoseconds: 1_000_000_000)
    private(set) var places: [Endpoint: [String]] = [:]

    /// Births are counted in milliseconds from here; the 16 bits that statuses carry are zero.
    static let epoch: UInt64 = 1_700_000_000_000 / 65_536 * 65_536

    // MARK: Names

    /// A new actor.
    func cast(_ name: String, life: UInt64) -> MemberRecord {
        let number = UInt64(name.utf8.first! - UInt8(ascii: "A")) + 1
        let record = MemberRecord(
            id: NodeID(number << 59), incarnation: Self.incarnation(life, 0), status: .alive,
            endpoint: Endpoint(ipv4: 0x0A00_0000 + UInt32(number), port: 7_400), name: name,
            zone: "")
        records[name] = record
        move(name, to: record.endpoint)
        return record
    }

    func move(_ name: String, to endpoint: Endpoint) {
        for place in places.keys { places[place]!.removeAll { $0 == name } }
        places[endpoint, default: []].append(name)
        records[name]!.endpoint = endpoint
    }

    /// Those who have been at an address, the last one last.
    func names(at endpoint: Endpoint) -> [String] { places[endpoint] ?? [] }

    static func incarnation(_ life: UInt64, _ refutations: UInt64) -> Incarnation {
        Incarnation(Incarnation(bootMilliseconds: epoch + life).rawValue + refutations)
    }

    func record(_ name: String) -> MemberRecord? { records[name] }

    func name(_ id: NodeID) -> String {
        records.first { $0.value.id == id }?.key ?? (id == NodeID(0) ? "nobody" : "\(id)")
    }

    func names(_ ids: [NodeID]) -> String { ids.map(name).joined(separator: " ") }

    func time(_ instant: Instant) -> String {
        let milliseconds = (instant - began).milliseconds
        let (seconds, rest) = abs(milliseconds).quotientAndRemainder(dividingBy: 1_000)
        let digits = String(rest + 1_000).dropFirst()
        return "\(milliseconds < 0 ? "-" : "")\(seconds).\(digits)"
    }

    func incarnation(_ incarnation: Incarnation) -> String {
        "\(Int64(incarnation.life) - Int64(Self.epoch)).\(incarnation.rawValue & 0xFFFF)"
    }

    func digest(_ digest: UInt64) -> String {
        let number = digests[digest] ?? digests.count + 1
        digests[digest] = number
        return "#\(number)"
    }

    func describe(_ record: MemberRecord) -> String {
        "\(name(record.id)) \(record.status) \(incarnation(record.incarnation))"
    }

    // MARK: Frames

    func heartbeat(_ frame: [UInt8]) -> Heartbeat? {
        guard frame[4] == FrameKind.link.rawValue, case .heartbeat(let heartbeat)? = message(frame)
        else { return nil }
        return heartbeat
    }

    /// The message of a frame between two ends of a link.
    func message(_ frame: [UInt8]) -> Message? {
        guard frame[4] == FrameKind.link.rawValue else { return nil }
        return try? Message.decode(frame.span, from: Frame.prefixSize, to: frame.count)
    }

    func describe(frame: [UInt8]) -> String {
        switch FrameKind(rawValue: frame[4]) {
        case .link: return message(frame).map(describe) ?? "a malformed frame"
        case .arc:
            let origin = NodeID(frame.span.load(UInt64.self, at: 8))
            let end = NodeID(frame.span.load(UInt64.self, at: 16))
            let told = try? Message.decode(
                frame.span, from: Frame.arcHeaderSize, to: frame.count)
            return "for all up to \(name(end)), from \(name(origin)): "
                + (told.map(describe) ?? "a malformed message")
        case .routed: return describe(routed: frame)
        case nil: return "a malformed frame"
        }
    }

    private func describe(routed frame: [UInt8]) -> String {
        var needed = 0
        guard let prefix = try? FramePrefix.read(frame.span, at: 0, needed: &needed),
            let header = try? RoutedHeader.read(frame.span, at: 0, prefix)
        else { return "a malformed frame" }
        let destinations = (0..<header.destinationCount).map {
            Destination.read(frame.span, frame: 0, index: $0)
        }
        let way = "for \(names(destinations.map(\.id))) from \(name(header.origin)): "
        if prefix.body == RoutedBody.control.rawValue {
            let told = try? Message.decode(
                frame.span, from: header.payloadOffset, to: frame.count)
            return way + (told.map(describe) ?? "a malformed message")
        }
        let numbers = destinations.map { "\($0.sequence)" }.joined(separator: " ")
        let count = frame.count - header.payloadOffset
        return way + "message \(numbers) of \(count) bytes"
    }

    // MARK: Messages

    func describe(_ message: Message) -> String {
        switch message {
        case .hello(let greeting): "hello(\(describe(greeting)))"
        case .welcome(let greeting): "welcome(\(describe(greeting)))"
        case .refuse(let reason, _, let known):
            known == Incarnation(0)
                ? "refuse(\(reason))" : "refuse(\(reason), knows \(incarnation(known)))"
        case .heartbeat(let heartbeat): "heartbeat(\(digest(heartbeat.digest)))"
        case .members(let records, let isRepair):
            (isRepair ? "known" : "members")
                + "(\(records.map(describe).joined(separator: ", ")))"
        case .statuses(let changes):
            "statuses(\(changes.map(describe).joined(separator: ", ")))"
        case .linkLists(let lists): "lists(\(lists.map(describe).joined(separator: ", ")))"
        case .linkChanges(let changes):
            "lists(\(changes.map(describe).joined(separator: ", ")))"
        case .linksWanted(let owners): "wants-lists(\(names(owners)))"
        case .role(let role): "role(\(role.rawValue == 0 ? "none" : "\(role.rawValue)"))"
        case .bye: "bye"
        case .accuse(let subject, let known, let evidence):
            "accuse(\(name(subject)) \(incarnation(known)) \(evidence))"
        case .vouch(let subject, let known): "vouch(\(name(subject)) \(incarnation(known)))"
        case .indirectProbe(let subject, let known):
            "probe(\(name(subject)) \(incarnation(known)))"
        case .records(let records):
            "records(\(name(records.origin)) \(records.firstSequence) to "
                + "\(records.firstSequence + UInt64(records.records.count) - 1))"
        case .digests(let parts): "digests(\(describe(parts)))"
        case .compare(let number, let parts): "compare(\(number) \(describe(parts)))"
        case .compared(let number, let isBehind):
            "compared(\(number)\(isBehind ? ", behind" : ""))"
        case .logSummaries(let summaries, let mask):
            "summaries(\(summaries.map(describe).joined(separator: ", "))\(parts(mask)))"
        case .origins(let entries, let mask, let isReply):
            (isReply ? "reply" : "entries")
                + "(\(entries.map(describe).joined(separator: ", "))\(parts(mask)))"
        case .repair(let requests): "repair(\(requests.map(describe).joined(separator: ", ")))"
        case .snapshot(let part): "snapshot(\(name(part.origin)) at \(part.sequence))"
        case .cannotRepair(let origin): "cannot-repair(\(name(origin)))"
        case .recordsKnown(let origin, _, let sequence): "known(\(name(origin)) to \(sequence))"
        case .query(let number, _, _): "query(\(number))"
        case .answer(let number, _), .traceAnswer(let number, _): "answer(\(number))"
        case .coordinates(let items): "coordinates(\(names(items.map(\.id))))"
        case .acknowledge(let told):
            "acknowledge(\(told.cumulative)\(told.missing > 0 ? ", \(told.missing) missing" : ""))"
        case .skip(let last): "skip(\(last))"
        case .wrongName: "wrong-name"
        case .nobody(let numbers, _): "nobody(\(numbers.map(String.init).joined(separator: ", ")))"
        case .takenBack(let range, let last):
            "taken-back(\(range.first) to \(range.last) of \(last))"
        case .unsupported(let what): "unsupported(\(what.sequence), body \(what.body))"
        }
    }

    private func describe(_ greeting: Greeting) -> String {
        "\(greeting.purpose), \(describe(greeting.member))"
    }

    private func describe(_ change: StatusChange) -> String {
        let life = UInt64(change.incarnation >> 16)
        return "\(name(change.id)) \(change.status) \(life).\(change.incarnation & 0xFFFF)"
    }

    private func describe(_ list: LinkList) -> String {
        "\(name(list.owner)) v\(list.version): \(names(list.links))"
    }

    private func describe(_ change: LinkListChange) -> String {
        let removed = change.removed.map { "-" + name(NodeID(UInt64($0) << 32)) }
        let added = change.added.map { "+" + name($0) }
        return "\(name(change.owner)) v\(change.version): "
            + (removed + added).joined(separator: " ")
    }

    private func describe(_ entry: OriginEntry) -> String {
        describe(entry.member) + (entry.sequence > 0 ? " log \(entry.sequence)" : "")
    }

    private func describe(_ summary: LogSummary) -> String {
        "\(name(NodeID(UInt64(summary.prefix) << 32))) log \(summary.sequence)"
    }

    private func describe(_ request: RepairRequest) -> String {
        "\(name(request.origin)) after \(request.after)"
            + (request.wantsSnapshot ? ", all of it" : "")
    }

    /// Each part with a member, by that one's name and how many other digests of it came before.
    private func describe(_ parts: [UInt64]) -> String {
        var told: [String] = []
        for (name, record) in records.sorted(by: { $0.key < $1.key }) {
            let part = MemberTable.part(of: record.id)
            guard parts[part] != 0 else { continue }
            var known = partDigests[part] ?? []
            if !known.contains(parts[part]) { known.append(parts[part]) }
            partDigests[part] = known
            told.append(name + "#\(known.firstIndex(of: parts[part])! + 1)")
        }
        return told.joined(separator: " ")
    }

    private func parts(_ mask: UInt64) -> String {
        let named = records.filter { mask & (1 << UInt64(MemberTable.part(of: $0.value.id))) != 0 }
        return named.isEmpty ? "" : "; of " + named.keys.sorted().joined(separator: " ")
    }

    // MARK: Effects

    func describe(
        _ effect: Effect, _ effects: borrowing EffectBuffer, _ bytes: [UInt8]
    ) -> String {
        switch effect {
        case .send, .dial, .close, .left: preconditionFailure("the stage carries it out")
        case .log(let event): return "log: \(describe(event))"
        case .resolveSeeds: return "asks for the addresses of its seeds"
        case .memberDied(let id): return "tells its clients that \(name(id)) died"
        case .undelivered(_, _, _, let text, let id, let count):
            let user = effects.bytes.withSpan { $0.array(text) }
            return "gives up \(count) to \(String(decoding: user, as: UTF8.self)) at \(name(id))"
        case .deliver(_, _, _, _, let payload, _),
            .deliverKept(_, _, _, _, let payload, _),
            .deliverLabelled(_, _, _, _, let payload, _):
            return "delivers \(payload.count) bytes"
        case .takenBack: return "takes a message back"
        case .uncongested: return "has room again"
        case .recordsKnown: return "knows that its changes are known"
        case .gap(let id, let count): return "lacks \(count) of \(name(id)) for good"
        case .bulk(let id, _): return "hears of the bulk lane of \(name(id))"
        case .presence(_, let presence):
            return "a watched user \(presence.isOnline ? "comes" : "goes")"
        case .holders: return "tells of a followed key's holders"
        case .queried(let id, let number, _): return "\(name(id)) asks query \(number.rawValue)"
        case .answered(let number, let id, _):
            return "\(name(id)) answers query \(number.rawValue)"
        case .traced(let number, let id, _):
            return "\(name(id)) answers trace \(number.rawValue)"
        case .unanswered(let number, let id):
            return "\(name(id)) has not answered query \(number.rawValue)"
        case .finished(let number): return "query \(number.rawValue) is finished"
        }
    }

    private func describe(_ event: LogEvent) -> String {
        switch event {
        case .seedsSilent(let attempts, let failure):
            "seeds silent, \(attempts) attempts, \(failure)"
        case .servesAlone: "serves alone"
        case .joined(let count): "joined, \(count) members"
        case .ready(let count, let keys): "ready, \(count) members, \(keys) keys"
        case .memberUp(let id): "\(name(id)) up"
        case .memberSuspect(let id, _): "\(name(id)) suspect"
        case .memberDead(let id, _): "\(name(id)) dead"
        case .memberLeft(let id): "\(name(id)) left"
        case .linkHollow(let id): "link with \(name(id)) carries nothing"
        case .memberMute(let id): "\(name(id)) acknowledges nothing"
        case .linkUp(let id): "link up with \(name(id))"
        case .linkDown(let id, let reason): "link down with \(name(id)), \(reason)"
        case .refused(let endpoint, let reason):
            "refused by \(names(at: endpoint).last ?? "?"), \(reason)"
        case .otherCluster: "refused: of another cluster"
        case .greetingDisplaced: "displaced before its greeting"
        case .addressShared(let one, let other):
            "\(name(one)) and \(name(other)) advertise one address"
        case .memberImpersonated(let id, _): "somebody greets as \(name(id))"
        case .memberUnreachable(let id): "\(name(id)) cannot be reached"
        case .wrongVersion(_, let error): "refused: \(error)"
        case .refuted: "refuted"
        case .protocolError(_, let id, let error):
            "protocol error of \(id.map(name) ?? "somebody"): \(error)"
        }
    }
}
