import MeshCore
import MeshWire

// EVAL and its kin: publications that a client gives in a script's words.
//
// A script that runs is a transaction of its own: its command stays in the driver's input, each call of
// `next` gives the next publication as if a PUBLISH stood there, and when it has ended its reply is
// written and the offset moves past the command. So pauses, rights and counters hold as for PUBLISH.

extension Gateway {
    // MARK: Beginning

    /// EVAL and EVALSHA: begins the script, unless it is refused.
    mutating func evaluate(byName: Bool, _ input: Span<UInt8>, _ client: ClientIndex) {
        let text = bytes(1, input, countMax: byName ? 41 : Script.textBytesMax + 1)
        guard let name = byName ? SHA1(hexadecimal: text) : SHA1(of: text.span) else {
            fail(client, .script(.unknown))
            return
        }
        guard let keyCount = integer(2, input) else {
            fail(client, .syntax(.notAnInteger))
            return
        }
        guard keyCount <= arguments.count - 3 else {
            fail(client, .script(.keyCountTooLarge))
            return
        }
        guard keyCount >= 0 else {
            fail(client, .script(.keyCountNegative))
            return
        }
        guard
            let script = redis.scripts.use(name) ?? (byName ? nil : keep(text, name, client))
        else {
            if byName { fail(client, .script(.unknown)) }
            return
        }
        begin(script, name, keyCount: keyCount, input, client)
    }

    /// Reads a script and remembers it; nil: it is refused.
    private mutating func keep(_ text: [UInt8], _ name: SHA1, _ client: ClientIndex) -> Script? {
        do throws(ScriptError) {
            let script = try ScriptParser.parse(text)
            redis.scripts.insert(script, name)
            return script
        } catch {
            fail(client, .script(.wrong(error)))
            return nil
        }
    }

    private mutating func begin(
        _ script: Script, _ name: SHA1, keyCount: Int, _ input: Span<UInt8>, _ client: ClientIndex
    ) {
        var values: [Slice] = []
        values.reserveCapacity(arguments.count - 3)
        for index in 3..<max(3, arguments.count) { values.append(arguments.list[index]) }
        let isAlone = !conversations[client.slot].holdsMessages
        let run = ScriptRun(
            script, name, arguments: values, keyCount: keyCount,
            line: arguments.isDecoded ? arguments.line : nil,
            commandSize: arguments.size, isAlone: isAlone, bytesMax: limits.request.requestBytesMax)
        change(client, .scripting(run))
    }

    // MARK: Going on

    /// In the place of a command: the next publication of the client's script, or its end.
    @inline(never)
    mutating func goOnWithScript(
        _ input: Span<UInt8>, at offset: inout Int, _ client: ClientIndex
    ) -> Request {
        guard case .scripting(var run) = takePhase(client) else {
            preconditionFailure("client \(client) has no script")
        }
        switch run.advance(input, at: offset) {
        case .publish(let isShard, let name, let payload, let line):
            change(client, .scripting(run))
            guard hub.isReady else {
                refusePublication(.joining, client)
                return .handled
            }
            hub.counters[.commands] += 1
            hub.clients[client.slot].identity.lastSeenAt = hub.now
            arguments.line = line
            if !redis.monitors.clients.isEmpty { show(isShard, name, payload, line) }
            if hub.registry.hasGone {
                hub.endGone(isShard ? .shardChannel : .channel, name, line.span)
            }
            var publication = hub.publication(
                isShard ? .shardChannel : .channel, name, payload, line.span, by: client)
            publication.isDecoded = true
            return .publish(publication)
        case .rest:
            change(client, .scripting(run))
            return rest(client)
        case .end(let value):
            change(client, .executing)
            answer(value, of: run, input, offset, client)
        case .failed(let fault, let line):
            change(client, .executing)
            fail(client, .script(.failed(fault, line: line, name: run.name.text)))
        }
        offset += run.commandSize
        return run.isAlone ? endExecution(client) : .handled
    }

    /// The result of a script as Redis gives it.
    private mutating func answer(
        _ value: ScriptValue, of run: ScriptRun, _ input: Span<UInt8>, _ base: Int,
        _ client: ClientIndex
    ) {
        switch value {
        case .null, .truth(false): reply(client, .null)
        case .truth(true): reply(client, .integer(1))
        case .number(let number): reply(client, .integer(number))
        case .text, .argument: reply(client, .bulk(run.bytes(value, input, base) ?? []))
        case .fault(let fault): fail(client, .script(.caught(fault)))
        }
    }

    /// Instead of `published`: the publication of the client's script is refused.
    mutating func refusePublication(_ fault: ScriptFault, _ client: ClientIndex) {
        changeScript(client) { $0.refuse(fault) }
    }

    /// The publication of the client's script has been taken, and went to so many.
    mutating func notePublication(_ count: Int, _ client: ClientIndex) {
        changeScript(client) { $0.published(count) }
    }

    private mutating func changeScript(
        _ client: ClientIndex, _ change: (inout ScriptRun) -> Void
    ) {
        guard conversations[client.slot].isScripting, case .scripting(var run) = takePhase(client)
        else { return }
        change(&run)
        conversations[client.slot].phase = .scripting(run)
    }

    // MARK: SCRIPT

    mutating func loadScript(_ input: Span<UInt8>, _ client: ClientIndex) {
        let text = bytes(2, input, countMax: Script.textBytesMax + 1)
        let name = SHA1(of: text.span)
        guard redis.scripts.use(name) != nil || keep(text, name, client) != nil else {
            return
        }
        reply(client, .text(name.text))
    }

    mutating func findScripts(_ input: Span<UInt8>, _ client: ClientIndex) {
        reply(
            client,
            .array(
                (2..<arguments.count).map { index in
                    let name = SHA1(hexadecimal: bytes(index, input, countMax: 41))
                    return .integer(name.map { redis.scripts.contains($0) } == true ? 1 : 0)
                }))
    }

    mutating func forgetScripts(_ input: Span<UInt8>, _ client: ClientIndex) {
        let isPlain = arguments.count == 2
        let isHow =
            arguments.count == 3 && (equals(2, "async", input) || equals(2, "sync", input))
        guard isPlain || isHow else {
            fail(client, .script(.flushOption))
            return
        }
        redis.scripts.removeAll()
        ok(client)
    }
}
