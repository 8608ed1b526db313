import MeshWire

// Pushes about requests, for clients that read RESP.

extension ByteQueue {
    /// `request`, the request, what it is for, the service, the payload.
    mutating func appendRequest(
        _ id: RequestID, _ service: [UInt8], _ payload: [UInt8], isRESP3: Bool
    ) {
        appendPush(5, isRESP3: isRESP3)
        append("$7\r\nrequest\r\n")
        appendBulk(id.text)
        append("$7\r\nservice\r\n")
        appendBulk(service)
        appendBulk(payload)
    }

    /// `cancel`, the request, the reason.
    mutating func appendCancel(_ id: RequestID, _ reason: CancelReason, isRESP3: Bool) {
        appendPush(3, isRESP3: isRESP3)
        append("$6\r\ncancel\r\n")
        appendBulk(id.text)
        switch reason {
        case .timeout: append("$7\r\ntimeout\r\n")
        case .gone: append("$4\r\ngone\r\n")
        }
    }

    /// `reply`, the tag, the status, the payload.
    mutating func appendReply(_ tag: [UInt8], _ outcome: RequestOutcome, isRESP3: Bool) {
        appendPush(4, isRESP3: isRESP3)
        append("$5\r\nreply\r\n")
        appendBulk(tag)
        appendBulk(outcome.word)
        switch outcome {
        case .answered(let payload), .rejected(let payload), .failed(let payload):
            appendBulk(payload)
        case .busy, .noService, .died, .timedOut, .cancelled: appendBulk("")
        }
    }
}

extension RequestOutcome {
    fileprivate var word: StaticString {
        switch self {
        case .answered: "OK"
        case .rejected: "REJECTED"
        case .failed: "FAILED"
        case .busy: "BUSY"
        case .noService: "NOSERVICE"
        case .died: "DIED"
        case .timedOut: "TIMEOUT"
        case .cancelled: "CANCELLED"
        }
    }
}
