import MeshCore
import MeshWire

@testable import MeshGateway

/// Two gateways that ask each other, as if a mesh were between them.
struct Pair: ~Copyable {
    var here: Harness
    var there: Harness
    /// The bytes of the longest question or answer so far.
    var largestAnswer = 0
    static let hereID = NodeID(1)
    static let thereID = NodeID(2)

    init(_ configuration: GatewayConfiguration = GatewayConfiguration()) {
        here = Harness(configuration)
        there = Harness(configuration)
        here.answers = nil
        there.answers = nil
        here.gateway.nodeID = Self.hereID
        there.gateway.nodeID = Self.thereID
        here.gateway.clientAddress = "10.0.0.1:7379"
        there.gateway.clientAddress = "10.0.0.2:7379"
    }

    /// Carries questions and answers to and fro until there are none.
    ///
    /// - Parameter isAnswered: otherwise they get lost; `isPresent` then says whether the others
    ///   are still members.
    mutating func settle(isAnswered: Bool = true, isPresent: Bool = true) {
        while true {
            here.gateway.tick(at: here.now)
            there.gateway.tick(at: there.now)
            let fromHere = Self.take(&here)
            let fromThere = Self.take(&there)
            if fromHere.isEmpty && fromThere.isEmpty { return }
            for errand in fromHere {
                note(Self.ask(errand, &here, Self.hereID, &there, isAnswered, isPresent))
            }
            for errand in fromThere {
                note(Self.ask(errand, &there, Self.thereID, &here, isAnswered, isPresent))
            }
        }
    }

    private mutating func note(_ size: Int) { largestAnswer = max(largestAnswer, size) }

    private static func take(_ harness: inout Harness) -> [Errand] {
        var all = harness.gateway.errands
        harness.gateway.errands = []
        for question in harness.questions {
            all.append(Errand(id: question.id, query: question.query, bytes: question.bytes))
        }
        harness.questions = []
        return all
    }

    /// Returns the size of the question, or of its answer if that is larger.
    private static func ask(
        _ errand: Errand, _ asker: inout Harness, _ id: NodeID, _ other: inout Harness,
        _ isAnswered: Bool, _ isPresent: Bool
    ) -> Int {
        var size = errand.bytes.count
        let subject: Slice
        var isForOther = true
        switch errand.query {
        case .node(let node, let slice):
            subject = slice
            isForOther = node == (id == hereID ? thereID : hereID)
        case .everyone(let slice): subject = slice
        case .holders, .trace: return size
        }
        if isAnswered, isForOther {
            var answer = ByteQueue()
            other.gateway.answer(subject, errand.bytes.span, from: id, into: &answer)
            let bytes = answer.withSpan { Array(copying: $0) }
            size = max(size, bytes.count)
            asker.gateway.answered(
                errand.id, Slice(start: 0, count: bytes.count), bytes.span,
                from: id == hereID ? thereID : hereID)
        }
        if let client = asker.gateway.finished(
            errand.id, isTargetPresent: isForOther ? isPresent : false)
        {
            asker.run(client)
        }
        return size
    }

    /// Lets time pass on both sides.
    mutating func pass(_ delay: Delay) {
        here.now = here.now + delay
        there.now = there.now + delay
        here.gateway.now = here.now
        there.gateway.now = there.now
        settle()
    }
}

/// The text of a token in a reply: `$49·token·…`.
func token(_ reply: String) -> String {
    let words = reply.split(separator: "·")
    guard words.count > 1, words[0] == "$49" else { return "none in \(reply)" }
    return String(words[1])
}

/// A message to ann as a RESP2 client reads it.
func message(_ text: String) -> String { "*3·$4·user·$3·ann·$\(text.utf8.count)·\(text)·" }
