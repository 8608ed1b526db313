import MeshCore
import MeshWire

// Rooms and attachments: MESH.JOIN and its kin. Options stand behind the fixed arguments, in any order, each
// once.

extension Gateway {
    /// The command's usage, as COMMAND DOCS has it, up to the colon.
    func usage(_ command: Command) -> ClientRefusal {
        let summary = redis.table[command].summary
        return .syntax(.usage(String(summary.prefix { $0 != ":" })))
    }

    /// The room that an argument names; nil: a refusal is written.
    mutating func room(
        _ index: Int, _ client: ClientIndex
    ) -> Slice? {
        let name = arguments[index]
        if name.count > 0, Int(name.count) <= Hub.userNameLengthMax { return name }
        fail(client, .syntax(.name(.room, bytesMax: Hub.userNameLengthMax)))
        return nil
    }

    /// Metadata that an argument has; nil: a refusal is written.
    mutating func metadata(
        _ index: Int, _ input: Span<UInt8>, _ client: ClientIndex
    ) -> [UInt8]? {
        guard Int(arguments[index].count) <= Members.metadataMax else {
            fail(client, .syntax(.metadata(bytesMax: Members.metadataMax)))
            return nil
        }
        return bytes(index, input)
    }

    // MARK: Members

    mutating func joinRoom(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard let room = room(1, client) else { return .handled }
        var user: [UInt8]?
        var metadata: [UInt8]?
        var isHidden = false
        var index = 2
        while index < arguments.count {
            if equals(index, "as", input), user == nil, index + 1 < arguments.count {
                user = bytes(index + 1, input, countMax: Hub.userNameLengthMax + 1)
                index += 2
            } else if equals(index, "meta", input), metadata == nil, index + 1 < arguments.count {
                metadata = self.metadata(index + 1, input, client)
                if metadata == nil { return .handled }
                index += 2
            } else if equals(index, "hidden", input), !isHidden {
                isHidden = true
                index += 1
            } else {
                return answer(client, .refused(usage(.meshJoin)))
            }
        }
        // Nobody is shown anything of one that is hidden.
        if isHidden, user != nil || metadata != nil {
            return answer(client, .refused(usage(.meshJoin)))
        }
        return answer(
            client,
            hub.joinRoom(
                room, input, as: user, metadata: metadata, isHidden: isHidden, client))
    }

    mutating func leaveRoom(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        if arguments.count == 1 { return begin(.leavingRooms(count: 0), for: client) }
        guard arguments.count == 2 || arguments.count == 4 && equals(2, "as", input) else {
            return answer(client, .refused(usage(.meshLeave)))
        }
        guard let room = room(1, client) else { return .handled }
        hub.releaseMailbox(client)
        let user =
            arguments.count == 4 ? bytes(3, input, countMax: Hub.userNameLengthMax + 1) : nil
        return answer(client, .count(hub.leaveRoom(room, input, as: user, client) ? 1 : 0))
    }

    /// MESH.META.
    mutating func describeAttachment(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard areUsers(1..<2, input, client), let metadata = metadata(2, input, client) else {
            return .handled
        }
        return answer(client, hub.setMetadata(metadata, ofUser: bytes(1, input), client))
    }

    // MARK: Questions

    mutating func askMembers(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard let room = room(1, client) else { return .handled }
        var place: MemberPlace?
        var limit: Int?
        var index = 2
        while index < arguments.count {
            guard index + 1 < arguments.count else {
                return answer(client, .refused(usage(.meshWho)))
            }
            if equals(index, "after", input), place == nil {
                place = MemberPlace(
                    text: bytes(index + 1, input, countMax: Hub.userNameLengthMax + 32))
                if place == nil { return answer(client, .refused(.syntax(.notAPlace))) }
            } else if equals(index, "limit", input), limit == nil {
                limit = integer(index + 1, input)
                guard let limit, (1...RoomQuestion.pageMax).contains(limit) else {
                    return answer(client, .refused(.syntax(.pageSize(max: RoomQuestion.pageMax))))
                }
            } else {
                return answer(client, .refused(usage(.meshWho)))
            }
            index += 2
        }
        return answer(
            client,
            hub.askMembers(
                of: input.array(room), after: place, limit: limit ?? RoomQuestion.usualLimit,
                client))
    }

    mutating func countMembers(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard let room = room(1, client) else { return .handled }
        return answer(client, hub.askMemberCount(of: input.array(room), client))
    }

    mutating func listRoomsOfUser(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard areUsers(1..<2, input, client) else { return .handled }
        return answer(client, hub.askRooms(of: bytes(1, input), client))
    }

    // MARK: Orders

    mutating func order(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard areUsers(1..<2, input, client), let room = room(3, client) else { return .handled }
        let order: Order
        if equals(2, "join", input) {
            order = .join
        } else if equals(2, "leave", input) {
            order = .leave
        } else {
            return answer(client, .refused(usage(.meshOrder)))
        }
        return answer(
            client,
            hub.order(order, input.array(room), ofUser: bytes(1, input), only: nil, client))
    }

    mutating func kick(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard areUsers(1..<2, input, client) else { return .handled }
        var id: AttachmentID?
        var reason: [UInt8]?
        for index in stride(from: 2, to: arguments.count, by: 2) {
            guard index + 1 < arguments.count else {
                return answer(client, .refused(usage(.meshKick)))
            }
            if equals(index, "session", input), id == nil {
                id = AttachmentID(bytes(index + 1, input, countMax: 32))
                if id == nil { return answer(client, .refused(.syntax(.notASid))) }
            } else if equals(index, "reason", input), reason == nil {
                guard Int(arguments[index + 1].count) <= OrderAnswers.textMax else {
                    return answer(
                        client, .refused(.syntax(.reason(bytesMax: OrderAnswers.textMax))))
                }
                reason = bytes(index + 1, input)
            } else {
                return answer(client, .refused(usage(.meshKick)))
            }
        }
        return answer(
            client,
            hub.order(.kick, reason ?? [], ofUser: bytes(1, input), only: id, client))
    }
}
