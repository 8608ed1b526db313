import MeshCore
import MeshServer
import MeshWire

/// Connections of clients to nodes: what the reactor does for them with sockets, in virtual time.
extension World {
    /// One way between a client's machine and a node.
    static var lineLatency: Delay { .microseconds(150) }
    /// After a client has ended its connection the node waits so long for a reset
    /// (`Limits.partingTime` of the transport), and so long after it has ended one itself
    /// (`Limits.lingerTime`).
    private static var partingTime: Delay { .milliseconds(250) }
    private static var lingerTime: Delay { .milliseconds(500) }

    // MARK: The client's side

    /// Connects a client to a host; returns the number of its line. One to a host that is down is
    /// broken from the start.
    mutating func connect(to host: Int, room: Int) -> Int {
        lines.append(ClientLine(host: host, room: room, isLocal: false))
        let line = lines.count - 1
        if hosts[host] == nil {
            lines[line].end = .broken
        } else {
            send(.lineOpens, line)
        }
        return line
    }

    /// A program beside a node connects to it, at once; nil: the host is down or stands still.
    mutating func connectLocally(to host: Int) -> Int? {
        guard let state = hosts[host], state.frozenUntil == nil else { return nil }
        lines.append(ClientLine(host: host, room: .max, isLocal: true))
        open(lines.count - 1, host, state)
        return lines.count - 1
    }

    /// The client sends bytes.
    mutating func write(_ bytes: [UInt8], to line: Int) {
        let number = Int(lines[line].host)
        guard lines[line].use == .open, lines[line].end == .open, let host = hosts[number] else {
            return
        }
        if lines[line].isLocal {
            lines[line].input += bytes
            consume(line, number, host)
        } else {
            let parcel = pool.parcel(count: bytes.count, pathCount: 0)
            parcel.write(bytes.span, 0, bytes.count, at: 0)
            send(.lineInput, line, parcel)
        }
    }

    /// Everything that has arrived for the client; at most so many bytes.
    mutating func read(_ line: Int, atMost count: Int = .max) -> [UInt8] {
        let bytes = Array(lines[line].arrived.prefix(count))
        lines[line].arrived.removeFirst(bytes.count)
        if !lines[line].kernel.isEmpty { carry(line) }
        return bytes
    }

    /// The client's program ends its connection. What has come and is not read then makes its kernel
    /// send a reset.
    mutating func close(line: Int) {
        guard lines[line].use == .open else { return }
        lines[line].use = .closed
        if lines[line].end == .open || lines[line].doubt != nil {
            send(lines[line].arrived.isEmpty ? .lineEnds : .lineBreaks, line)
        }
        lines[line].arrived = []
    }

    /// The client's machine is gone.
    mutating func vanish(line: Int) {
        lines[line].use = .vanished
        lines[line].arrived = []
    }

    // MARK: On the way

    private mutating func send(_ kind: Action.Kind, _ line: Int, _ parcel: Parcel = .none) {
        queue.schedule(
            Action(
                kind: kind, host: lines[line].host, connection: ConnectionNumber(line),
                parcel: parcel),
            at: now + Self.lineLatency)
    }

    private mutating func carry(_ line: Int) {
        guard !lines[line].isCarrying else { return }
        lines[line].isCarrying = true
        send(.lineArrival, line)
    }

    /// Something has come to one end of a line.
    mutating func arriveOnLine(_ action: Action) {
        let line = action.line
        defer { pool.release(action.parcel) }
        if action.kind == .lineArrival {
            arriveAtClient(line)
            return
        }
        let number = Int(action.host)
        guard let host = hosts[number] else { return }
        switch action.kind {
        case .lineOpens: open(line, number, host)
        case .lineInput:
            guard lines[line].client != nil else { return }
            action.parcel.withSpan { bytes in
                for index in bytes.indices { lines[line].input.append(bytes[index]) }
            }
            if !lines[line].isPaused, !lines[line].isEnding { consume(line, number, host) }
        case .lineWritable:
            flush(line, host)
            settleLines(number, host)
        case .lineEnds:
            // Whatever is in the kernel now comes to a program that is gone.
            closeAtHost(
                line, number, host, parting(of: line, wasBroken: false), Self.partingTime)
        case .lineBreaks:
            let parting = parting(of: line, wasBroken: true)
            closeAtHost(line, number, host, parting, Self.partingTime)
            conclude(line, number, host, parting)
        case .lineVerdict:
            // A machine that is gone does not acknowledge the end either: nobody knows what was read.
            let isLost =
                lines[line].use == .vanished
                || lines[line].use != .open && !lines[line].kernel.isEmpty
            conclude(line, number, host, parting(of: line, wasBroken: isLost))
        default: preconditionFailure("\(action.kind) comes over links")
        }
    }

