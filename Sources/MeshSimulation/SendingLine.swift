import MeshCore

/// The frames that a host has to send over a line that takes time.
///
/// Each link has a queue of its own, in which control goes first and bulk last, as `SendQueue` has it; a
/// frame that has begun to leave is not interrupted by others of its link. The links take turns, a packet
/// each, as their connections share the machine's line: none waits for all that another has to send.
struct SendingLine {
    struct Frame {
        var action: Action
        var link: LinkIndex
        /// Bytes that have not left.
        var size: Int
    }

    /// The packet that leaves next: so many bytes of a frame.
    struct Turn {
        var action: Action
        var bytes: Int
        /// They are the frame's last.
        var isLast: Bool
    }

    private struct Queue {
        /// It has begun to leave.
        var begun: Frame?
        var control = FIFO<Frame>()
        var messages = FIFO<Frame>()
        var bulk = FIFO<Frame>()
        /// Bytes that wait or are leaving.
        var waiting = 0
        /// The node knows, or is about to, that something waits.
        var isTold = false

        var isEmpty: Bool {
            begun == nil && control.isEmpty && messages.isEmpty && bulk.isEmpty
        }

        mutating func next() -> Frame? {
            begun ?? control.popFirst() ?? messages.popFirst() ?? bulk.popFirst()
        }

        /// Takes all that waits for a connection, in the order in which it would leave.
        mutating func take(_ connection: ConnectionNumber) -> [Frame] {
            func isOf(_ frame: Frame) -> Bool { frame.action.connection == connection }
            var frames: [Frame] = []
            if let first = begun, isOf(first) {
                frames.append(first)
                begun = nil
            }
            frames += control.waiting.filter(isOf) + messages.waiting.filter(isOf)
            frames += bulk.waiting.filter(isOf)
            control.removeAll(where: isOf)
            messages.removeAll(where: isOf)
            bulk.removeAll(where: isOf)
            for frame in frames { waiting -= frame.size }
            return frames
        }
    }

    /// By the slot of their link.
    private var queues: [Queue] = []
    /// The link that had the last turn.
    private var turn = 0
    /// Bytes of that link are leaving; 0: the line is free.
    private var leaving = 0

    /// Of an Ethernet packet.
    static let packetBytes = 1_448
    /// Where one link alone has something to send, its turn takes this long.
    private static let turnsInSecond = 20

    var isFree: Bool { leaving == 0 }

    /// Bytes that wait for a link. When there are none, the node is told of the next ones anew.
    mutating func tell(of link: LinkIndex) -> Int {
        guard link.slot < queues.count else { return 0 }
        queues[link.slot].isTold = queues[link.slot].waiting > 0
        return queues[link.slot].waiting
    }

    /// Returns whether the node is to be told that something waits.
    mutating func append(_ frame: Frame, _ sendClass: SendClass) -> Bool {
        let slot = frame.link.slot
        while queues.count <= slot { queues.append(Queue()) }
        queues[slot].waiting += frame.size
        switch sendClass {
        case .control: queues[slot].control.append(frame)
        case .message, .volatile: queues[slot].messages.append(frame)
        case .bulk: queues[slot].bulk.append(frame)
        }
        defer { queues[slot].isTold = true }
        return !queues[slot].isTold
    }

    /// The bytes of the last turn have left; those of the next one follow.
    ///
    /// - Parameter rate: of the line, in bytes a second.
    mutating func next(_ rate: Int64) -> Turn? {
        if leaving > 0 { queues[turn].waiting -= leaving }
        leaving = 0
        // The first after the link that had the last turn, and whether there is another.
        var following: Int?
        var isAlone = true
        for step in 0..<queues.count where isAlone {
            let slot = (turn + 1 + step) % queues.count
            guard !queues[slot].isEmpty else { continue }
            isAlone = following == nil
            following = following ?? slot
        }
        guard let following, var frame = queues[following].next() else { return nil }
        turn = following
        let most =
            isAlone ? max(Self.packetBytes, Int(rate) / Self.turnsInSecond) : Self.packetBytes
        leaving = min(frame.size, most)
        frame.size -= leaving
        queues[turn].begun = frame.size > 0 ? frame : nil
        return Turn(action: frame.action, bytes: leaving, isLast: frame.size == 0)
    }

    /// Takes all that waits for a connection, in the order in which it would leave.
    mutating func take(_ connection: ConnectionNumber) -> [Frame] {
        var frames: [Frame] = []
        for slot in queues.indices { frames += queues[slot].take(connection) }
        return frames
    }
}
