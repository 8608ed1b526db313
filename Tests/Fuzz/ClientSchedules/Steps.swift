import MeshCore
import MeshDriver
import MeshServer

/// A step of a schedule.
enum Step: String, CaseIterable {
    case command, burst, pipeline, transaction, half, room, wait, close, open, conclude
    case drain, crash, freeze, thaw, cut

    var weight: Int {
        switch self {
        case .command: 100
        case .burst: 40
        case .pipeline: 10
        case .transaction: 8
        case .half: 6
        case .room: 40
        case .wait: 40
        case .close: 16
        case .open: 50
        case .conclude: 6
        case .drain, .crash: 2
        case .freeze: 4
        case .thaw: 16
        case .cut: 1
        }
    }
}

/// The requests of clients.
enum Word: String, CaseIterable {
    case send, publish, spublish, volatile, quoted, subscribe, psubscribe, ssubscribe, unsubscribe
    case attach, session, counted, resume, detach, ack, policy, gaps, reports, moves
    case watch, unwatch, online, whereabouts, numsub, reply, reset, quit, kill, ping, hello, wrong

    var weight: Int {
        switch self {
        case .send: 40
        case .publish: 16
        case .session, .counted, .resume, .ack: 7
        case .policy: 6
        case .gaps, .subscribe: 5
        case .attach, .psubscribe, .unsubscribe: 3
        case .spublish, .volatile, .ssubscribe, .watch, .online, .ping, .reports, .moves, .detach: 2
        case .quoted, .unwatch, .whereabouts, .numsub, .reply, .reset, .quit, .kill, .hello, .wrong:
            1
        }
    }
}

// The fates of servers and connections.

extension Schedule {
    static let users = ["ann", "bob", "cy"]
    private static let channels = ["news", "room", "noon"]
    private static let patterns = ["n*", "*oo*", "room", "[nr]oo?"]
    private static let shards = ["s1", "s2"]

    func perform(_ step: Step) {
        switch step {
        case .command, .burst, .pipeline, .transaction, .half, .room:
            let actor = random.next(below: actors.count)
            guard let connection = actors[actor].connection, !frozen.contains(connection.host)
            else {
                return
            }
            perform(step, actor)
        case .wait:
            let delays: [Int64] = [1, 1, 10, 30, 100, 100, 250, 1_000, 3_000, 12_000]
            pass(.milliseconds(random.pick(delays)))
        case .close:
            let actor = random.next(below: actors.count)
            guard let connection = actors[actor].connection, !frozen.contains(connection.host)
            else {
                return
            }
            close(actor)
        case .open:
            let idle = actors.indices.filter { actors[$0].connection == nil }
            if !idle.isEmpty { open(random.pick(idle)) }
        case .conclude: conclude()
        case .drain, .crash, .freeze, .thaw, .cut: disturb(step)
        }
    }

    private func perform(_ step: Step, _ actor: Int) {
        switch step {
        case .command: send([command(words.draw(&random), actor)], actor)
        case .burst: burst(actor)
        case .pipeline:
            send(
                (0..<2 + random.next(below: 4)).map { _ in command(words.draw(&random), actor) },
                actor)
        case .transaction: transact(actor)
        case .half:
            let bytes = Self.encoded(command(words.draw(&random), actor))
            let count = random.next(below: bytes.count)
            send(Array(bytes[..<count]), actor, "\(shown(bytes[..<count])) …")
            actors[actor].connection?.unsent = Array(bytes[count...])
        default:
            let room = random.pick(
                isLarge
                    ? [0, 1, 20, 300, 3_000, 70_000, 200_000, .max]
                    : [1, 20, 300, 3_000, 70_000, .max, .max])
            record.note("\(name(actor)) has room for \(room)")
            actors[actor].connection!.room = room
        }
    }

    private func disturb(_ step: Step) {
        let staying = stayingHosts
        let host = random.next(below: openCounts.count)
        if step != .thaw { isCalm = false }
        switch step {
        case .drain where staying.count > 1 && staying.contains(host) && !frozen.contains(host):
            record.note("n\(host) leaves")
            leaving.insert(host)
            mesh.handle(.leave, host)
        case .crash where staying.count > 1 && staying.contains(host) && !frozen.contains(host):
            record.note("n\(host) dies")
            leaving.insert(host)
            mesh.crash(host)
        case .thaw:
            for host in frozen.sorted() {
                record.note("n\(host) goes on")
                mesh.thaw(host)
            }
            frozen = []
        case .freeze where frozen.isEmpty && mesh.hosts[host].isUp:
            record.note("n\(host) stands still")
            frozen.insert(host)
            mesh.freeze(host)
            // Messages on their way are lost too, or wait.
            guard random.next(below: 2) == 0 else { return }
            for other in openCounts.indices where other != host { mesh.reset(host, other) }
        case .cut:
            let other = (host + 1) % openCounts.count
            record.note("n\(host) and n\(other) lose their link")
            mesh.reset(host, other)
        default: break
        }
    }

