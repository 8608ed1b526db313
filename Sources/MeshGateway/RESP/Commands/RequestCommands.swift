import MeshCore
import MeshWire

// Requests and services: MESH.REQUEST, MESH.SERVE and those that answer.

extension Gateway {
    /// MESH.REQUEST.
    mutating func request(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard equals(1, "service", input) else { return refuse(client, .usage(.request)) }
        guard isServiceName(2, client) else { return .handled }
        var options = RequestOptions()
        var hasTimeout = false
        var index = 4
        while index < arguments.count {
            let hasValue = index + 1 < arguments.count
            if equals(index, "wait", input), !options.waits {
                options.waits = true
            } else if equals(index, "retry", input), !options.retries {
                options.retries = true
            } else if equals(index, "timeout", input), hasValue, !hasTimeout {
                let most = RequestOptions.timeoutMillisecondsMax
                guard let value = integer(index + 1, input), (1...most).contains(value) else {
                    return refuse(client, .timeout(millisecondsMax: most))
                }
                options.timeout = .milliseconds(Int64(value))
                hasTimeout = true
                index += 1
            } else if equals(index, "async", input), hasValue, options.tag == nil {
                let most = RequestOptions.tagLengthMax
                guard (1...most).contains(Int(arguments[index + 1].count)) else {
                    return refuse(client, .tag(bytesMax: most))
                }
                options.tag = bytes(index + 1, input)
                index += 1
            } else {
                return refuse(client, .usage(.request))
            }
            index += 1
        }
        return answer(client, hub.request(arguments[2], arguments[3], input, options, client))
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
        guard isServiceName(1, client) else { return }
        var concurrency = Provider.concurrencyUsual
        if arguments.count > 2 {
            guard arguments.count == 4, equals(2, "concurrency", input) else {
                return fail(client, .request(.usage(.serve)))
            }
            guard let value = integer(3, input), (1...Provider.concurrencyMax).contains(value)
            else { return fail(client, .request(.concurrency(max: Provider.concurrencyMax))) }
            concurrency = value
        }
        hub.answer(client, hub.serve(arguments[1], concurrency, input, client))
        hub.giveWaiting(bytes(1, input))
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

    private mutating func isServiceName(_ index: Int, _ client: ClientIndex) -> Bool {
        let most = Hub.serviceNameLengthMax
        if (1...most).contains(Int(arguments[index].count)) { return true }
        fail(client, .request(.serviceName(bytesMax: most)))
        return false
    }

    private mutating func refuse(
        _ client: ClientIndex, _ refusal: ClientRefusal.Requests
    ) -> Request {
        fail(client, .request(refusal))
        return .handled
    }
}