    /// The kernel's account of a line that has ended. A driver that does not ask for it is one of the
    /// mistakes.
    private func parting(of line: Int, wasBroken: Bool) -> Parting {
        mutant?.mistake == .asksNoKernel
            ? .inOrder
            : Parting(unacknowledgedBytes: lines[line].kernel.count, wasBroken: wasBroken)
    }

    /// Bytes of the node's kernel come to the client's machine.
    private mutating func arriveAtClient(_ line: Int) {
        lines[line].isCarrying = false
        switch lines[line].use {
        case .vanished: return
        case .closed:
            // Nobody is there who wants them: the machine answers with a reset.
            if !lines[line].kernel.isEmpty { send(.lineBreaks, line) }
            return
        case .open: break
        }
        let count = min(lines[line].kernel.count, lines[line].room - lines[line].arrived.count)
        if count > 0 {
            lines[line].arrived += lines[line].kernel.prefix(count)
            lines[line].kernel.removeFirst(count)
            if lines[line].client != nil { send(.lineWritable, line) }
        }
        if lines[line].client == nil, lines[line].kernel.isEmpty, lines[line].end == .open {
            lines[line].end = .ended
        }
    }

    // MARK: The node's side

    private mutating func open(_ line: Int, _ number: Int, _ host: Host) {
        guard lines[line].use == .open,
            let client = host.server.open(
                address: "10.1.0.1:\(line)", origin: .elsewhere, at: host.localTime(now))
        else {
            lines[line].end = .broken
            return
        }
        lines[line].client = client
        host.setLine(of: client, line)
        scheduleDeadline(number)
    }

    /// Has the server carry out what waits in a line's input.
    private mutating func consume(_ line: Int, _ number: Int, _ host: Host) {
        guard let client = lines[line].client else { return }
        let bytes = lines[line].input
        let parcel = pool.parcel(count: bytes.count, pathCount: 0)
        parcel.write(bytes.span, 0, bytes.count, at: 0)
        fold(number, parcel)
        let time = host.localTime(now)
        var offset = 0
        reading: while hosts[number] != nil, lines[line].client == client {
            let step = parcel.withSpan {
                host.server.command(
                    from: client, $0, at: &offset, now: time, into: &effects)
            }
            performAll(number, host, parcel)
            switch step {
            case .next: continue
            case .incomplete: break reading
            case .paused:
                lines[line].isPaused = true
                break reading
            case .needsFacts:
                let step = host.server.answer(with: DriverFacts(), at: time, into: &effects)
                performAll(number, host, parcel)
                if case .paused = step {
                    lines[line].isPaused = true
                    break reading
                }
            case .end:
                lines[line].isEnding = true
                break reading
            }
        }
        lines[line].input.removeFirst(offset)
        pool.release(parcel)
        if hosts[number] != nil { settleLines(number, host) }
    }

