import Testing

@testable import MeshWire

private enum Outcome: Equatable {
    case incomplete(needed: Int)
    case frame(length: Int, FrameKind)
    case refused(WireError)
}

private func readPrefix(_ bytes: [UInt8], at offset: Int = 0) -> Outcome {
    var needed = -1
    do throws(WireError) {
        let prefix = try FramePrefix.read(bytes.span, at: offset, needed: &needed)
        guard let prefix else { return .incomplete(needed: needed) }
        return .frame(length: prefix.length, prefix.kind)
    } catch {
        return .refused(error)
    }
}

/// A frame of this length whose bytes after the prefix are zero.
private func frame(length: Int, kind: UInt8) -> [UInt8] {
    var bytes = (0..<4).map { UInt8(truncatingIfNeeded: length >> ($0 * 8)) } + [kind, 0, 48, 0]
    while bytes.count < min(length, 100_000) { bytes.append(0) }
    return bytes
}

/// A `.routed` frame with these fields and `payloadCount` bytes of payload.
private func routed(
    destinations: Int, nameLength: Int, nameCount: Int, payloadCount: Int
) -> [UInt8] {
    var queue = ByteQueue()
    let length =
        Frame.routedHeaderSize + max(destinations, 0) * Frame.destinationSize + nameCount
        + payloadCount
    queue.append(integer: UInt32(length))
    for byte: UInt8 in [FrameKind.routed.rawValue, 2, 48, RoutedBody.user.rawValue] {
        queue.append(byte)
    }
    queue.append(integer: UInt64(0x1111_2222_3333_4444))
    queue.append(integer: UInt64(destinations) << 48 | 0xABCD_EF01_2345)
    queue.append(integer: UInt32(0xCAFE))
    queue.append(integer: UInt16(nameLength))
    queue.append(integer: UInt16(3))
    for index in 0..<destinations {
        queue.append(integer: UInt64(index + 1))
        queue.append(integer: UInt32(index + 100))
        queue.append(integer: UInt32(index + 200))
    }
    queue.append([UInt8](repeating: 0x6E, count: nameCount))
    queue.append([UInt8](repeating: 0x70, count: payloadCount))
    return queue.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
}

private func readHeader(_ bytes: [UInt8], at offset: Int = 0) throws(WireError) -> RoutedHeader? {
    var needed = 0
    guard let prefix = try FramePrefix.read(bytes.span, at: offset, needed: &needed) else {
        return nil
    }
    return try RoutedHeader.read(bytes.span, at: offset, prefix)
}

@Suite struct `Frame prefix` {
    @Test func `every truncation asks for more, and for no more than the frame`() {
        let whole = frame(length: 60, kind: 2)
        for count in 0..<60 {
            let outcome = readPrefix(Array(whole[..<count]))
            #expect(outcome == .incomplete(needed: count < 8 ? 8 : 60))
        }
        #expect(readPrefix(whole) == .frame(length: 60, .routed))
        #expect(readPrefix(whole + [1, 2, 3]) == .frame(length: 60, .routed))
    }

    @Test func `frames follow each other at any offset`() {
        let bytes = [9, 9, 9] + frame(length: 9, kind: 1) + frame(length: 25, kind: 3)
        #expect(readPrefix(bytes, at: 3) == .frame(length: 9, .link))
        #expect(readPrefix(bytes, at: 12) == .frame(length: 25, .arc))
        #expect(readPrefix(bytes, at: 37) == .incomplete(needed: 8))
    }

    @Test(arguments: [0, 1, 7]) func `a length below the prefix is refused`(length: Int) {
        #expect(
            readPrefix(frame(length: 8, kind: 1).replacingLength(length))
                == .refused(.frameTooShort(length)))
    }

    @Test(arguments: [(1, 9), (2, 48), (3, 25)])
    func `a frame too short for its kind is refused before it is awaited`(kind: Int, least: Int) {
        let short = frame(length: 8, kind: UInt8(kind)).replacingLength(least - 1)
        #expect(readPrefix(short) == .refused(.frameTooShort(least - 1)))
        let right = frame(length: 8, kind: UInt8(kind)).replacingLength(least)
        #expect(readPrefix(right) == .incomplete(needed: least))
    }

    @Test func `a frame over the bound is refused before it is awaited`() {
        let bytes = frame(length: 8, kind: 1)
        let bound = Frame.lengthMax
        #expect(readPrefix(bytes.replacingLength(bound)) == .incomplete(needed: bound))
        #expect(readPrefix(bytes.replacingLength(bound + 1)) == .refused(.frameTooLong(bound + 1)))
        #expect(
            readPrefix(bytes.replacingLength(0xFFFF_FFFF)) == .refused(.frameTooLong(0xFFFF_FFFF)))
    }

    @Test func `other kinds are refused`() {
        for kind in UInt8.min ... .max where kind == 0 || kind > 3 {
            #expect(readPrefix(frame(length: 64, kind: kind)) == .refused(.unknownFrameKind(kind)))
        }
    }

    @Test func `random bytes are refused, or wait for more, or give a frame within them`() {
        var random = Generator(state: 8)
        for _ in 0..<50_000 {
            var bytes = random.bytes(random.next(below: 80))
            // Plausible lengths and kinds get further.
            if bytes.count >= 8 {
                bytes[2] = 0
                bytes[3] = 0
                bytes[1] &= 1
                bytes[4] &= 3
            }
            switch readPrefix(bytes) {
            case .incomplete(let needed): #expect(needed > bytes.count)
            case .frame(let length, let kind):
                #expect(length <= bytes.count)
                if kind == .routed, let header = try? readHeader(bytes) {
                    #expect(header.payloadOffset <= length)
                }
            case .refused: break
            }
        }
    }
}

