import MeshCore
import MeshWire

// Confirmations of subscriptions leave when the other nodes know of them:
//
//     +OK ─ +OK ─│ subscribe news 1 ─ +PONG ─│ subscribe more 2 ─ …
//     leaves     mark: batch 7               mark: batch 8
//
// Bytes behind a mark stay in the output, in their order, until the node's changes up to that batch are
// known (`Node.knownBatch`). The client's commands are carried out meanwhile.

/// A place in a client's output behind which nothing leaves yet.
struct OutputMark {
    /// In all that was written to the client, as `Session.outputBase` counts.
    var position: UInt64
    /// The batch of this node's changes that has to be known.
    var batch: UInt64
}

/// Clients whose confirmations wait.
struct WaitingConfirmations {
    /// Those of the commands of this moment, of which nobody has said yet what they wait for.
    var fresh: [(client: ClientIndex, position: UInt64)] = []
    /// One for each mark, by batch; some of clients that have gone.
    var marks = FIFO<(client: ClientIndex, id: Int64, batch: UInt64)>()
    var orders = OrderAnswers()
}

extension Hub {
    /// The next bytes written to the client confirm something that other nodes must know first.
    mutating func confirmWhenKnown(_ client: ClientIndex) {
        let slot = client.slot
        if clients[slot].flags.contains(.confirmsLocally) { return }
        if confirmations.fresh.last?.client == client { return }
        let end = clients[slot].outputBase &+ UInt64(clients[slot].output.count)
        confirmations.fresh.append((client, end))
    }

    /// Subscriptions have been confirmed in outputs, and the driver has not said what they wait for.
    public var hasFreshConfirmations: Bool {
        @inline(__always) mutating get {
            !confirmations.fresh.isEmpty || !confirmations.orders.fresh.isEmpty
        }
    }

    /// Keeps those confirmations back until `confirm` says that this batch is known.
    public mutating func awaitKnown(_ batch: UInt64) {
        confirmations.orders.awaitKnown(batch)
        for (client, position) in confirmations.fresh {
            let slot = client.slot
            guard clients[slot].flags.contains(.open),
                clients[slot].flags.isDisjoint(with: .doomed),
                clients[slot].marks.last?.batch != batch
            else { continue }
            clients[slot].marks.append(OutputMark(position: position, batch: batch))
            clients[slot].flags.insert(.confirming)
            confirmations.marks.append((client, clients[slot].identity.id, batch))
        }
        confirmations.fresh.removeAll(keepingCapacity: true)
    }

    /// All other nodes know already.
    public mutating func confirmAtOnce() {
        confirmations.orders.confirmAtOnce()
        confirmations.fresh.removeAll(keepingCapacity: true)
    }

    /// This node's changes up to this batch are known: what waited for them leaves.
    public mutating func confirm(through batch: UInt64) {
        confirmations.orders.confirm(through: batch)
        while let first = confirmations.marks.first, first.batch <= batch {
            _ = confirmations.marks.popFirst()
            let slot = first.client.slot
            guard clients[slot].identity.id == first.id, clients[slot].flags.contains(.confirming)
            else {
                continue
            }
            while let mark = clients[slot].marks.first, mark.batch <= batch {
                _ = clients[slot].marks.popFirst()
            }
            if clients[slot].marks.isEmpty { clients[slot].flags.remove(.confirming) }
            wrote(first.client)
        }
    }

    /// The bytes of the client's output that may leave.
    public mutating func leavingCount(_ client: ClientIndex) -> Int {
        let slot = client.slot
        let count = clients[slot].output.count
        guard let mark = clients[slot].marks.first else { return count }
        // A base beyond the mark: all before it has left.
        return min(count, max(0, Int(mark.position &- clients[slot].outputBase)))
    }
}
