import MeshCore
import MeshWire

// Requests and services: MESH.REQUEST, MESH.SERVE and those that answer.

extension Gateway {
    /// MESH.REQUEST.
    mutating func request(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        let kinds = RequestTarget.Kind.allCases
        guard let kind = kinds.first(where: { equals(1, $0.word, input) }) else {
            return refuse(client, .usage(.request))
        }
        guard isTargetName(2, kind, client) else { return .handled }
        var options = RequestOptions()
        var hasTimeout = false
        var index = 4
        while index < arguments.count {
            let hasValue = index + 1 < arguments.count
            if equals(index, "wait", input), !options.waits {
                options.waits = true
            } else if equals(index, "retry", input), !options.retries {
                options.retries = true
            } else if equals(index, "all", input), !options.isToAll {
                options.isToAll = true
            } else if equals(index, "timeout", input), hasValue, !hasTimeout {
                let most = RequestOptions.timeoutMillisecondsMax
                guard let value = integer(index + 1, input), (1...most).contains(value) else {
                    return refuse(client, .timeout(millisecondsMax: most))
                }
                options.timeout = .milliseconds(Int64(value))
                hasTimeout = true
                index += 1
            } else if equals(index, "key", input), hasValue, options.keyHash == nil {
                guard let hash = keyHash(index + 1, input) else {
                    return refuse(client, .key(bytesMax: RequestOptions.keyLengthMax))
                }
                options.keyHash = hash
                index += 1
            } else if hasValue, options.tag == nil,
                equals(index, "async", input) || equals(index, "stream", input)
            {
                let most = RequestOptions.tagLengthMax
                guard (1...most).contains(Int(arguments[index + 1].count)) else {
                    return refuse(client, .tag(bytesMax: most))
                }
                options.tag = bytes(index + 1, input)
                options.takesParts = equals(index, "stream", input)
                index += 1
            } else {
                return refuse(client, .usage(.request))
            }
            index += 1
        }
        if options.keyHash != nil, kind != .service { return refuse(client, .keyWithoutService) }
        if options.isToAll, options.retries || options.takesParts || options.keyHash != nil {
            return refuse(client, .allAlone)
        }
        let target = RequestTarget(kind: kind, name: bytes(2, input))
        return answer(client, hub.request(target, bytes(3, input), options, client))
    }

    /// Nil: it is no key.
    private func keyHash(_ index: Int, _ input: Span<UInt8>) -> UInt64? {
        guard (1...RequestOptions.keyLengthMax).contains(Int(arguments[index].count)) else {
            return nil
        }
        return hub.hash(ofKey: bytes(index, input))
    }

    /// MESH.SERVICES.
    mutating func listServices(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard arguments.count <= 2 else { return refuse(client, .usage(.services)) }
        let pattern = arguments.count == 2 ? bytes(1, input) : nil
        return answer(client, hub.askChannels(.service, pattern: pattern, client))
    }

    /// MESH.CANCEL: 1 or 0, before the request's end is told.
    mutating func cancelRequest(_ input: Span<UInt8>, _ client: ClientIndex) {
        let tag = bytes(1, input, countMax: RequestOptions.tagLengthMax + 1)
        guard hub.hasRequest(tagged: tag, client) else { return integer(0, client) }
        integer(1, client)
        hub.cancel(tag: tag, client)
    }

    /// MESH.SERVE.
    mutating func serve(_ input: Span<UInt8>, _ client: ClientIndex) {
        guard isTargetName(1, .service, client) else { return }
        var concurrency = Provider.concurrencyUsual
        if arguments.count > 2 {
            guard arguments.count == 4, equals(2, "concurrency", input) else {
                return fail(client, .request(.usage(.serve)))
            }
            guard let value = integer(3, input), (0...Provider.concurrencyMax).contains(value)
            else { return fail(client, .request(.concurrency(max: Provider.concurrencyMax))) }
            concurrency = value
        }
        hub.answer(client, hub.serve(arguments[1], concurrency, input, client))
        hub.giveWaiting(bytes(1, input), to: client)
    }

    /// MESH.UNSERVE: how many services the client has ended to serve.
    mutating func endServing(_ input: Span<UInt8>, _ client: ClientIndex) {
        guard arguments.count - 1 <= Provider.servicesMax else {
            return fail(client, .syntax(.argumentCount(command: "mesh.unserve")))
        }
        var count = 0
        if arguments.count == 1 {
            while true {
                let subscription = hub.clients[client.slot].lists[first: .service]
                if subscription.isNone { break }
                hub.leave(client, subscription)
                count += 1
            }
        }
        for index in 1..<arguments.count where hub.leave(client, .service, input, arguments[index])
        {
            count += 1
        }
        integer(count, client)
    }

    /// MESH.REPLY: 1 if somebody awaits it, else 0.
    mutating func reply(_ input: Span<UInt8>, _ client: ClientIndex) {
        guard arguments.count == 4 else {
            return settleRequest(.answer, .reply, input, client)
        }
        guard equals(3, "more", input), let id = RequestID(bytes(1, input, countMax: 25)) else {
            return fail(client, .request(.usage(.reply)))
        }
        hub.answer(client, hub.sendPart(id, bytes(2, input), client))
    }

    /// MESH.REPLY, MESH.REJECT and MESH.FAIL: 1 if somebody awaits it, else 0.
    mutating func settleRequest(
        _ status: ReplyStatus, _ usage: ClientRefusal.Usage, _ input: Span<UInt8>,
        _ client: ClientIndex
    ) {
        guard arguments.count <= 3, let id = RequestID(bytes(1, input, countMax: 25)) else {
            return fail(client, .request(.usage(usage)))
        }
        let payload = arguments.count == 3 ? arguments[2] : .empty
        let isAwaited = hub.settleRequest(id, status, payload, input, client)
        integer(isAwaited ? 1 : 0, client)
    }

    private mutating func isTargetName(
        _ index: Int, _ kind: RequestTarget.Kind, _ client: ClientIndex
    ) -> Bool {
        let most = RequestTarget.nameLengthMax
        if (1...most).contains(Int(arguments[index].count)) { return true }
        fail(client, .request(.targetName(kind, bytesMax: most)))
        return false
    }

    private mutating func refuse(
        _ client: ClientIndex, _ refusal: ClientRefusal.Requests
    ) -> Request {
        fail(client, .request(refusal))
        return .handled
    }
}