@Suite struct `Routed header` {
    @Test func `fields lie where the table says`() throws {
        let bytes = routed(destinations: 3, nameLength: 5, nameCount: 5, payloadCount: 7)
        let header = try #require(try readHeader(bytes))
        #expect(header.origin == NodeID(0x1111_2222_3333_4444))
        #expect(header.key == Key(0xABCD_EF01_2345))
        #expect(header.destinationCount == 3)
        #expect(header.number == 0xCAFE)
        #expect(header.nameLength == 5)
        #expect(header.hopsTaken == 3)
        #expect(header.nameOffset == 32 + 48)
        #expect(header.payloadOffset == 32 + 48 + 5)
        let last = Destination.read(bytes.span, frame: 0, index: 2)
        #expect(last.id == NodeID(3) && last.sequence == 102 && last.potential == 202)
    }

    @Test func `an acknowledgement stands between the destination and the name`() throws {
        var bytes = routed(destinations: 1, nameLength: 2, nameCount: 12, payloadCount: 3)
        bytes[5] |= FrameFlags.acknowledges.rawValue
        bytes.replaceSubrange(48..<56, with: [1, 0, 0, 0, 2, 0, 0, 0])
        let header = try #require(try readHeader(bytes))
        #expect(header.restOffset == 48 && header.nameOffset == 56 && header.payloadOffset == 58)
        let told = Acknowledgement.read(bytes.span, frame: 0, header)
        #expect(told == Acknowledgement(cumulative: 1, missing: 2))
    }

    @Test func `an acknowledgement for several destinations, or cut short, is refused`() {
        for (destinations, size) in [(2, 20), (1, 7)] {
            var bytes = routed(
                destinations: destinations, nameLength: 0, nameCount: 0, payloadCount: size)
            bytes[5] |= FrameFlags.acknowledges.rawValue
            #expect(throws: WireError.lengthsDisagree) { try readHeader(bytes) }
        }
    }

    @Test func `the header is read at any offset`() throws {
        let bytes =
            [1, 2, 3] + routed(destinations: 1, nameLength: 2, nameCount: 2, payloadCount: 0)
        let header = try #require(try readHeader(bytes, at: 3))
        #expect(header.nameOffset == 48 && header.payloadOffset == 50)
        let only = Destination.read(bytes.span, frame: 3, index: 0)
        #expect(only.id == NodeID(1))
    }

    /// Whether the label in front of a payload of these bytes is understood.
    private func isKnown(_ label: [UInt8]) throws -> Bool {
        let plain = routed(destinations: 1, nameLength: 2, nameCount: 2, payloadCount: 0)
        let bytes = (plain + label).replacingLength(plain.count + label.count)
        var needed = 0
        let prefix = try #require(try FramePrefix.read(bytes.span, at: 0, needed: &needed))
        let header = try RoutedHeader.read(bytes.span, at: 0, prefix)
        return header.hasKnownLabel(bytes.span, at: 0, prefix)
    }

    @Test func `a label is understood if it has known parts alone and lies within the frame`()
        throws
    {
        for label: [UInt8] in [[3, 0, 1], [5, 0, 2, 7, 7, 9], [4, 0, 95, 7], [3, 0, 0]] {
            #expect(try isKnown(label), "\(label)")
        }
        let odd: [[UInt8]] = [
            [], [3], [3, 0], [0, 0, 1], [2, 0, 1], [4, 0, 1], [255, 255, 1], [3, 0, 32],
            [3, 0, 128], [3, 0, 255], [3, 1, 1],
        ]
        for label in odd { #expect(try !isKnown(label), "\(label)") }
    }

    @Test func `a frame without destinations is refused`() {
        #expect(throws: WireError.lengthsDisagree) {
            try readHeader(routed(destinations: 0, nameLength: 0, nameCount: 0, payloadCount: 40))
        }
    }

    @Test func `a name past the frame's end is refused`() throws {
        #expect(throws: WireError.lengthsDisagree) {
            try readHeader(routed(destinations: 1, nameLength: 11, nameCount: 10, payloadCount: 0))
        }
        #expect(throws: WireError.lengthsDisagree) {
            try readHeader(
                routed(destinations: 1, nameLength: 65_535, nameCount: 10, payloadCount: 9))
        }
        let fits = try readHeader(
            routed(destinations: 1, nameLength: 10, nameCount: 10, payloadCount: 0))
        #expect(fits?.payloadOffset == 58)
    }

    /// Bytes of the next frame must not become this one's.
    @Test func `more destinations than the frame holds are refused`() {
        var bytes = routed(destinations: 2, nameLength: 0, nameCount: 0, payloadCount: 15)
        bytes[22] = 3
        bytes += [UInt8](repeating: 0, count: 100)
        #expect(throws: WireError.lengthsDisagree) { try readHeader(bytes) }
        bytes[22] = 0xFF
        bytes[23] = 0xFF
        #expect(throws: WireError.lengthsDisagree) { try readHeader(bytes) }
    }
}

extension [UInt8] {
    fileprivate func replacingLength(_ length: Int) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: length >> ($0 * 8)) } + self[4...]
    }
}
