import MeshWire

// Pushes about requests, for clients that read RESP.

extension ByteQueue {
    /// `request`, the request, the kind of what it is for, its name, the payload.
    mutating func appendRequest(
        _ id: RequestID, _ target: RequestTarget, _ payload: [UInt8], isRESP3: Bool
    ) {
        appendPush(5, isRESP3: isRESP3)
        append("$7\r\nrequest\r\n")
        appendBulk(id.text)
        appendBulk(target.kind.word)
        appendBulk(target.name)
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
        case .slow: append("$4\r\nslow\r\n")
        }
    }

    /// `reply`, the tag, the status, the payload; of a request to all the answers.
    mutating func appendReply(
        _ tag: [UInt8], _ outcome: RequestOutcome, _ answers: [RequestAnswer]?, isRESP3: Bool
    ) {
        appendPush(4, isRESP3: isRESP3)
        append("$5\r\nreply\r\n")
        appendBulk(tag)
        appendBulk(outcome.word)
        if let answers { append(answers) } else { appendBulk(outcome.payload) }
    }

    /// Service, node, providers, given, waiting, served, failed, and microseconds in the mean.
    mutating func append(_ rows: [ServiceRow]) {
        appendArray(rows.count)
        for row in rows {
            appendArray(8)
            appendBulk(row.service)
            appendBulk(row.nodeName.isEmpty ? Array(row.node.description.utf8) : row.nodeName)
            for count in [row.providers, row.given, row.waiting] { appendInteger(Int(count)) }
            for count in [row.served, row.failed, row.meanMicroseconds] {
                appendInteger(Int(clamping: count))
            }
        }
    }

    /// Of each answer the sid or the node, the status and the payload.
    mutating func append(_ answers: [RequestAnswer]) {
        appendArray(answers.count)
        for answer in answers {
            appendArray(3)
            let who = answer.who
            appendBulk(who.number == 0 ? who.node.description : who.text)
            appendBulk(answer.outcome.word)
            appendBulk(answer.outcome.payload)
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
        case .slow: "SLOW"
        case .unsupported: "UNSUPPORTED"
        case .tooMuch: "LIMIT"
        }
    }
}

extension RequestTarget.Kind {
    var word: StaticString {
        switch self {
        case .service: "service"
        case .user: "user"
        case .room: "room"
        }
    }
}
