import MeshCore
import MeshWire

/// The result of an operation, in words of no protocol. Each protocol of clients spells it in one place.
enum Outcome {
    case done
    case refused(ClientRefusal)
    /// The answer to a request.
    case bytes([UInt8])
    /// The answers to a request that all were asked.
    case requestAnswers([RequestAnswer])
    case services([ServiceRow])
    /// How many it was about, or how many are left.
    case count(Int)
    /// The token to show for a session next.
    case token(SessionToken)
    /// Names of channels, in no order.
    case names(NameSet)
    /// The numbers of subscribers of these names.
    case subscribers(NameList, [Int])
    case ways([TracedWay])
    /// Members of a room, with the names of their nodes; where the next ones begin, nil: these were all; the
    /// names of nodes that have not told theirs.
    case members(
        [ShownMember], names: [NodeID: String], after: MemberPlace?, missing: [String])
    /// Members of a room, and how many users they are; nil: too many to tell them apart.
    case memberCount(Int, users: Int?, missing: [String])
    /// A user's attachments, with the names of their nodes.
    case attachments([ShownMember], names: [NodeID: String])
    /// Other nodes have to be asked this, in `Hub.questionBytes`; the client waits for `Hub.finished`.
    case asks(QueryID, Query)
    /// The same, but the question is among `GatewayOutbox.errands` or waits for its turn.
    case waits
}

/// Something that a client is told without having asked, besides the messages that it listens for.
enum Push {
    /// It has missed so many messages of a channel or user, the first of them so long ago; 0: nobody knows
    /// how many.
    case gap(MessageKind, name: [UInt8], count: Int, age: Delay)
    /// So many copies of messages that it has published to this name may not have arrived.
    case undelivered(MessageKind, name: [UInt8], count: Int, UndeliveredReason)
    /// Its node leaves within this time: it should connect to this address; empty: to any other node.
    case moved(address: String, within: Delay)
    /// An order has been carried out at its attachment to this user. Text: the room, or the reason.
    case order(Order, user: [UInt8], text: [UInt8])
    /// A request that this client is to answer.
    case request(RequestID, RequestTarget, payload: [UInt8])
    /// Nobody awaits that request any more.
    case cancel(RequestID, CancelReason)
    /// The end of a request that this client has made under a tag.
    ///
    /// - Parameter answers: of all that were asked; nil: the outcome is the one answer.
    case reply(tag: [UInt8], RequestOutcome, answers: [RequestAnswer]?)
    /// A part of the answer to such a request; more follows.
    case part(tag: [UInt8], [UInt8])
}

/// The reason why a message was not delivered.
enum UndeliveredReason {
    /// Its user did not come back.
    case expired
    /// The node that it was on its way to is dead, or takes nothing.
    case unreachable
}

extension Hub {
    /// Answers an operation of a client, unless it wants no answers.
    mutating func answer(_ client: ClientIndex, _ outcome: Outcome) {
        let slot = client.slot
        if case .refused = outcome { counters[.commandErrors] += 1 }
        if clients[slot].flags.contains(.muted) { return }
        let isRESP3 = clients[slot].isRESP3
        clients[slot].output.append(outcome, isRESP3: isRESP3)
        wrote(client)
    }

    mutating func refuse(_ client: ClientIndex, _ refusal: ClientRefusal) {
        answer(client, .refused(refusal))
    }

    /// Tells a client something that no policy drops. While the answers to a transaction are written it
    /// follows them.
    mutating func tell(_ client: ClientIndex, _ push: Push) {
        let slot = client.slot
        let isRESP3 = clients[slot].isRESP3
        if clients[slot].flags.contains(.holding) {
            clients[slot].held.append(push, isRESP3: isRESP3)
            heldBack(client, .unknown)
        } else {
            clients[slot].output.append(push, isRESP3: isRESP3)
        }
        wrote(client)
    }
}