    private func conclude() {
        guard !doubts.isEmpty else { return }
        let doubt = doubts.remove(at: random.next(below: doubts.count))
        guard mesh.hosts[doubt.host].isUp, !frozen.contains(doubt.host) else { return }
        let parting = drawParting(nil)
        record.note(
            "n\(doubt.host), doubt \(doubt.number): \(parting.wasBroken ? "broken" : "in order"), "
                + "\(parting.unacknowledgedBytes) bytes unacknowledged")
        mesh.conclude(doubt.number, parting, doubt.host)
    }

    /// A new connection: it greets, makes its wishes, and mostly goes on with its session.
    ///
    /// - Parameter isReturning: it reads all, and shows the token that it was told last.
    func open(_ actor: Int, isReturning: Bool = false) {
        let hosts = openHosts
        guard !hosts.isEmpty else { return }
        var host = random.pick(hosts)
        if let destination = actors[actor].destination, hosts.contains(destination) {
            host = destination
        }
        actors[actor].destination = nil
        guard let place = mesh.open(host) else { return }
        openCounts[host] += 1
        let isEager = random.next(below: isLarge ? 2 : 3) > 0
        let room = isEager ? Int.max : random.pick([0, 100, 2_000, 40_000])
        actors[actor].connection = Connection(
            serial: connectionCount, host: host, place: place, room: isReturning ? .max : room)
        record.begin(connectionCount)
        record.note("\(name(actor)) opens, with room for \(room)")
        connectionCount += 1
        var greeting: [[String]] = []
        if actors[actor].isRESP3 { greeting.append(["HELLO", "3"]) }
        if random.next(below: hasSessions ? 4 : 2) == 0 {
            greeting.append(command(.policy, actor))
        }
        if random.next(below: 4) > (hasSessions ? 1 : 0) { greeting.append(["MESH.GAPS", "ON"]) }
        if random.next(below: hasSessions ? 3 : 1) == 0 {
            greeting.append(command(random.pick([.subscribe, .psubscribe]), actor))
        }
        if !hasSessions {
            if random.next(below: 2) == 0 { greeting.append(command(.attach, actor)) }
        } else if isReturning || !actors[actor].tokens.isEmpty && random.next(below: 6) > 0 {
            greeting.append(resumption(actor, isRight: isReturning))
        } else if random.next(below: 3) > 0 {
            greeting.append(command(random.pick([.session, .counted]), actor))
        }
        if !greeting.isEmpty { send(greeting, actor) }
    }
}

// The commands of clients.

extension Schedule {
    /// Several messages to one place, in one piece or one by one.
    private func burst(_ actor: Int) {
        let count = 2 + random.next(below: isLarge ? 16 : 8)
        let target = target()
        let size = size()
        let isOne = random.next(below: 2) == 0
        var commands: [[String]] = []
        for _ in 0..<count {
            guard actors[actor].connection != nil else { return }
            let command = [target.word, target.name, payload(actor, size)]
            if isOne {
                commands.append(command)
            } else {
                send([command], actor)
                turn()
            }
        }
        if isOne { send(commands, actor) }
    }

    private func transact(_ actor: Int) {
        let isQueueing = actors[actor].connection!.isQueueing
        actors[actor].connection!.isQueueing.toggle()
        if isQueueing {
            send([[random.next(below: 6) == 0 ? "DISCARD" : "EXEC"]], actor)
            return
        }
        var commands = [["MULTI"]]
        for _ in 0..<1 + random.next(below: 5) {
            commands.append(
                command(random.next(below: 3) == 0 ? words.draw(&random) : .send, actor))
        }
        // Messages of others come in between, or it is over at once.
        if random.next(below: 2) == 0 {
            commands.append(["EXEC"])
            actors[actor].connection!.isQueueing = false
        }
        send(commands, actor)
    }

