import MeshCore
import MeshGateway

/// Users in rooms: programs that join and leave, lose their connections and come back elsewhere, and say again
/// what was not answered, under the same id; and programs that watch who is in the rooms.
extension Run {
    private static var lookPeriod: Delay { .milliseconds(5) }
    /// A program gives an answer up after this.
    private static var answerTime: Delay { .seconds(8) }
    /// So soon after the last change watchers know of it.
    static var rosterTime: Delay { .seconds(3) }

    mutating func planRooms(from start: Instant) {
        let plan = scenario.rooms
        guard plan.count > 0, plan.members + plan.watchers > 0 else { return }
        for number in 0..<plan.members + plan.watchers {
            let isWatcher = number >= plan.members
            roomLoad.programs.append(
                RoomProgram(
                    name: isWatcher ? "w\(number - plan.members)" : "m\(number)",
                    isWatcher: isWatcher, roomCount: plan.count,
                    comesAt: start + .milliseconds(Int64(loadRandom.next(below: 1_000)))))
            if isWatcher { continue }
            for room in 0..<plan.count {
                roomLoad.programs[number].wants[room] = loadRandom.next(below: 2) == 0
            }
        }
        roomLoad.changedAt = start
        agenda.schedule(ScheduledAction(kind: .roomLook), at: start)
        planNext(.roomChange, plan.changes, after: start + .seconds(2))
        planNext(.roomSay, plan.says, after: start + .seconds(2))
    }

    // MARK: Connections

    mutating func lookAtRooms() {
        for number in roomLoad.programs.indices { look(at: number) }
        agenda.schedule(ScheduledAction(kind: .roomLook), at: now + Self.lookPeriod)
    }

    private mutating func look(at number: Int) {
        guard let line = roomLoad.programs[number].line else {
            if roomLoad.programs[number].until <= now { connect(number) }
            return
        }
        read(number, line)
        guard roomLoad.programs[number].line == line else { return }
        let isOver = world.lines[line].end != .open && world.lines[line].arrived.isEmpty
        let isSilent =
            !roomLoad.programs[number].awaited.isEmpty
            && now - roomLoad.programs[number].since > Self.answerTime
        if isOver || isSilent { disconnect(number) }
    }

    private mutating func connect(_ number: Int) {
        let host = live[loadRandom.next(below: live.count)]
        let line = world.connect(to: host, room: 65_536)
        roomLoad.changedAt = now
        roomLoad.programs[number].line = line
        roomLoad.programs[number].host = host
        roomLoad.programs[number].decoder = RESPDecoder()
        command(["HELLO", "3"], .greeting, number)
        if roomLoad.programs[number].isWatcher {
            for room in 0..<scenario.rooms.count { send(["MESH.WATCHROOM", "r\(room)"], number) }
            return
        }
        command(["MESH.ATTACH", roomLoad.programs[number].name], .attachment, number)
    }

    private mutating func disconnect(_ number: Int) {
        if let line = roomLoad.programs[number].line { world.close(line: line) }
        roomLoad.changedAt = now
        roomLoad.programs[number].line = nil
        roomLoad.programs[number].until =
            now + .milliseconds(Int64(1 + loadRandom.next(below: 400)))
        roomLoad.programs[number].awaited = FIFO()
        roomLoad.programs[number].isAttached = false
        for room in 0..<scenario.rooms.count {
            roomLoad.programs[number].isIn[room] = false
            roomLoad.programs[number].rosters[room] = RoomProgram.Roster()
        }
    }

    private mutating func send(_ words: [String], _ number: Int) {
        guard let line = roomLoad.programs[number].line else { return }
        world.write(RESPDecoder.command(words), to: line)
    }

    private mutating func command(
        _ words: [String], _ awaited: RoomProgram.Awaited, _ number: Int
    ) {
        roomLoad.programs[number].since = now
        roomLoad.programs[number].awaited.append(awaited)
        send(words, number)
    }

    // MARK: Changes

    /// A member joins a room, leaves one, or loses its connection.
    mutating func changeRooms() {
        guard scenario.rooms.members > 0 else { return }
        let number = loadRandom.next(below: scenario.rooms.members)
        let (room, how) = (loadRandom.next(below: scenario.rooms.count), loadRandom.next(below: 4))
        if how == 0 {
            if roomLoad.programs[number].line != nil { disconnect(number) }
            return
        }
        roomLoad.changedAt = now
        roomLoad.programs[number].wants[room].toggle()
        if roomLoad.programs[number].isAttached { pursue(room, number) }
    }

    private mutating func pursue(_ room: Int, _ number: Int) {
        if roomLoad.programs[number].wants[room] {
            command(["MESH.JOIN", "r\(room)"], .join(room), number)
        } else {
            command(["MESH.LEAVE", "r\(room)"], .leave(room), number)
        }
    }

    mutating func sayInRoom() {
        guard scenario.rooms.members > 0 else { return }
        let number = loadRandom.next(below: scenario.rooms.members)
        let room = loadRandom.next(below: scenario.rooms.count)
        guard roomLoad.programs[number].isAttached else { return }
        let message = roomLoad.saidCount
        roomLoad.saidCount += 1
        roomLoad.programs[number].unanswered.append((message, room))
        say(message, room, number)
    }

