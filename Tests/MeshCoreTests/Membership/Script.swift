import MeshWire

@testable import MeshCore

/// Carries out the lines of a script on a stage. The commands are explained in `Transcripts/README.md`.
final class Script {
    let stage = Stage()
    private var queryCount: UInt32 = 0

    /// Carries out one block of lines, and returns what it has led to.
    func run(_ block: [String]) throws -> [String] {
        for line in block {
            var words = line.split(separator: " ")
            if words.first == "quietly" {
                words.removeFirst()
                stage.isQuiet = true
            }
            defer { stage.isQuiet = false }
            do throws(ScriptError) {
                try carryOut(words, line)
            } catch {
                throw ScriptError("\(line): \(error)")
            }
            if stage.isQuiet {
                settle()
            } else {
                stage.writeHeartbeats()
                stage.writeRest()
            }
        }
        return stage.takeLines()
    }

    /// The events so far are not told.
    private func settle() {
        for name in stage.nodeNames {
            stage.actors[name]!.view = stage.view(stage.actors[name]!)
        }
        stage.writeHeartbeats()
        _ = stage.takeLines()
    }

    private func carryOut(_ words: [Substring], _ line: String) throws(ScriptError) {
        let names = words.dropFirst().map(String.init)
        switch words[0] {
        case "with": try configure(names)
        case "nodes": try beginMesh(names)
        case "played": try beginPlayed(names)
        case "plays":
            let isMoved = names.count == 3 && names[1] == "at"
            for name in isMoved ? [names[0]] : names {
                stage.play(name, at: isMoved ? names[2] : nil)
            }
        case "start": try start(names)
        case "wait": try wait(names)
        case "cut":
            stage.cuts.insert([names[0], names[1]])
            stage.cuts.insert([names[1], names[0]])
        case "cut-one-way": stage.cuts.insert([names[0], names[1]])
        case "mend": stage.cuts = []
        case "crash": try stage.crash(names[0])
        case "freeze": try stage.actor(names[0]).isFrozen = true
        case "thaw": try stage.thaw(names[0])
        case "reset": try stage.reset(names[0], names[1])
        case "show": try show(names)
        default: try act(words, line)
        }
    }

    // MARK: Beginnings

    /// `with degree 4`, `with forget 20s`, `with remember 1`: what nodes of this scene are told.
    private func configure(_ words: [String]) throws(ScriptError) {
        guard words.count == 2, let number = Int64(words[1].filter(\.isNumber)) else {
            throw ScriptError("no setting: \(words)")
        }
        let former = stage.configure
        switch words[0] {
        case "degree":
            stage.configure = {
                former(&$0); $0.degree = Int(number)
            }
        case "forget":
            stage.configure = {
                former(&$0); $0.timing.forget = .seconds(number)
            }
        case "remember":
            stage.configure = {
                former(&$0); $0.rememberedDeadCount = Int(number)
            }
        default: throw ScriptError("no setting: \(words)")
        }
    }

    /// Nodes that know and are linked with each other.
    private func beginMesh(_ names: [String]) throws(ScriptError) {
        stage.isQuiet = true
        for name in names { stage.start(name, seeds: name == names[0] ? [] : [names[0]]) }
        try stage.run(for: .seconds(5))
        beginNow()
    }

    /// `played A with B C D`: a node that is linked with parts, all of which are linked with each other.
    private func beginPlayed(_ names: [String]) throws(ScriptError) {
        stage.isQuiet = true
        let parts = Array(names.dropFirst(2))
        for name in parts {
            stage.play(name)
            stage.actors[name]!.isObliging = true
        }
        stage.start(names[0], seeds: [parts[0]])
        try stage.run(for: .seconds(5), hearing: parts)
        for name in parts { stage.actors[name]!.isObliging = false }
        beginNow()
    }

    private func beginNow() {
        stage.words.began = stage.now
        settle()
    }

    /// `start E seeds A B at D`
    private func start(_ names: [String]) throws(ScriptError) {
        var seeds: [String] = []
        var place: String?
        var isSeed = false
        for name in names.dropFirst() {
            if name == "seeds" || name == "at" {
                isSeed = name == "seeds"
            } else if isSeed {
                seeds.append(name)
            } else {
                place = name
            }
        }
        stage.start(names[0], seeds: seeds, at: place)
        try stage.run(for: .zero)
    }

    // MARK: Time

