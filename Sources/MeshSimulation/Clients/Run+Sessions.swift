import MeshCore
import MeshGateway
import MeshServer

/// Users with sessions: programs that break their connections, come back here and elsewhere, read
/// slowly, and count. Messages to them come from programs beside other nodes.
extension Run {
    /// How often the programs look at their connections.
    private static var lookPeriod: Delay { .milliseconds(5) }
    /// A program gives an answer up after this.
    private static var answerTime: Delay { .seconds(3) }
    /// So long a user may be away and its session must be there: less than the nodes' grace.
    private static var awayMax: Delay { .seconds(5) }
    /// A session that nobody has come for, or that has moved, keeps its key at most so long.
    private static var keyTime: Delay { .seconds(12) }

    mutating func planSessions(from start: Instant) {
        let plan = scenario.sessions
        guard plan.count > 0 else { return }
        limitWhatIsKept(plan)
        let policies = SlowConsumerPolicy.allCases
        for number in 0..<plan.count {
            let isSlow = loadRandom.next(below: 1_000) < Int(plan.slow * 1_000)
            sessions.append(
                SessionClient(
                    name: "s\(number)",
                    isCounted: loadRandom.next(below: 1_000) < Int(plan.counted * 1_000),
                    readBytesMax: isSlow ? 200 : .max,
                    policy: isSlow && plan.kept > 0 ? policies[number % policies.count] : nil,
                    comesAt: start + .milliseconds(Int64(loadRandom.next(below: 1_000)))))
        }
        sessionChecker = SessionChecker(count: plan.count)
        agenda.schedule(Chore(kind: .sessionLook), at: start)
        planNext(.sessionBreak, plan.breaks, after: start + .seconds(2))
        planNext(.toSession, plan.messages, after: start + .seconds(2))
        planNext(.sessionProbe, plan.probes, after: start + .seconds(2))
    }

    private mutating func limitWhatIsKept(_ plan: Scenario.Sessions) {
        guard plan.kept > 0 else { return }
        let bytes = plan.kept * (plan.size + 100)
        world.gateway.sessionCountMax = plan.kept
        world.gateway.slowBytesMax = bytes
        // As much as stands ahead of the socket before anything is kept apart (`Gateway.aheadBytes`), and
        // that.
        world.gateway.pubsubOutputLimit = OutputLimit(
            hard: 128 * 1_024 + bytes, soft: 0, softDuration: .zero)
    }

    // MARK: Looking

    mutating func lookAtSessions() {
        for host in live { readLocal(host) }
        for host in live.prefix(scenario.sessions.watchers) { watchUsers(host) }
        for number in sessions.indices { look(number) }
        lookAtProbes()
        // The old node of a session gives its key up some seconds later.
        if now < lastSessionChange + Self.keyTime { truth.lastDirectoryChange = now }
        agenda.schedule(Chore(kind: .sessionLook), at: now + Self.lookPeriod)
    }

    private mutating func look(_ number: Int) {
        if let line = sessions[number].line {
            read(number, line)
            if sessions[number].line == line, world.lines[line].end != .open,
                world.lines[line].arrived.isEmpty
            {
                goAway(number, atMost: .milliseconds(200))
            }
        }
        switch sessions[number].state {
        case .away(let until) where until <= now: comeBack(number)
        case .attaching(let since) where now - since > Self.answerTime:
            // The answer may be lost, or may be on its way still: the same token is shown again.
            if let line = sessions[number].line { world.close(line: line) }
            goAway(number, atMost: .milliseconds(200))
        default: break
        }
    }

    private mutating func comeBack(_ number: Int) {
        let isAtHome = sessions[number].host >= 0 && world.isUp(sessions[number].host)
        let host =
            isAtHome && loadRandom.next(below: 2) == 0
            ? sessions[number].host : live[loadRandom.next(below: live.count)]
        lastSessionChange = now
        sessions[number].decoder = RESPDecoder()
        sessions[number].isCounting = false
        sessions[number].host = host
        let room = [512, 4_096, 65_536][loadRandom.next(below: 3)]
        let line = world.connect(to: host, room: room)
        sessions[number].line = line
        sessions[number].state = .attaching(since: now)
        world.write(sessions[number].greeting(), to: line)
    }

    private mutating func goAway(_ number: Int, atMost pause: Delay) {
        let milliseconds = 1 + loadRandom.next(below: Int(pause.nanoseconds / 1_000_000))
        lastSessionChange = now
        sessions[number].line = nil
        sessions[number].state = .away(until: now + .milliseconds(Int64(milliseconds)))
    }

    /// One of the programs loses its connection.
    mutating func breakSession() {
        let number = loadRandom.next(below: sessions.count)
        let how = loadRandom.next(below: 3)
        guard let line = sessions[number].line else { return }
        switch how {
        case 0:
            // In order, and with everything read that has come.
            read(number, line)
            guard sessions[number].line == line else { return }
            world.close(line: line)
        case 1: world.close(line: line)
        default: world.vanish(line: line)
        }
        goAway(number, atMost: Self.awayMax)
    }

