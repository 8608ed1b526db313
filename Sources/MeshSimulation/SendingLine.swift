import MeshCore

/// The frames that a host has to send over a line that takes time, by what goes first, as
/// `SendQueue` has it. Of bulk each connection has its turn, as the kernel's queues have.
struct SendingLine {
    struct Frame {
        var action: Action
        var link: LinkIndex
        var size: Int
    }

    private var control = FIFO<Frame>()
    private var messages = FIFO<Frame>()
    /// By the slot of their link; the turn is that of the first one from `turn` on that is not empty.
    private var bulk: [FIFO<Frame>] = []
    private var turn = 0
    /// Bytes that wait or are leaving, by the slot of their link.
    private var waiting: [Int] = []
    /// The node knows, or is about to, that something waits for the link.
    private var isTold: [Bool] = []
    /// It is leaving.
    private(set) var current: Frame?

    /// Bytes that wait for a link. When there are none, the node is told of the next ones anew.
    mutating func tell(of link: LinkIndex) -> Int {
        guard link.slot < waiting.count else { return 0 }
        isTold[link.slot] = waiting[link.slot] > 0
        return waiting[link.slot]
    }

    /// Returns whether the node is to be told that something waits.
    mutating func append(_ frame: Frame, _ sendClass: SendClass) -> Bool {
        let slot = frame.link.slot
        while waiting.count <= slot {
            waiting.append(0)
            isTold.append(false)
            bulk.append(FIFO())
        }
        waiting[slot] += frame.size
        switch sendClass {
        case .control: control.append(frame)
        case .message, .volatile: messages.append(frame)
        case .bulk: bulk[slot].append(frame)
        }
        defer { isTold[slot] = true }
        return !isTold[slot]
    }

    /// The current frame has left; the next one follows.
    mutating func next() -> Frame? {
        if let current { waiting[current.link.slot] -= current.size }
        current = control.popFirst() ?? messages.popFirst() ?? nextBulk()
        return current
    }

    private mutating func nextBulk() -> Frame? {
        for _ in bulk.indices {
            turn = turn + 1 < bulk.count ? turn + 1 : 0
            if let frame = bulk[turn].popFirst() { return frame }
        }
        return nil
    }

    /// Takes all that waits for a connection, in the order in which it would leave.
    mutating func take(_ connection: ConnectionNumber) -> [Frame] {
        func isOf(_ frame: Frame) -> Bool { frame.action.connection == connection }
        var frames = control.waiting.filter(isOf) + messages.waiting.filter(isOf)
        control.removeAll(where: isOf)
        messages.removeAll(where: isOf)
        for slot in bulk.indices {
            frames += bulk[slot].waiting.filter(isOf)
            bulk[slot].removeAll(where: isOf)
        }
        for frame in frames { waiting[frame.link.slot] -= frame.size }
        return frames
    }
}
