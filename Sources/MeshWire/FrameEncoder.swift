/// The bytes that the forwarding path writes in front of a body that it copies: see the table in `Frame`.
extension ByteQueue {
    /// The eight bytes that every frame starts with.
    @inlinable @inline(__always)
    public mutating func appendPrefix(
        length: Int, _ kind: FrameKind, _ flags: FrameFlags, hopsLeft: UInt8, body: UInt8
    ) {
        let word =
            UInt64(UInt32(truncatingIfNeeded: length)) | UInt64(kind.rawValue) << 32
            | UInt64(flags.rawValue) << 40 | UInt64(hopsLeft) << 48 | UInt64(body) << 56
        append(integer: word)
    }

    /// The header of a `.routed` frame, up to its destinations, for a frame of `length` bytes.
    @inlinable @inline(__always)
    public mutating func appendRoutedHeader(
        length: Int, _ flags: FrameFlags, hopsLeft: UInt8, body: UInt8, origin: NodeID, key: Key,
        destinationCount: Int, number: UInt32, nameLength: Int, hopsTaken: UInt16
    ) {
        let target = unsafe reserve(Frame.routedHeaderSize)
        let prefix =
            UInt64(UInt32(truncatingIfNeeded: length)) | UInt64(FrameKind.routed.rawValue) << 32
            | UInt64(flags.rawValue) << 40 | UInt64(hopsLeft) << 48 | UInt64(body) << 56
        let counted = key.rawValue | UInt64(destinationCount) << 48
        let rest =
            UInt64(number) | UInt64(UInt16(truncatingIfNeeded: nameLength)) << 32
            | UInt64(hopsTaken) << 48
        unsafe target.storeBytes(of: prefix.littleEndian, as: UInt64.self)
        unsafe (target + 8).storeBytes(of: origin.rawValue.littleEndian, as: UInt64.self)
        unsafe (target + 16).storeBytes(of: counted.littleEndian, as: UInt64.self)
        unsafe (target + 24).storeBytes(of: rest.littleEndian, as: UInt64.self)
    }

    @inlinable @inline(__always)
    public mutating func append(_ destination: Destination) {
        let target = unsafe reserve(Frame.destinationSize)
        let word = UInt64(destination.sequence) | UInt64(destination.potential) << 32
        unsafe target.storeBytes(of: destination.id.rawValue.littleEndian, as: UInt64.self)
        unsafe (target + 8).storeBytes(of: word.littleEndian, as: UInt64.self)
    }

    /// The header of an `.arc` frame of `length` bytes. No version so far gives arcs flags or bodies.
    public mutating func appendArcHeader(
        length: Int, _ flags: FrameFlags = [], hopsLeft: UInt8, body: UInt8 = 0, origin: NodeID,
        end: NodeID
    ) {
        appendPrefix(length: length, .arc, flags, hopsLeft: hopsLeft, body: body)
        append(origin)
        append(end)
    }

    /// A whole `.link` frame around one control message. Returns where it stands.
    public mutating func appendLinkFrame(_ message: Message) -> Slice {
        let start = count
        appendPrefix(length: 0, .link, [], hopsLeft: 0, body: 0)
        append(message)
        overwrite(integer: UInt32(truncatingIfNeeded: count - start), at: start)
        return Slice(start: start, count: count - start)
    }

    /// The same for a heartbeat, which most frames of an idle mesh are: written at one go.
    @inlinable @inline(__always)
    public mutating func appendLinkFrame(_ heartbeat: Heartbeat) -> Slice {
        let start = count
        let target = unsafe reserve(Heartbeat.frameSize)
        let prefix = UInt64(Heartbeat.frameSize) | UInt64(FrameKind.link.rawValue) << 32
        unsafe target.storeBytes(of: prefix.littleEndian, as: UInt64.self)
        unsafe (target + 8).storeBytes(of: Message.Number.heartbeat.rawValue, as: UInt8.self)
        unsafe (target + 9).storeBytes(of: heartbeat.digest.littleEndian, as: UInt64.self)
        unsafe (target + 17).storeBytes(of: heartbeat.sentAt.littleEndian, as: UInt32.self)
        unsafe (target + 21).storeBytes(of: heartbeat.echo.littleEndian, as: UInt32.self)
        unsafe (target + 25).storeBytes(of: heartbeat.echoDelay.littleEndian, as: UInt32.self)
        return Slice(start: start, count: Heartbeat.frameSize)
    }
}