    // MARK: Reading

    private mutating func read(_ number: Int, _ line: Int) {
        let bytes = world.read(line, atMost: sessions[number].readBytesMax)
        guard !bytes.isEmpty else { return }
        sessions[number].decoder.append(bytes)
        while sessions[number].line == line {
            do throws(MalformedReply) {
                guard let reply = try sessions[number].decoder.next() else { return }
                take(reply, number, line)
            } catch {
                report(
                    Violation(
                        checker: .session, time: now, host: sessions[number].host,
                        text: "\(sessions[number].name) was sent bytes that are no RESP"))
                world.close(line: line)
                goAway(number, atMost: .milliseconds(200))
            }
        }
    }

    private mutating func take(_ reply: RESPReply, _ number: Int, _ line: Int) {
        switch reply {
        case .push(let fields): takePush(fields, number)
        case .text(let token): takeToken(token, number)
        case .error(let text): takeError(text, number, line)
        default: break
        }
    }

    private mutating func takePush(_ fields: [RESPReply], _ number: Int) {
        let words = fields.map(\.shown)
        switch mistake(of: sessions[number].host, words.first) {
        case .hidesNotices where words.first == "gap", .losesToSessions: return
        case .miscountsNotices where words.first == "gap" && words.count >= 4:
            var more = words
            if let count = Int(words[3]), count > 0 { more[3] = String(count + 1) }
            takeWords(more, number)
            return
        case .repeatsToSessions: takeWords(words, number)
        default: break
        }
        takeWords(words, number)
    }

    /// The mistake that a node makes with this push, if it makes one.
    private mutating func mistake(of host: Int, _ kind: String?) -> Mistake? {
        guard let saboteur = world.saboteur, saboteur.isActive(host, now) else { return nil }
        switch saboteur.mistake {
        case .losesToSessions, .repeatsToSessions:
            guard kind == "user" else { return nil }
            world.saboteur!.counter += 1
            return saboteur.counter % 64 == 63 ? saboteur.mistake : nil
        default: return saboteur.mistake
        }
    }

    private mutating func takeWords(_ words: [String], _ number: Int) {
        switch words.first {
        case "user" where words.count == 3:
            if sessions[number].isCounting { sessions[number].seen += 1 }
            let message = words[2].prefix { $0 != "." }
            report(sessionChecker.received(Int(message) ?? -1, by: number, at: now))
            acknowledge(number)
        case "gap" where words.count >= 4 && words[1] == "user":
            sessionChecker.noticed(Int(words[3]) ?? 0, by: number, at: now)
        case "moved":
            if let line = sessions[number].line { world.close(line: line) }
            goAway(number, atMost: .milliseconds(100))
        default: break
        }
    }

    private mutating func acknowledge(_ number: Int) {
        let news = sessions[number].seen - sessions[number].acknowledged
        guard sessions[number].isCounted, news >= 16, let line = sessions[number].line else {
            return
        }
        world.write(
            RESPDecoder.command([
                "MESH.ACK", sessions[number].name, String(sessions[number].seen),
            ]), to: line)
        sessions[number].acknowledged = sessions[number].seen
    }

    private mutating func takeToken(_ token: String, _ number: Int) {
        guard case .attaching = sessions[number].state, token.count == 49 else { return }
        lastSessionChange = now
        if sessions[number].newest == nil { sessionChecker.began(number, at: now) }
        sessions[number].spent = sessions[number].former
        sessions[number].former = sessions[number].newest
        sessions[number].newest = SessionClient.Token(text: token, host: sessions[number].host)
        sessions[number].state = .attached
        sessions[number].seen = 0
        sessions[number].acknowledged = 0
        sessions[number].isCounting = true
        sessionChecker.attached(at: now)
    }

    private mutating func takeError(_ text: String, _ number: Int, _ line: Int) {
        guard case .attaching = sessions[number].state else { return }
        world.close(line: line)
        goAway(number, atMost: .milliseconds(500))
        guard text.hasPrefix("NOSESSION") else { return }
        // Its session is gone: it begins anew.
        report(
            sessionChecker.refused(
                number, at: now,
                isExcused: isTroubled(number, for: Self.awayMax + Self.answerTime)))
        sessions[number].newest = nil
        sessions[number].former = nil
        sessions[number].spent = nil
    }

    /// Whether something was wrong lately with a node that had, or was to have, the user's session.
    private func isTroubled(_ number: Int, for time: Delay) -> Bool {
        truth.isTroubled(from: now - time - scenario.settle, to: now)
    }

    // MARK: Sending