    /// `wait 1450ms hearing B C`
    private func wait(_ names: [String]) throws(ScriptError) {
        let text = names[0]
        let number = Int64(text.filter(\.isNumber)) ?? 0
        let delay: Delay = text.hasSuffix("ms") ? .milliseconds(number) : .seconds(number)
        try stage.run(for: delay, hearing: Array(names.dropFirst(2)))
    }

    private func show(_ names: [String]) throws(ScriptError) {
        for name in names[0].split(separator: ",").map(String.init) {
            let view = stage.view(try stage.actor(name))
            let wanted = names.count > 1 ? Array(names.dropFirst()) : ["member"]
            for line in view.lines(wanted) { stage.write("\(name) \(line)") }
        }
    }

    // MARK: Acts

    /// An action of somebody: `B tells A statuses(D suspect 3.0)`, `B refuses`, `A attaches bob`.
    private func act(_ words: [Substring], _ line: String) throws(ScriptError) {
        guard words.count > 1 else { throw ScriptError("no command") }
        let name = String(words[0])
        let actor = try stage.actor(name)
        switch words[1] {
        case "tells":
            let text = line[line.range(of: "tells ")!.upperBound...].split(
                separator: " ", maxSplits: 1)
            try tell(String(text[0]), text[1], from: actor)
        case "dials": try stage.dial(from: name, to: String(words[2]))
        case "closes": try stage.end(String(words[2]), name)
        case "opens": actor.door = .open
        case "refuses": actor.door = .shut
        case "ignores": actor.door = .mute
        case "leaves": stage.handle(name, "leaves", isMentioned: true, .leave)
        case "attaches", "detaches":
            let change: DirectoryChange = words[1] == "attaches" ? .add : .remove
            for user in words.dropFirst(2) {
                stage.handle(
                    name, "\(words[1]) \(user)", isMentioned: true,
                    .directory(key(user), change))
            }
        case "sends": publish(String(words[2]), from: actor)
        case "asks":
            queryCount += 1
            let id = try stage.actor(String(words[2])).record.id
            stage.handle(
                name, "asks \(words[2])", isMentioned: true,
                .query(QueryID(queryCount), .node(id, subject: .empty)))
        case "changes": try change(actor, words)
        default: throw ScriptError("no act: \(words[1])")
        }
    }

    private func tell(
        _ target: String, _ text: Substring, from actor: Actor
    ) throws(ScriptError) {
        let listener = try stage.actor(target)
        let message = try stage.words.message(text, from: actor.record, to: listener)
        let frame = stage.words.frame(
            message, from: actor.record.id, to: listener.record.id)
        try stage.say(frame, from: actor.name, to: target)
    }

    /// `B changes 3 to 5 for A`: changes of these numbers in B's log, each a new key, told by B itself;
    /// `… by C`: in C's words; `… again`: as a repair.
    private func change(_ actor: Actor, _ words: [Substring]) throws(ScriptError) {
        guard let first = UInt64(words[2]), let last = UInt64(words[4]) else {
            throw ScriptError("which changes?")
        }
        let target = String(words[6])
        let isRepair = words.last == "again"
        let by = words.firstIndex(of: "by").map { String(words[$0 + 1]) } ?? actor.name
        let records = DirectoryRecords(
            origin: actor.record.id, life: actor.record.incarnation.life, firstSequence: first,
            isRepair: isRepair,
            records: (first...last).map {
                DirectoryRecord(.addKey, key("\(actor.name)\($0)"))
            })
        let listener = try stage.actor(target).record
        let frame =
            isRepair
            ? stage.words.frame(.records(records), from: actor.record.id, to: listener.id)
            : stage.words.frame(records, end: NodeID(listener.id.rawValue + 1))
        try stage.say(frame, from: by, to: target)
    }

    private func key(_ user: some StringProtocol) -> Key {
        KeyHasher(cluster: "transcript").key(.user, Array(user.utf8))
    }

    private func publish(_ user: String, from actor: Actor) {
        let name = Array(user.utf8)
        let message = OutgoingMessage(
            .user, key(user), name: Slice(start: 0, count: name.count),
            payload: Slice(start: 0, count: name.count), sender: 1)
        stage.perform(actor.name, "sends a message to \(user)", true, name) {
            _ = $0.node.publish(message, bytes: name.span, at: stage.now, into: &$0.effects)
        }
    }
}

extension String {
    /// Where another string first occurs.
    fileprivate func range(of part: String) -> Range<String.Index>? { ranges(of: part).first }
}