    private func target() -> (word: String, name: String) {
        // Mostly somebody who is behind already.
        if isLarge, random.next(below: 2) == 0,
            let slow = actors.first(where: { $0.connection.map { $0.room < 1_000_000 } ?? false })
        {
            return random.next(below: 3) > (hasSessions ? 0 : 1)
                ? ("MESH.SEND", slow.user) : ("PUBLISH", random.pick(Self.channels))
        }
        switch random.next(below: 10) {
        case 0..<7: return ("MESH.SEND", random.pick(Self.users))
        case 7..<9: return ("PUBLISH", random.pick(Self.channels))
        default: return ("SPUBLISH", random.pick(Self.shards))
        }
    }

    private func size() -> Int {
        let number = random.next(below: 20)
        if isLarge, number < 9 { return 3_000 + random.next(below: 60_000) }
        if isLarge, number == 9 { return 100_000 + random.next(below: 200_000) }
        switch number {
        case 0..<8: return random.next(below: 30)
        case 8..<15: return random.next(below: 300)
        case 15..<19: return random.next(below: 2_000)
        default: return 0
        }
    }

    /// `publisher.number.ddddddd`, with a letter for each number; rarely no byte at all.
    private func payload(_ actor: Int, _ size: Int) -> String {
        if size == 0 { return "" }
        actors[actor].connection!.published += 1
        let number = actors[actor].connection!.published
        let letter = UInt8(ascii: "a") + UInt8(number % 26)
        return "\(actors[actor].connection!.serial).\(number)."
            + String(decoding: [UInt8](repeating: letter, count: size), as: UTF8.self)
    }

    /// The user that an actor mostly is, or another.
    private func user(_ actor: Int) -> String {
        random.next(below: 5) > 0 ? actors[actor].user : random.pick(Self.users)
    }

    func command(_ word: Word, _ actor: Int) -> [String] {
        switch word {
        // A subscriber of RESP2 may do little else.
        case .subscribe, .psubscribe, .ssubscribe:
            if !actors[actor].isRESP3, random.next(below: 4) > 0 {
                return attachment(.attach, actor)
            }
            return subscription(word)
        case .send: return ["MESH.SEND", random.pick(Self.users), payload(actor, size())]
        case .publish: return ["PUBLISH", random.pick(Self.channels), payload(actor, size())]
        case .spublish: return ["SPUBLISH", random.pick(Self.shards), payload(actor, size())]
        case .volatile: return ["MESH.PUBLISH", random.pick(Self.channels), "v", "VOLATILE"]
        // An inline command with quotes, in one piece.
        case .quoted: return ["PUBLISH \(random.pick(Self.channels)) \"a \\x41 b\""]
        case .unsubscribe:
            return random.pick([
                ["UNSUBSCRIBE"], ["PUNSUBSCRIBE"], ["SUNSUBSCRIBE"],
                ["UNSUBSCRIBE"] + several(Self.channels), ["PUNSUBSCRIBE"] + several(Self.patterns),
            ])
        case .resume: return resumption(actor, isRight: false)
        case .attach, .session, .counted, .detach, .ack: return attachment(word, actor)
        case .policy:
            return ["MESH.POLICY"]
                + random.pick([
                    ["disconnect"], ["drop-oldest"], ["drop-newest"], ["latest"], [],
                ])
        case .gaps: return ["MESH.GAPS", random.next(below: 4) > 0 ? "ON" : "OFF"]
        case .reports: return ["MESH.REPORTS", random.next(below: 4) > 0 ? "ON" : "OFF"]
        case .moves: return ["MESH.MOVES", random.next(below: 4) > 0 ? "ON" : "OFF"]
        default: return rarity(word, actor)
        }
    }

    private func subscription(_ word: Word) -> [String] {
        switch word {
        case .psubscribe: ["PSUBSCRIBE"] + several(Self.patterns)
        case .ssubscribe: ["SSUBSCRIBE"] + several(Self.shards)
        default: ["SUBSCRIBE"] + several(Self.channels)
        }
    }

    private func attachment(_ word: Word, _ actor: Int) -> [String] {
        let user = user(actor)
        if word != .detach, word != .ack { noteAttached(user, actor) }
        switch word {
        case .session:
            actors[actor].connection!.asked = (user, false)
            return ["MESH.ATTACH", user, "SESSION"]
        case .counted:
            actors[actor].connection!.asked = (user, true)
            return ["MESH.ATTACH", user, "SESSION", "COUNTED"]
        case .detach: return random.next(below: 3) > 0 ? ["MESH.DETACH", user] : ["MESH.DETACH"]
        case .ack:
            let token = actors[actor].tokens.last
            let seen = token?.seen ?? 0
            let count = random.next(below: 4) > 0 ? seen : random.next(below: seen + 3)
            return ["MESH.ACK", token?.user ?? user, "\(count)"]
        default: return ["MESH.ATTACH", user]
        }
    }