    mutating func sendToSession() {
        let number = loadRandom.next(below: sessions.count)
        let host = live[loadRandom.next(below: live.count)]
        guard world.isReady(host), let line = localLine(host) else { return }
        readLocal(host)
        let message = sessionChecker.nextNumber
        var payload = String(message)
        let missing = scenario.sessions.size - payload.utf8.count
        if missing > 0 { payload += String(repeating: ".", count: missing) }
        world.write(
            RESPDecoder.command(["MESH.SEND", sessions[number].name, payload]), to: line)
        sessionChecker.sent(message, to: number, from: host, at: now)
        readLocal(host)
    }

    /// The program beside a node that sends for it; nil: there is none now.
    private mutating func localLine(_ host: Int) -> Int? {
        if let line = localLines[host] { return world.lines[line].end == .open ? line : nil }
        guard let line = world.connectLocally(to: host) else { return nil }
        localLines[host] = line
        localDecoders[host] = RESPDecoder()
        watching.remove(host)
        world.write(
            RESPDecoder.command(["HELLO", "3"]) + RESPDecoder.command(["MESH.REPORTS", "ON"]),
            to: line)
        return line
    }

    private mutating func readLocal(_ host: Int) {
        guard let line = localLines[host] else { return }
        let bytes = world.read(line)
        guard !bytes.isEmpty else { return }
        localDecoders[host]!.append(bytes)
        while let reply = try? localDecoders[host]!.next() {
            switch reply {
            case .integer(let count):
                report(
                    sessionChecker.answered(
                        count, from: host, at: now,
                        isExcused: truth.isTroubled(from: now - Self.keyTime, to: now)))
            case .push(let fields):
                let words = fields.map(\.shown)
                if words.first == "undelivered", words.count >= 4, words[1] == "user",
                    let number = Int(words[2].dropFirst())
                {
                    sessionChecker.undelivered(Int(words[3]) ?? 0, to: number)
                } else if words.first == "presence", words.count == 3,
                    let number = Int(words[1].dropFirst())
                {
                    takePresence(words[2], number, host)
                }
            default: break
            }
        }
    }

    // MARK: Watching

    /// The program beside this node watches all users, from when it has a connection.
    private mutating func watchUsers(_ host: Int) {
        guard world.isReady(host), let line = localLine(host) else { return }
        guard watching.insert(host).inserted else {
            if mistake(of: host, nil) == .saysGone {
                takePresence("offline", loadRandom.next(below: sessions.count), host)
            }
            return
        }
        world.write(RESPDecoder.command(["MESH.WATCH"] + sessions.map(\.name)), to: line)
    }

    private mutating func takePresence(_ state: String, _ number: Int, _ host: Int) {
        guard state == "offline" else { return }
        let isExcused = truth.isTroubled(from: now - Self.keyTime, to: now)
        report(sessionChecker.gone(number, for: host, at: now, isExcused: isExcused))
    }

    // MARK: Spent tokens

    /// Somebody shows a token that was exchanged, at any node. Where its node is gone, or the one that it
    /// was exchanged at, nobody knows it: it gets a new session, and the notice that something may be lost.
    mutating func probeSession() {
        let number = loadRandom.next(below: sessions.count)
        let host = live[loadRandom.next(below: live.count)]
        guard let token = sessions[number].spent, world.isUp(token.host), world.isReady(host) else {
            return
        }
        let line = world.connect(to: host, room: 4_096)
        world.write(
            RESPDecoder.command(["MESH.ATTACH", sessions[number].name, "RESUME", token.text]),
            to: line)
        probes.append(
            Probe(line: line, number: number, home: token.host, host: host, since: now))
    }

    private mutating func lookAtProbes() {
        var index = 0
        while index < probes.count {
            let probe = probes[index]
            let answer = String(decoding: world.read(probe.line), as: UTF8.self)
            let isTaken =
                answer.hasPrefix("$49\r\n")
                || answer.hasPrefix("-NOSESSION")
                    && mistake(of: probe.host, nil) == .takesSpentTokens
            if isTaken, world.isUp(probe.home),
                !truth.isTroubled(from: now - Self.keyTime, to: now)
            {
                report(sessionChecker.tookSpentToken(of: probe.number, probe.host, at: now))
            }
            if answer.isEmpty, world.lines[probe.line].end == .open,
                now - probe.since < Self.answerTime
            {
                index += 1
                continue
            }
            world.close(line: probe.line)
            probes.remove(at: index)
        }
    }

    // MARK: The end

    /// All sessions are attached and there is nothing on its way.
    var areSessionsCalm: Bool {
        sessions.allSatisfy { if case .attached = $0.state { true } else { false } }
            && now > sessionChecker.lastEvent + .seconds(2)
    }

    mutating func finishSessions() {
        guard !sessions.isEmpty else { return }
        lookAtSessions()
        for violation in sessionChecker.finish(
            at: now, isUp: { world.isUp($0) })
        {
            report(violation)
        }
        metrics.sessionMessages = sessionChecker.sentCount
        metrics.sessionDelivered = sessionChecker.receivedCount
        metrics.sessionMissing = sessionChecker.missingCount
        metrics.sessionNotices = sessionChecker.noticeCount
    }
}
