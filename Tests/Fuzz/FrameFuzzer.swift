import MeshWire

/// The bytes that links send: `FramePrefix`, then the headers of routed and arc frames, as the reactor and
/// `Node` read them from a stream. Nothing may trap, loop, or name bytes outside its frame.
func fuzzFrames(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let buffer = UnsafeBufferPointer(start: start, count: count)
    let bytes = unsafe Span(_unsafeElements: buffer)
    let whole = read(bytes)
    // Whatever has been decided about a frame does not change when fewer bytes follow it.
    for frame in whole.prefix(8) {
        let cut = unsafe Span(
            _unsafeElements: UnsafeBufferPointer(start: start, count: frame.end))
        precondition(read(cut).last == frame, "another frame when it stands last")
    }
    return 0
}

/// A frame that was taken from the stream.
struct Taken: Equatable {
    var end: Int
    var summary: UInt64
}

/// Takes frames until the bytes end or are refused.
func read(_ bytes: Span<UInt8>) -> [Taken] {
    var taken: [Taken] = []
    var offset = 0
    while offset <= bytes.count {
        var needed = 0
        do throws(WireError) {
            guard let prefix = try FramePrefix.read(bytes, at: offset, needed: &needed) else {
                let available = bytes.count - offset
                precondition(needed > available, "asks for \(needed) and has \(available)")
                precondition(needed <= Frame.lengthMax)
                break
            }
            precondition(prefix.length >= Frame.prefixSize, "a step of \(prefix.length)")
            precondition(offset + prefix.length <= bytes.count)
            taken.append(
                Taken(
                    end: offset + prefix.length,
                    summary: try summary(of: prefix, at: offset, bytes)))
            offset += prefix.length
        } catch {
            precondition(!error.description.isEmpty)
            break
        }
    }
    return taken
}

/// Touches all that a frame's header names, and returns something that depends on all of it.
func summary(
    of prefix: FramePrefix, at offset: Int, _ bytes: Span<UInt8>
) throws(WireError) -> UInt64 {
    var sum = UInt64(prefix.kind.rawValue)
    let end = offset + prefix.length
    switch prefix.kind {
    case .link:
        _ = try Message.decode(bytes, from: offset + Frame.prefixSize, to: end)
    case .arc:
        sum &+= bytes.load(UInt64.self, at: offset + 8) ^ bytes.load(UInt64.self, at: offset + 16)
        _ = try Message.decode(bytes, from: offset + Frame.arcHeaderSize, to: end)
    case .routed:
        let header = try RoutedHeader.read(bytes, at: offset, prefix)
        precondition(header.destinationCount > 0)
        let acknowledges = prefix.flags.contains(.acknowledges)
        precondition(!acknowledges || header.destinationCount == 1)
        precondition(
            header.restOffset
                == Frame.routedHeaderSize + header.destinationCount * Frame.destinationSize)
        precondition(
            header.nameOffset
                == header.restOffset + (acknowledges ? Frame.acknowledgementSize : 0))
        precondition(header.payloadOffset == header.nameOffset + header.nameLength)
        precondition(header.payloadOffset <= prefix.length)
        for index in 0..<header.destinationCount {
            sum &+= Destination.read(bytes, frame: offset, index: index).id.rawValue
        }
        for at in (offset + header.nameOffset)..<end { sum = sum &* 31 &+ UInt64(bytes[at]) }
        if RoutedBody(rawValue: prefix.body) == .control, header.nameLength == 0 {
            _ = try Message.decode(bytes, from: offset + header.payloadOffset, to: end)
        }
    }
    return sum
}