    private func noteAttached(_ user: String, _ actor: Int) {
        if !actors[actor].connection!.attached.insert(user).inserted { muddledUsers.insert(user) }
    }

    /// Mostly the latest token of the actor, with the number of messages that it has read.
    private func resumption(_ actor: Int, isRight: Bool) -> [String] {
        let draw = isRight ? 0 : random.next(below: 20)
        var token = actors[actor].tokens.last
        switch draw {
        case 14..<17: token = actors[actor].tokens.dropLast().last
        case 17: token = actors[random.next(below: actors.count)].tokens.last
        case 18:
            token?.text =
                "\(1 + random.next(below: 3))000000000000000-" + String(repeating: "5", count: 32)
        case 19: token?.text = "1000"
        default: break
        }
        guard let token else { return command(.session, actor) }
        actors[actor].connection!.asked = (token.user, token.isCounted)
        noteAttached(token.user, actor)
        var words = ["MESH.ATTACH", token.user, "RESUME", token.text]
        let saysSeen = isRight || random.next(below: 16) > 0
        if saysSeen == token.isCounted {
            var seen = token.seen
            if !isRight, random.next(below: 5) == 0 { seen = random.next(below: seen + 4) }
            words += ["SEEN", "\(seen)"]
        }
        return words
    }

    private func rarity(_ word: Word, _ actor: Int) -> [String] {
        switch word {
        case .watch: return ["MESH.WATCH"] + several(Self.users)
        case .unwatch:
            return random.pick([["MESH.UNWATCH"], ["MESH.UNWATCH"] + several(Self.users)])
        case .online: return ["MESH.ONLINE"] + several(Self.users)
        case .whereabouts: return ["MESH.WHERE", random.pick(Self.users)]
        case .numsub: return ["PUBSUB", "NUMSUB"] + several(Self.channels)
        case .reply: return ["CLIENT", "REPLY", random.pick(["OFF", "SKIP", "SKIP", "ON", "ON"])]
        case .reset: return ["RESET"]
        case .quit: return ["QUIT"]
        case .kill:
            let host = actors[actor].connection!.host
            return random.pick([
                ["CLIENT", "KILL", "ID", "\(1 + random.next(below: openCounts[host]))"],
                ["CLIENT", "KILL", "TYPE", "pubsub"],
            ])
        case .hello: return ["HELLO", random.pick(["2", "3"])]
        case .wrong:
            return random.pick([
                ["MESH.SEND", "ann"], ["NOTHING"], ["PUBLISH", "news"], ["MESH.ACK", "ann", "x"],
            ])
        default: return random.pick([["PING"], ["PING", "hey"]])
        }
    }

    private func several(_ names: [String]) -> [String] {
        let first = random.next(below: names.count)
        return random.next(below: 3) > 0 ? [names[first]] : Array(names[first...])
    }

    // MARK: Bytes

    func send(_ commands: [[String]], _ actor: Int) {
        send(
            commands.flatMap(Self.encoded), actor,
            commands.map { $0.map { shown($0.utf8) }.joined(separator: " ") }
                .joined(separator: " ⏎ "))
    }

    private func send(_ bytes: [UInt8], _ actor: Int, _ text: @autoclosure () -> String) {
        guard let connection = actors[actor].connection,
            !mesh.isEnded(connection.place, connection.host)
        else { return }
        record.note("\((mesh.now - startedAt).milliseconds): \(name(actor)) ▸ \(text())")
        actors[actor].connection!.unsent = []
        mesh.send(connection.unsent + bytes, from: connection.place, connection.host)
    }

    /// An array of bulk strings; a single word with spaces is an inline command.
    private static func encoded(_ words: [String]) -> [UInt8] {
        if words.count == 1, words[0].contains(" ") { return Array((words[0] + "\r\n").utf8) }
        var bytes = Array("*\(words.count)\r\n".utf8)
        for word in words {
            bytes += Array("$\(word.utf8.count)\r\n".utf8)
            bytes += word.utf8
            bytes += [0x0D, 0x0A]
        }
        return bytes
    }
}
