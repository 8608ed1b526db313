import MeshWire

/// The output of a connection: three queues of whole frames, control ahead of messages, and bulk
/// behind them.
///
/// A socket takes bytes and not frames, so a send may end inside a message frame. The rest of that
/// frame must leave before any control does:
///
///     messages:  [ interrupted │ whole frames … ]
///     control:   [ (rest of a frame) whole frames … ]
///     bulk:      [ whole frames … ]
///     on the wire: interrupted, control, messages
///
/// A frame of bulk joins the messages when few of them wait, so that a message that comes waits for
/// little; and now and then when many do, so that bulk goes on all the same.
///
/// `0 ≤ interrupted ≤ messages.count`.
struct SendQueue: ~Copyable {
    var control = ByteQueue()
    private(set) var messages = ByteQueue()
    /// Bytes of the first message frame that have not left, while its beginning has.
    private(set) var interrupted = 0
    private(set) var bulk = ByteQueue()
    /// Bytes of messages that have left since a frame of bulk last joined them.
    private var passed = 0

    /// Bulk joins as long as fewer bytes of messages wait: 52 ms at 10 Mbit/s.
    static let fewBytes = 64 * 1024
    /// Bulk also joins whenever so many bytes of messages have passed it.
    static let passedMax = 256 * 1024

    var count: Int { control.count + messages.count + bulk.count }
    var isEmpty: Bool { control.isEmpty && messages.isEmpty && bulk.isEmpty }

    /// All that could leave has left, and bulk may join.
    var hasBulkAlone: Bool { control.isEmpty && messages.isEmpty && !bulk.isEmpty }

    /// Appends one frame, or several whole ones, of which `head` is the beginning.
    @inline(__always)
    mutating func append(
        _ heads: borrowing ByteQueue, _ head: Slice, _ input: Span<UInt8>, _ body: Slice,
        isControl: Bool
    ) {
        if isControl {
            if head.count > 0 {
                heads.withSpan { control.append($0, Int(head.start), Int(head.count)) }
            }
            control.append(input, Int(body.start), Int(body.count))
        } else {
            if head.count > 0 {
                heads.withSpan { messages.append($0, Int(head.start), Int(head.count)) }
            }
            messages.append(input, Int(body.start), Int(body.count))
        }
    }

    /// Appends one frame of bulk, or several whole ones.
    mutating func appendBulk(
        _ heads: borrowing ByteQueue, _ head: Slice, _ input: Span<UInt8>, _ body: Slice
    ) {
        heads.withSpan { bulk.append($0, Int(head.start), Int(head.count)) }
        bulk.append(input, Int(body.start), Int(body.count))
    }

    /// Lets bulk join the messages, as far as it may.
    mutating func admitBulk() {
        while !bulk.isEmpty, messages.count < Self.fewBytes || passed >= Self.passedMax {
            let length = bulk.withSpan { Int($0.load(UInt32.self, at: 0)) }
            precondition(length >= Frame.prefixSize, "a frame of \(length) bytes was queued")
            bulk.withSpan { messages.append($0, 0, length) }
            bulk.drop(length)
            passed = 0
        }
    }

    /// Offers to the socket once what may leave now.
    mutating func flush(to stream: Stream) -> Stream.Sent {
        if !bulk.isEmpty { admitBulk() }
        let sent: Stream.Sent
        if control.isEmpty {
            sent = unsafe messages.withBytes { unsafe stream.write($0) }
        } else if messages.isEmpty {
            sent = unsafe control.withBytes { unsafe stream.write($0) }
        } else {
            let first = interrupted
            sent = unsafe messages.withBytes { messages in
                unsafe control.withBytes { control in
                    unsafe stream.write(
                        UnsafeRawBufferPointer(rebasing: messages[..<first]), control,
                        UnsafeRawBufferPointer(rebasing: messages[first...]))
                }
            }
        }
        if sent.count > 0 { advance(sent.count) }
        return sent
    }

    /// Forgets the first `size` bytes in the order of the wire, and finds where the frame that was
    /// cut ends.
    mutating func advance(_ size: Int) {
        precondition(size >= 0 && size <= count)
        if !bulk.isEmpty { passed += size }
        var left = size
        let first = min(left, interrupted)
        messages.drop(first)
        interrupted -= first
        left -= first
        if interrupted > 0 { return }
        let second = min(left, control.count)
        control.drop(second)
        left -= second
        if left == 0 { return }
        if left < messages.count { interrupted = remainder(after: left) }
        messages.drop(left)
    }

    /// How many bytes are missing at `size` to the end of a frame; the queue begins with a frame.
    private func remainder(after size: Int) -> Int {
        messages.withSpan { bytes in
            var border = 0
            while border < size {
                let length = Int(bytes.load(UInt32.self, at: border))
                precondition(length >= Frame.prefixSize, "a frame of \(length) bytes was queued")
                border += length
            }
            return border - size
        }
    }

    /// Gives back the memory of queues that have been idle since the last call.
    mutating func trim() {
        control.trim()
        messages.trim()
        bulk.trim()
    }
}
