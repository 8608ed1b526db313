import MeshWire

/// Messages that wait for one client, as whole frames of RESP2, beside its output.
///
///     bytes:    │ frame │ (gone) │ frame │ …
///     entries:    number, number + 1, …          each: length, group, message, gone or not
///
/// Only clients that are behind, or that have a session, have anything in it. Frames are numbered
/// from 1 on in the order in which they came. One that is taken out of the middle stays in the
/// bytes until it is at the front, or until such gaps take more room than the frames that wait.
struct Backlog: ~Copyable {
    private struct Entry {
        var length: Int32
        var isGone: Bool
        var group: UInt64
        var id: MessageID
    }

    private var bytes = ByteQueue()
    private var entries: [Entry] = []
    /// The entries before this one have been taken.
    private var head = 0
    private var goneBytes = 0
    /// The newest waiting frame of each group; kept only by `appendLatest`.
    private var newest: [UInt64: UInt64] = [:]

    /// The number of the frame at the front, or of the next one that will come.
    private(set) var firstNumber: UInt64 = 1
    /// Frames that wait.
    private(set) var count = 0
    /// Their bytes.
    var byteCount: Int { bytes.count - goneBytes }
    /// Bytes and bookkeeping: what the bound of a queue is compared with.
    var cost: Int { byteCount + count * Self.entryCost }

    /// What a frame costs beside its bytes.
    static let entryCost = 32

    var isEmpty: Bool { count == 0 }

    var nextNumber: UInt64 { firstNumber + UInt64(entries.count - head) }

    /// Appends a frame, an array of RESP2.
    mutating func append(_ frame: borrowing ByteQueue, _ label: FrameLabel) {
        frame.withSpan { append($0, 0, $0.count, label) }
    }

    mutating func append(_ span: Span<UInt8>, _ start: Int, _ length: Int, _ label: FrameLabel) {
        bytes.append(span, start, length)
        entries.append(
            Entry(length: Int32(length), isGone: false, group: label.group, id: label.id))
        count += 1
    }

    /// Appends a frame that takes the place of the one of its group that waits; true when there was
    /// one.
    mutating func appendLatest(_ frame: borrowing ByteQueue, _ label: FrameLabel) -> Bool {
        var isReplaced = false
        if let number = newest[label.group], number >= firstNumber {
            let index = head + Int(number - firstNumber)
            if !entries[index].isGone {
                entries[index].isGone = true
                goneBytes += Int(entries[index].length)
                count -= 1
                isReplaced = true
            }
        }
        newest[label.group] = nextNumber
        append(frame, label)
        if isReplaced { settle() }
        return isReplaced
    }

    /// Takes a message out; false when it does not wait. A walk from the front, where what is looked
    /// for is when both sides keep the same order.
    mutating func remove(_ id: MessageID) -> Bool {
        for index in head..<entries.count
        where !entries[index].isGone && entries[index].id == id {
            entries[index].isGone = true
            goneBytes += Int(entries[index].length)
            count -= 1
            settle()
            return true
        }
        return false
    }

    /// Shows the frame at the front to `body` and takes it out. There must be one.
    mutating func takeFirst<Result>(_ body: (Span<UInt8>, Int) -> Result) -> Result {
        precondition(count > 0 && !entries[head].isGone)
        let length = Int(entries[head].length)
        let result = bytes.withSpan { body($0, length) }
        bytes.drop(length)
        head += 1
        firstNumber += 1
        count -= 1
        settle()
        return result
    }

    /// The length of the frame at the front; 0 when nothing waits.
    var firstLength: Int { count > 0 ? Int(entries[head].length) : 0 }
    /// Its group; 0 when nothing waits.
    var firstGroup: UInt64 { count > 0 ? entries[head].group : 0 }
    /// What it is a copy of.
    var firstID: MessageID { count > 0 ? entries[head].id : .none }

    mutating func removeAll() {
        firstNumber = nextNumber
        bytes.drop(bytes.count, retaining: 0)
        entries = []
        newest = [:]
        head = 0
        count = 0
        goneBytes = 0
    }

    /// Gives memory back that has not been needed for a while.
    mutating func trim() {
        bytes.trim()
        if count == 0, entries.capacity > 0 {
            entries = []
            newest = [:]
            head = 0
        }
    }

    /// Keeps the front a frame that waits, and the rest of the bytes worth their room.
    private mutating func settle() {
        while head < entries.count, entries[head].isGone {
            let length = Int(entries[head].length)
            bytes.drop(length)
            goneBytes -= length
            head += 1
            firstNumber += 1
        }
        if head > 1_024, head * 2 > entries.count {
            entries.removeFirst(head)
            head = 0
        }
        if goneBytes > byteCount + 65_536 { compact() }
        // Groups whose frame has left are forgotten with the last of them, or when they are many.
        if count == 0 {
            newest.removeAll(keepingCapacity: true)
        } else if newest.count > 2 * count + 1_024 {
            newest.removeAll(keepingCapacity: true)
            for (offset, entry) in entries[head...].enumerated() where !entry.isGone {
                newest[entry.group] = firstNumber + UInt64(offset)
            }
        }
    }

    private mutating func compact() {
        var fresh = ByteQueue()
        var kept: [Entry] = []
        kept.reserveCapacity(count)
        var offset = 0
        let number = nextNumber
        newest.removeAll(keepingCapacity: true)
        let first = number - UInt64(count)
        for entry in entries[head...] {
            let length = Int(entry.length)
            if !entry.isGone {
                bytes.withSpan { fresh.append($0, offset, length) }
                newest[entry.group] = first + UInt64(kept.count)
                kept.append(entry)
            }
            offset += length
        }
        swap(&bytes, &fresh)
        entries = kept
        head = 0
        firstNumber = first
        goneBytes = 0
    }
}
