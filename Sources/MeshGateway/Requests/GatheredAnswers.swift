import MeshCore
import MeshWire

/// One of the answers to a request to all.
struct RequestAnswer: Equatable, Sendable {
    /// The attachment that answers; of a provider, or a member without one, the node and number 0.
    let who: AttachmentID
    let outcome: RequestOutcome
}

/// The answers to a request that all are asked, at the asker's node.
///
/// Each node says first which connections it has asked; then they answer one by one, in any order. A node has
/// ended when each of them has.
struct GatheredAnswers {
    private struct Heard {
        /// Nil: it has not said yet which.
        var asked: [AttachmentID]?
        /// By their places.
        var outcomes: [RequestOutcome?] = []
        var openCount = 0
        var hasEnded = false
        /// A word for the node as a whole; nil: it has said whom it has asked.
        var outcome: RequestOutcome?
        var isLostAt: Instant?
    }

    /// The nodes in the order in which their answers are told.
    private var order: [NodeID] = []
    private var heard: [NodeID: Heard] = [:]
    private var openCount = 0
    /// Connections that were asked.
    private var askedCount = 0
    private(set) var byteCount = 0

    /// The most answers of one request, and bytes of their payloads.
    static let countMax = 1_000
    static let bytesMax = 8 * 1024 * 1024

    var hasEnded: Bool { openCount == 0 }
    var isEmpty: Bool { askedCount == 0 && heard.allSatisfy { $0.value.outcome == nil } }

    /// Those whose answers are not complete, in order.
    var openNodes: [NodeID] { order.filter { heard[$0]?.hasEnded == false } }

    func isOpen(_ node: NodeID) -> Bool { heard[node]?.hasEnded == false }

    mutating func begin(_ nodes: [NodeID]) {
        self = GatheredAnswers()
        order = nodes
        for node in nodes { heard[node] = Heard() }
        openCount = nodes.count
    }

    /// A node has asked these. Those beyond the most that there may be are not waited for.
    ///
    /// - Returns: false if it has said so before.
    mutating func note(_ asked: [AttachmentID], by node: NodeID) -> Bool {
        guard isOpen(node), heard[node]?.asked == nil else { return false }
        let asked = Array(asked.prefix(Self.countMax - askedCount))
        askedCount += asked.count
        heard[node]?.asked = asked
        heard[node]?.outcomes = [RequestOutcome?](repeating: nil, count: asked.count)
        heard[node]?.openCount = asked.count
        if asked.isEmpty { end(node) }
        return true
    }

    /// One of them has answered, or will not.
    ///
    /// - Returns: false if it was not asked, or has answered.
    mutating func note(_ outcome: RequestOutcome, at place: Int, by node: NodeID) -> Bool {
        guard isOpen(node), let known = heard[node], known.asked != nil,
            known.outcomes.indices.contains(place), known.outcomes[place] == nil
        else { return false }
        var outcome = outcome
        if byteCount + outcome.payload.count > Self.bytesMax { outcome = .tooMuch }
        byteCount += outcome.payload.count
        heard[node]?.outcomes[place] = outcome
        heard[node]?.openCount -= 1
        if heard[node]?.openCount == 0 { end(node) }
        return true
    }

    /// Nothing more comes from a node.
    ///
    /// - Parameter outcome: of each that has not answered, or of the node if it has not said whom it has asked;
    ///   nil: it has nobody.
    mutating func end(_ node: NodeID, _ outcome: RequestOutcome?) {
        guard isOpen(node) else { return }
        if heard[node]?.asked == nil {
            heard[node]?.outcome = outcome
        } else if let outcome {
            for place in heard[node]?.outcomes.indices ?? 0..<0 where isSilent(node, place) {
                heard[node]?.outcomes[place] = outcome
            }
        }
        end(node)
    }

    /// The same for a node that has asked nobody, and says why.
    ///
    /// - Returns: false if it has said whom it has asked.
    mutating func endWhole(_ node: NodeID, _ outcome: RequestOutcome) -> Bool {
        guard isOpen(node), heard[node]?.asked == nil else { return false }
        end(node, outcome)
        return true
    }

    private func isSilent(_ node: NodeID, _ place: Int) -> Bool {
        heard[node]?.outcomes[place] == nil
    }

    private mutating func end(_ node: NodeID) {
        heard[node]?.hasEnded = true
        openCount -= 1
    }

    /// The last words of a node that has left come until then.
    mutating func lose(_ node: NodeID, by time: Instant) { heard[node]?.isLostAt = time }

    func lostNodes(by now: Instant) -> [NodeID] {
        openNodes.filter { node in heard[node]?.isLostAt.map { $0 <= now } ?? false }
    }

    /// All that was gathered, in the order of the nodes and of the connections there.
    var all: [RequestAnswer] {
        var answers: [RequestAnswer] = []
        for node in order {
            guard let known = heard[node] else { continue }
            if let outcome = known.outcome {
                answers.append(
                    RequestAnswer(who: AttachmentID(node: node, number: 0), outcome: outcome))
            }
            for (who, outcome) in zip(known.asked ?? [], known.outcomes) {
                if let outcome { answers.append(RequestAnswer(who: who, outcome: outcome)) }
            }
        }
        return Array(answers.prefix(Self.countMax))
    }
}

extension RequestOutcome {
    var payload: [UInt8] {
        switch self {
        case .answered(let payload), .rejected(let payload), .failed(let payload): payload
        default: []
        }
    }
}
