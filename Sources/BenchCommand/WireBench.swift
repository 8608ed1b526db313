import MeshWire

/// A message's head written and read: what every hop pays.
func benchWire(_ bench: inout Bench) {
    let count = 1_000_000
    let hasher = KeyHasher(cluster: "bench")
    let name = Array("user:12345678".utf8)
    bench.measure("wire/hash of 13 bytes", operations: count, isHotPath: true) {
        for _ in 0..<count { keep(hasher.key(.user, name.span, 0, name.count).rawValue) }
    }

    // Frames of 1 and of 16 destinations, a name of 13 bytes and a payload of 128.
    for destinationCount in [1, 16] {
        let payload = [UInt8](repeating: 0x70, count: 128)
        let suffix = destinationCount == 1 ? "to 1" : "to \(destinationCount)"
        var queue = ByteQueue()
        bench.measure("wire/encode \(suffix)", operations: count, isHotPath: true) {
            for number in 0..<count {
                if number % 64 == 0 { queue.removeAll() }
                writeFrame(
                    to: &queue, destinationCount: destinationCount, number, name.span, payload.span)
            }
        }
        queue.removeAll()
        for number in 0..<64 {
            writeFrame(
                to: &queue, destinationCount: destinationCount, number, name.span, payload.span)
        }
        let bytes = queue.array
        bench.measure("wire/decode \(suffix)", operations: count, isHotPath: true) {
            for _ in 0..<count / 64 { keep(readFrames(bytes.span)) }
        }
    }
}

@inline(__always)
private func writeFrame(
    to queue: inout ByteQueue, destinationCount: Int, _ number: Int, _ name: Span<UInt8>,
    _ payload: Span<UInt8>
) {
    let length =
        Frame.routedHeaderSize + destinationCount * Frame.destinationSize + name.count
        + payload.count
    queue.appendRoutedHeader(
        length: length, [], hopsLeft: Frame.hopLimit, body: RoutedBody.user.rawValue,
        origin: NodeID(1), key: Key(UInt64(number)), destinationCount: destinationCount, number: 7,
        nameLength: name.count, hopsTaken: 0)
    for index in 0..<destinationCount {
        queue.append(
            Destination(
                id: NodeID(UInt64(index)), sequence: UInt32(truncatingIfNeeded: number),
                potential: 9))
    }
    queue.append(name, 0, name.count)
    queue.append(payload, 0, payload.count)
}

/// Reads all frames, their headers and destinations. Returns a sum that depends on all of them.
private func readFrames(_ bytes: Span<UInt8>) -> UInt64 {
    var sum: UInt64 = 0
    var offset = 0
    var needed = 0
    do throws(WireError) {
        while let prefix = try FramePrefix.read(bytes, at: offset, needed: &needed) {
            let header = try RoutedHeader.read(bytes, at: offset, prefix)
            for index in 0..<header.destinationCount {
                let destination = Destination.read(bytes, frame: offset, index: index)
                sum &+= destination.id.rawValue &+ UInt64(destination.sequence)
            }
            sum &+= header.key.rawValue &+ UInt64(header.payloadOffset)
            offset += prefix.length
        }
    } catch {
        preconditionFailure("\(error)")
    }
    return sum
}