    /// Carries out orders, offers output to the kernels and goes on with clients that have waited,
    /// until there is nothing left.
    mutating func settleLines(_ number: Int, _ host: Host) {
        if isSettlingLines { return }
        isSettlingLines = true
        defer { isSettlingLines = false }
        var isBusy = true
        while isBusy, hosts[number] != nil {
            isBusy = false
            let due = orders
            orders.removeAll()
            for order in due {
                switch order {
                case .end(let client):
                    if let line = host.line(of: client) {
                        lines[line].isEnding = true
                        flush(line, host)
                        isBusy = true
                    }
                case .close(let client):
                    if let line = host.line(of: client) {
                        endAtHost(line, number, host)
                        isBusy = true
                    }
                case .goOn, .stopListening, .log, .configure: break
                }
            }
            host.server.takeDirty(into: &dirtyClients)
            for client in dirtyClients {
                guard let line = host.line(of: client) else { continue }
                if !flush(line, host) { endAtHost(line, number, host) }
                isBusy = true
            }
            for line in endingLines where Int(lines[line].host) == number {
                guard let client = lines[line].client, host.server.outputCount(client) == 0
                else { continue }
                endAtHost(line, number, host)
                isBusy = true
            }
            while let client = host.server.nextResumable() {
                guard let line = host.line(of: client), lines[line].isPaused else { continue }
                lines[line].isPaused = false
                consume(line, number, host)
                isBusy = true
            }
        }
        scheduleDeadline(number)
    }

    /// Lets the kernel take what it has room for, or a part of that. False: the server has given the
    /// client up.
    @discardableResult
    private mutating func flush(_ line: Int, _ host: Host) -> Bool {
        guard let client = lines[line].client else { return true }
        var taken: [UInt8] = []
        let room = lines[line].room - lines[line].kernel.count
        var isWhole = true
        if !lines[line].isLocal, lineRandom.next(below: 4) == 0 { isWhole = false }
        let part = lineRandom.next(below: 256) + 1
        let time = host.localTime(now)
        let isWell = unsafe host.server.flush(client, at: time) { bytes in
            let left = room - taken.count
            let count = min(bytes.count, isWhole ? left : min(left, part - taken.count))
            if count <= 0 { return 0 }
            unsafe taken.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[..<count]))
            return count
        }
        if lines[line].isLocal {
            lines[line].arrived += taken
        } else {
            lines[line].kernel += taken
            if !lines[line].kernel.isEmpty { carry(line) }
        }
        if lines[line].isEnding, !endingLines.contains(line) { endingLines.append(line) }
        return isWell
    }

    /// The server ends a client's connection.
    private mutating func endAtHost(_ line: Int, _ number: Int, _ host: Host) {
        closeAtHost(line, number, host, .inOrder, Self.lingerTime)
    }

    private mutating func closeAtHost(
        _ line: Int, _ number: Int, _ host: Host, _ parting: Parting, _ patience: Delay
    ) {
        guard let client = lines[line].client else { return }
        let time = host.localTime(now)
        let isAsked = host.server.hasUnproven(client)
        lines[line].client = nil
        lines[line].isPaused = false
        endingLines.removeAll { $0 == line }
        host.setLine(of: client, nil)
        lines[line].doubt = host.server.close(
            client, isAsked ? parting : .inOrder, at: time, into: &effects)
        performAll(number, host, .none)
        if lines[line].doubt != nil {
            queue.schedule(
                Action(
                    kind: .lineVerdict, host: lines[line].host, connection: ConnectionNumber(line)),
                at: now + patience)
        }
        // The client sees the end behind what it was sent.
        carry(line)
    }

    private mutating func conclude(
        _ line: Int, _ number: Int, _ host: Host, _ parting: Parting
    ) {
        guard let doubt = lines[line].doubt else { return }
        lines[line].doubt = nil
        host.server.conclude(doubt, parting, at: host.localTime(now), into: &effects)
        performAll(number, host, .none)
        settleLines(number, host)
    }

    /// The process of a host is gone; where its machine is not, clients see it at once.
    mutating func endLines(of number: Int, isSilent: Bool) {
        orders.removeAll()
        endingLines.removeAll { Int(lines[$0].host) == number }
        for line in lines.indices where Int(lines[line].host) == number {
            guard lines[line].client != nil || lines[line].end == .open else { continue }
            lines[line].client = nil
            lines[line].doubt = nil
            lines[line].kernel = []
            if !isSilent { lines[line].end = .broken }
        }
    }
}
