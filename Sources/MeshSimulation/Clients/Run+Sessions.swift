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
            sessionLoad.clients.append(
                SessionClient(
                    name: sessionName(number),
                    isCounted: loadRandom.next(below: 1_000) < Int(plan.counted * 1_000),
                    readBytesMax: isSlow ? 200 : .max,
                    policy: isSlow && plan.kept > 0 ? policies[number % policies.count] : nil,
                    comesAt: start + .milliseconds(Int64(loadRandom.next(below: 1_000)))))
        }
        sessionLoad.checker = SessionChecker(count: plan.count)
        agenda.schedule(ScheduledAction(kind: .sessionLook), at: start)
        planNext(.sessionBreak, plan.breaks, after: start + .seconds(2))
        planNext(.toSession, plan.messages, after: start + .seconds(2))
        planNext(.sessionProbe, plan.probes, after: start + .seconds(2))
    }

    private mutating func limitWhatIsKept(_ plan: Scenario.Sessions) {
        guard plan.kept > 0 else { return }
        let bytes = plan.kept * (plan.size + 100)
        world.gateway.sessionCountMax = plan.kept
        world.gateway.slowBytesMax = bytes
        world.gateway.pubsubOutputLimit = OutputLimit(
            hard: Hub.aheadBytes + bytes, soft: 0, softDuration: .zero)
    }

    // MARK: Looking

    mutating func lookAtSessions() {
        for host in live { readLocal(host) }
        for host in live.prefix(scenario.sessions.watchers) { watchUsers(host) }
        for number in sessionLoad.clients.indices { look(number) }
        lookAtProbes()
        // The old node of a session gives its key up some seconds later.
        if now < sessionLoad.changedAt + Self.keyTime { truth.lastDirectoryChange = now }
        agenda.schedule(ScheduledAction(kind: .sessionLook), at: now + Self.lookPeriod)
    }

    private mutating func look(_ number: Int) {
        if let line = sessionLoad.clients[number].line {
            read(number, line)
            if sessionLoad.clients[number].line == line, world.lines[line].end != .open,
                world.lines[line].arrived.isEmpty
            {
                goAway(number, atMost: .milliseconds(200))
            }
        }
        switch sessionLoad.clients[number].state {
        case .away(let until) where until <= now: comeBack(number)
        case .attaching(let since) where now - since > Self.answerTime:
            // The answer may be lost, or may be on its way still: the same token is shown again.
            if let line = sessionLoad.clients[number].line { world.close(line: line) }
            goAway(number, atMost: .milliseconds(200))
        default: break
        }
    }

    private mutating func comeBack(_ number: Int) {
        let host: Int
        if let home = sessionLoad.clients[number].host, world.isUp(home),
            loadRandom.next(below: 2) == 0
        {
            host = home
        } else {
            host = live[loadRandom.next(below: live.count)]
        }
        sessionLoad.changedAt = now
        if sessionLoad.clients[number].isCounted {
            sessionLoad.checker.retells(sessionLoad.clients[number].toldLately, to: number)
        }
        sessionLoad.clients[number].toldLately = 0
        sessionLoad.clients[number].decoder = RESPDecoder()
        sessionLoad.clients[number].isCounting = false
        sessionLoad.clients[number].host = host
        let room = [512, 4_096, 65_536][loadRandom.next(below: 3)]
        let line = world.connect(to: host, room: room)
        sessionLoad.clients[number].line = line
        sessionLoad.clients[number].state = .attaching(since: now)
        world.write(sessionLoad.clients[number].greeting(), to: line)
    }

    private mutating func goAway(_ number: Int, atMost pause: Delay) {
        let milliseconds = 1 + loadRandom.next(below: Int(pause.nanoseconds / 1_000_000))
        sessionLoad.changedAt = now
        sessionLoad.clients[number].line = nil
        sessionLoad.clients[number].state = .away(until: now + .milliseconds(Int64(milliseconds)))
    }

    /// One of the programs loses its connection.
    mutating func breakSession() {
        let number = loadRandom.next(below: sessionLoad.clients.count)
        let how = loadRandom.next(below: 3)
        guard let line = sessionLoad.clients[number].line else { return }
        switch how {
        case 0:
            // In order, and with everything read that has come.
            read(number, line)
            guard sessionLoad.clients[number].line == line else { return }
            world.close(line: line)
        case 1: world.close(line: line)
        default: world.vanish(line: line)
        }
        goAway(number, atMost: Self.awayMax)
    }

    // MARK: Reading

    private mutating func read(_ number: Int, _ line: Int) {
        let bytes = world.read(line, atMost: sessionLoad.clients[number].readBytesMax)
        guard !bytes.isEmpty else { return }
        sessionLoad.clients[number].decoder.append(bytes)
        while sessionLoad.clients[number].line == line {
            do throws(MalformedReply) {
                guard let reply = try sessionLoad.clients[number].decoder.next() else { return }
                take(reply, number, line)
            } catch {
                report(
                    Violation(
                        checker: .session, time: now, host: sessionLoad.clients[number].host,
                        text: "\(sessionLoad.clients[number].name) was sent bytes that are no RESP")
                )
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
        switch mistake(of: sessionLoad.clients[number].host!, words.first) {
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
        guard let mutant = world.mutant, mutant.isActive(host, now) else { return nil }
        switch mutant.mistake {
        case .losesToSessions, .repeatsToSessions:
            guard kind == "user" else { return nil }
            world.mutant!.counter += 1
            return mutant.counter % 64 == 63 ? mutant.mistake : nil
        default: return mutant.mistake
        }
    }

    private mutating func takeWords(_ words: [String], _ number: Int) {
        switch words.first {
        case "user" where words.count == 3:
            if sessionLoad.clients[number].isCounting { sessionLoad.clients[number].seen += 1 }
            sessionLoad.clients[number].toldLately = 0
            let message = words[2].prefix { $0 != "." }
            report(sessionLoad.checker.received(Int(message) ?? -1, by: number, at: now))
            acknowledge(number)
        case "gap" where words.count >= 4 && words[1] == "user":
            sessionLoad.checker.noticed(Int(words[3]) ?? 0, by: number, at: now)
            sessionLoad.clients[number].toldLately += Int(words[3]) ?? 0
        case "moved":
            if let line = sessionLoad.clients[number].line { world.close(line: line) }
            goAway(number, atMost: .milliseconds(100))
        default: break
        }
    }

    private mutating func acknowledge(_ number: Int) {
        let news = sessionLoad.clients[number].seen - sessionLoad.clients[number].acknowledged
        guard sessionLoad.clients[number].isCounted, news >= 16,
            let line = sessionLoad.clients[number].line
        else {
            return
        }
        world.write(
            RESPDecoder.command([
                "MESH.ACK", sessionLoad.clients[number].name,
                String(sessionLoad.clients[number].seen),
            ]), to: line)
        sessionLoad.clients[number].acknowledged = sessionLoad.clients[number].seen
    }

    private mutating func takeToken(_ token: String, _ number: Int) {
        guard case .attaching = sessionLoad.clients[number].state, token.count == 49 else { return }
        sessionLoad.changedAt = now
        if sessionLoad.clients[number].newest == nil { sessionLoad.checker.began(number, at: now) }
        sessionLoad.clients[number].spent = sessionLoad.clients[number].former
        sessionLoad.clients[number].former = sessionLoad.clients[number].newest
        sessionLoad.clients[number].newest = SessionClient.Token(
            text: token, host: sessionLoad.clients[number].host!)
        sessionLoad.clients[number].state = .attached
        sessionLoad.clients[number].seen = 0
        sessionLoad.clients[number].acknowledged = 0
        sessionLoad.clients[number].isCounting = true
        sessionLoad.checker.attached(at: now)
    }

    private mutating func takeError(_ text: String, _ number: Int, _ line: Int) {
        guard case .attaching = sessionLoad.clients[number].state else { return }
        world.close(line: line)
        goAway(number, atMost: .milliseconds(500))
        guard text.hasPrefix("NOSESSION") else { return }
        // Its session is gone: it begins anew.
        report(
            sessionLoad.checker.refused(
                number, at: now,
                isExcused: wasTroubled(
                    for: Self.awayMax + Self.answerTime + scenario.settle)))
        sessionLoad.clients[number].newest = nil
        sessionLoad.clients[number].former = nil
        sessionLoad.clients[number].spent = nil
    }

    /// Whether anything was wrong lately: in `keyTime` what follows from it is over for a session.
    private func wasTroubled(for time: Delay = Self.keyTime) -> Bool {
        truth.isTroubled(from: now - time, to: now)
    }

    // MARK: Sending

    mutating func sendToSession() {
        let number = loadRandom.next(below: sessionLoad.clients.count)
        let host = live[loadRandom.next(below: live.count)]
        guard world.isReady(host), let line = localLine(host) else { return }
        readLocal(host)
        let message = sessionLoad.checker.nextNumber
        var payload = String(message)
        let missing = scenario.sessions.size - payload.utf8.count
        if missing > 0 { payload += String(repeating: ".", count: missing) }
        world.write(
            RESPDecoder.command(["MESH.SEND", sessionLoad.clients[number].name, payload]), to: line)
        sessionLoad.checker.sent(message, to: number, from: host, at: now)
        readLocal(host)
    }

    /// The program beside a node that sends for it; nil: there is none now.
    private mutating func localLine(_ host: Int) -> Int? {
        if let line = sessionLoad.localLines[host] {
            return world.lines[line].end == .open ? line : nil
        }
        guard let line = world.connectLocally(to: host) else { return nil }
        sessionLoad.localLines[host] = line
        sessionLoad.localDecoders[host] = RESPDecoder()
        sessionLoad.watching.remove(host)
        world.write(
            RESPDecoder.command(["HELLO", "3"]) + RESPDecoder.command(["MESH.REPORTS", "ON"]),
            to: line)
        return line
    }

    private mutating func readLocal(_ host: Int) {
        guard let line = sessionLoad.localLines[host] else { return }
        let bytes = world.read(line)
        guard !bytes.isEmpty else { return }
        sessionLoad.localDecoders[host]!.append(bytes)
        while let reply = try? sessionLoad.localDecoders[host]!.next() {
            switch reply {
            case .integer(let count):
                report(
                    sessionLoad.checker.answered(
                        count, from: host, at: now,
                        isExcused: wasTroubled()))
            case .push(let fields):
                let words = fields.map(\.shown)
                if words.first == "undelivered", words.count >= 4, words[1] == "user",
                    let number = Int(words[2].dropFirst())
                {
                    sessionLoad.checker.undelivered(Int(words[3]) ?? 0, to: number)
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
        guard sessionLoad.watching.insert(host).inserted else {
            if mistake(of: host, nil) == .saysGone {
                takePresence("offline", loadRandom.next(below: sessionLoad.clients.count), host)
            }
            return
        }
        world.write(RESPDecoder.command(["MESH.WATCH"] + sessionLoad.clients.map(\.name)), to: line)
    }

    private mutating func takePresence(_ state: String, _ number: Int, _ host: Int) {
        guard state == "offline" else { return }
        report(sessionLoad.checker.gone(number, for: host, at: now, isExcused: wasTroubled()))
    }

    // MARK: Spent tokens

    /// Somebody shows a token that was exchanged, at any node. Where its node is gone, or the one that it
    /// was exchanged at, nobody knows it: it gets a new session, and the notice that something may be lost.
    mutating func probeSession() {
        let number = loadRandom.next(below: sessionLoad.clients.count)
        let host = live[loadRandom.next(below: live.count)]
        guard let token = sessionLoad.clients[number].spent, world.isUp(token.host),
            world.isReady(host)
        else {
            return
        }
        let line = world.connect(to: host, room: 4_096)
        world.write(
            RESPDecoder.command([
                "MESH.ATTACH", sessionLoad.clients[number].name, "RESUME", token.text,
            ]),
            to: line)
        sessionLoad.probes.append(
            Probe(line: line, number: number, home: token.host, host: host, since: now))
    }

    private mutating func lookAtProbes() {
        var index = 0
        while index < sessionLoad.probes.count {
            let probe = sessionLoad.probes[index]
            let answer = String(decoding: world.read(probe.line), as: UTF8.self)
            let isTaken =
                answer.hasPrefix("$49\r\n")
                || answer.hasPrefix("-NOSESSION")
                    && mistake(of: probe.host, nil) == .takesSpentTokens
            if isTaken, world.isUp(probe.home), !wasTroubled() {
                report(sessionLoad.checker.tookSpentToken(of: probe.number, probe.host, at: now))
            }
            if answer.isEmpty, world.lines[probe.line].end == .open,
                now - probe.since < Self.answerTime
            {
                index += 1
                continue
            }
            world.close(line: probe.line)
            sessionLoad.probes.remove(at: index)
        }
    }

    // MARK: The end

    /// All sessions are attached and there is nothing on its way.
    var areSessionsCalm: Bool {
        sessionLoad.clients.allSatisfy { if case .attached = $0.state { true } else { false } }
            && now > sessionLoad.checker.lastEvent + .seconds(2)
    }

    mutating func finishSessions() {
        guard !sessionLoad.clients.isEmpty else { return }
        lookAtSessions()
        for violation in sessionLoad.checker.finish(
            at: now, isUp: { world.isUp($0) })
        {
            report(violation)
        }
        metrics.sessionMessages = sessionLoad.checker.sentCount
        metrics.sessionDelivered = sessionLoad.checker.receivedCount
        metrics.sessionMissing = sessionLoad.checker.missingCount
        metrics.sessionNotices = sessionLoad.checker.noticeCount
    }
}