    private mutating func say(_ message: Int, _ room: Int, _ number: Int) {
        let name = roomLoad.programs[number].name
        command(
            ["MESH.SAY", "r\(room)", String(message), "ONCE", String(message), "FROM", name],
            .say(message), number)
    }

    // MARK: Reading

    private mutating func read(_ number: Int, _ line: Int) {
        let bytes = world.read(line)
        if bytes.isEmpty { return }
        roomLoad.programs[number].decoder.append(bytes)
        while roomLoad.programs[number].line == line {
            do throws(MalformedReply) {
                guard let reply = try roomLoad.programs[number].decoder.next() else { return }
                take(reply, number)
            } catch {
                report(violation("\(roomLoad.programs[number].name) was sent no RESP", number))
                disconnect(number)
            }
        }
    }

    private func violation(_ text: String, _ number: Int) -> Violation {
        Violation(checker: .roster, time: now, host: roomLoad.programs[number].host, text: text)
    }

    private mutating func take(_ reply: RESPReply, _ number: Int) {
        if case .push(let fields) = reply {
            take(push: fields, number)
            return
        }
        guard let awaited = roomLoad.programs[number].awaited.popFirst() else { return }
        if case .error = reply {
            // Its node joins, or leaves: another one may do better.
            disconnect(number)
            return
        }
        switch awaited {
        case .greeting: break
        case .attachment: attached(number)
        case .join(let room): roomLoad.programs[number].isIn[room] = true
        case .leave(let room): roomLoad.programs[number].isIn[room] = false
        case .say(let message):
            roomLoad.programs[number].unanswered.removeAll { $0.number == message }
        }
    }

    private mutating func attached(_ number: Int) {
        roomLoad.programs[number].isAttached = true
        roomLoad.changedAt = now
        for room in 0..<scenario.rooms.count where roomLoad.programs[number].wants[room] {
            pursue(room, number)
        }
        for (message, room) in roomLoad.programs[number].unanswered {
            roomLoad.saidAgainCount += 1
            say(message, room, number)
        }
    }

    private mutating func take(push fields: [RESPReply], _ number: Int) {
        let host = roomLoad.programs[number].host!
        switch fields.first?.shown {
        case "room" where fields.count == 3:
            take(message: fields[2].shown, number, host)
            if isMistaken(.repeatsInRooms, host, every: 16) {
                take(message: fields[2].shown, number, host)
            }
        case "roster" where fields.count == 6:
            roomLoad.pushCount += 1
            if fields[2].shown == "change", isMistaken(.losesRosters, host, every: 4) { return }
            takeRoster(fields, number)
        default: break
        }
    }

    private mutating func isMistaken(_ mistake: Mistake, _ host: Int, every count: Int) -> Bool {
        guard let mutant = world.mutant, mutant.mistake == mistake, mutant.isActive(host, now)
        else { return false }
        world.mutant!.counter += 1
        return world.mutant!.counter % count == 0
    }

    private mutating func take(message: String, _ number: Int, _ host: Int) {
        roomLoad.heardCount += 1
        guard let message = Int(message) else { return }
        if roomLoad.programs[number].had[host, default: []].insert(message).inserted { return }
        let name = roomLoad.programs[number].name
        report(
            Violation(
                checker: .once, time: now, host: host,
                text: "\(name) gets message \(message) of a room twice"))
    }

    /// `roster room state members joined left`
    private mutating func takeRoster(_ fields: [RESPReply], _ number: Int) {
        guard let room = Int(fields[1].shown.dropFirst()),
            roomLoad.programs[number].rosters.indices.contains(room)
        else { return }
        var roster = roomLoad.programs[number].rosters[room]
        switch fields[2].shown {
        case "all", "more":
            if !roster.isGathering { roster.members = [:] }
            roster.isGathering = fields[2].shown == "more"
            roster.isKnown = !roster.isGathering
        case "change": break
        default: roster.isKnown = false
        }
        for member in fields[4].elements where member.elements.count == 3 {
            roster.members[member.elements[1].shown] = member.elements[0].shown
        }
        for member in fields[5].elements where member.elements.count == 3 {
            roster.members[member.elements[1].shown] = nil
        }
        roomLoad.programs[number].rosters[room] = roster
    }

    // MARK: The end

    /// Nothing is on its way to or from the programs, and watchers have had time to be told.
    var areRoomsCalm: Bool {
        roomLoad.programs.allSatisfy(\.isCalm) && now > roomLoad.changedAt + Self.rosterTime
    }

    /// Each watcher knows who is in each room: `View(W) = ∪ members(X)` over the live nodes X.
    mutating func finishRooms() {
        guard !roomLoad.programs.isEmpty else { return }
        metrics.roomMessages = roomLoad.saidCount
        metrics.roomCopies = roomLoad.heardCount
        metrics.rosterPushes = roomLoad.pushCount
        guard areRoomsCalm, now > truth.lastTrouble + scenario.settle else { return }
        metrics.rostersChecked = scenario.rooms.watchers * scenario.rooms.count
        for (number, watcher) in roomLoad.programs.enumerated() where watcher.isWatcher {
            for room in 0..<scenario.rooms.count {
                let told = watcher.rosters[room].members.values.sorted()
                let there = roomLoad.programs.filter { $0.isIn[room] }.map(\.name).sorted()
                if told == there { continue }
                report(
                    violation(
                        "\(watcher.name) is told of \(told) in r\(room), and there are \(there)",
                        number))
            }
        }
    }
}
