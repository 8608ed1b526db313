import MeshWire

/// The control messages: what is decoded can be encoded, and is then the same message again.
func fuzzMessages(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let buffer = UnsafeBufferPointer(start: start, count: count)
    let bytes = unsafe Span(_unsafeElements: buffer)
    guard let message = try? Message.decode(bytes, from: 0, to: count) else { return 0 }
    var encoded = ByteQueue()
    switch message {
    case .query(let query, let isTrace, let subject):
        encoded.append(query: query, isTrace: isTrace, subject: subject, bytes)
    case .answer(let query, let answer):
        encoded.append(answer: query, isTrace: false, answer, bytes)
    case .traceAnswer(let query, let path):
        encoded.append(answer: query, isTrace: true, path, bytes)
    default:
        encoded.append(message)
    }
    encoded.withSpan { again in
        do throws(WireError) {
            let decoded = try Message.decode(again, from: 0, to: again.count)
            precondition(decoded == message, "decoded \(message), then \(decoded)")
        } catch {
            preconditionFailure("\(message) was encoded as what \(error)")
        }
        // Every shorter form of it is refused: nothing is read that is not there.
        if again.count < 256 {
            for end in 0..<again.count { _ = try? Message.decode(again, from: 0, to: end) }
        }
    }
    return 0
}
