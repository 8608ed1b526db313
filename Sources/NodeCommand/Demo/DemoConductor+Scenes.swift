import Glibc
import MeshTransport

/// The events besides the talk, one after the other.
enum Scene {
    case calm
    case rest(Rest)
    case healing(Healing)
    case joining(Joining)

    /// A user detaches for a moment; watchers on all nodes must see it go and come.
    struct Rest {
        enum Stage {
            /// Nobody writes to it any more; what is under way arrives.
            case quiet(until: Duration)
            case leaving(Watch)
            case away(until: Duration)
            case returning(Watch)
        }
        var user: Int
        var stage: Stage
    }

    /// A change that watchers must be told.
    struct Watch {
        var isOnline: Bool
        /// Nil until the node has confirmed the change.
        var since: Duration?
        /// Nodes whose watchers have not been told.
        var waiting: Set<Int>
        var deadline: Duration
    }

    /// A node was killed: who has still to learn it.
    struct Healing {
        var kill: Int
        var keepIt: Set<Int>
        /// By node: moved users whose place it does not know.
        var doNotKnow: [Int: Set<Int>] = [:]
        var nextQuestion: Duration
        var deadline: Duration
    }

    /// A new node comes.
    struct Joining {
        var node: Int
        var seed: Int
        var began: Duration
        var nextQuestion: Duration
        var isComplete = false
    }

    var isCalm: Bool { if case .calm = self { true } else { false } }

    /// To whom nobody writes now.
    var quietUser: Int? { if case .rest(let rest) = self { rest.user } else { nil } }
}

/// When the next scenes begin.
struct Schedule {
    var rest = Duration.zero
    var kill: Duration?
    var join: Duration?

    mutating func begin(at now: Duration, seconds: Int?) {
        rest = now + .milliseconds(1_500)
        // Early enough that a short run sees the healed mesh for most of its time.
        kill = now + min(.seconds(6), seconds.map { .milliseconds(350) * $0 } ?? .seconds(6))
    }
}

extension DemoConductor {
    private static let presencePatience = Duration.seconds(2)
    private static let healingPatience = Duration.seconds(10)
    private static let joinPatience = Duration.seconds(10)

    func advanceScene() {
        switch scene {
        case .calm: if model.phase == .talking { beginScene() }
        case .rest(let rest): advance(rest)
        case .healing(let healing): advance(healing)
        case .joining(let joining): advance(joining)
        }
    }

    private func beginScene() {
        let left = model.talkEnds.map { $0 - model.now } ?? .seconds(3_600)
        let now = model.now
        if let join = schedule.join, now >= join {
            schedule.join = nil
            if left >= .seconds(2) { beginJoin() }
        } else if let kill = schedule.kill, now >= kill {
            schedule.kill = nil
            if model.kills.isEmpty || left >= .seconds(4) { killNode() }
        } else if now >= schedule.rest, left >= .milliseconds(2_500),
            schedule.kill.map({ $0 - now >= .milliseconds(1_600) }) ?? true
        {
            beginRest()
        }
    }

    // MARK: A user rests

    private func beginRest() {
        let users = model.users.indices.filter { model.users[$0].presence == .online }
        guard let user = users.randomElement() else { return }
        scene = .rest(
            Scene.Rest(user: user, stage: .quiet(until: model.now + .milliseconds(300))))
    }

    private func advance(_ rest: Scene.Rest) {
        let name = model.users[rest.user].name
        switch rest.stage {
        case .quiet(let end):
            guard model.now >= end else { return }
            guard model.phase == .talking, connections[rest.user] != nil else { return endRest() }
            change(rest.user, isOnline: false)
            connections[rest.user]?.ask(["MESH.DETACH"], .detach)
        case .leaving(let watch):
            guard isSettled(watch) else { return }
            model.note(
                "\(name) has gone" + account(watch))
            scene = .rest(
                Scene.Rest(user: rest.user, stage: .away(until: model.now + .milliseconds(700))))
            sendToAbsent(rest.user)
        case .away(let end):
            guard model.now >= end else { return }
            guard model.phase == .talking, connections[rest.user] != nil else { return endRest() }
            change(rest.user, isOnline: true)
            connections[rest.user]?.ask(["MESH.ATTACH", name], .attach)
        case .returning(let watch):
            guard isSettled(watch) else { return }
            model.note("\(name) is back" + account(watch))
            endRest()
        }
    }

    private func endRest() {
        scene = .calm
        schedule.rest = model.now + .milliseconds(2_500)
    }

    private func change(_ user: Int, isOnline: Bool) {
        let watch = Scene.Watch(
            isOnline: isOnline, waiting: Set(watchingNodes),
            deadline: model.now + Self.presencePatience)
        model.presences.expected += watch.waiting.count
        scene = .rest(
            Scene.Rest(user: user, stage: isOnline ? .returning(watch) : .leaving(watch)))
    }

    private func isSettled(_ watch: Scene.Watch) -> Bool {
        watch.since != nil && watch.waiting.isEmpty || model.now >= watch.deadline
    }

    private func account(_ watch: Scene.Watch) -> String {
        guard watch.waiting.isEmpty, let since = watch.since else {
            return ", not seen on \(Words.count(watch.waiting.count, "node"))"
        }
        return ", seen on every node after \(Words.milliseconds(model.now - since))"
    }

    func detached(_ user: Int) {
        model.users[user].presence = .resting
        confirmChange(of: user)
    }

    func returned(_ user: Int) {
        model.users[user].presence = .online
        confirmChange(of: user)
    }

    private func confirmChange(of user: Int) {
        withWatch(of: user) { $0.since = $0.since ?? self.model.now }
    }

    /// A watcher on this node was told of a user.
    func told(_ node: Int, user: Int, isOnline: Bool) {
        var isExpected = false
        withWatch(of: user) { watch in
            guard watch.isOnline == isOnline, watch.waiting.remove(node) != nil else { return }
            isExpected = true
            // News may be faster than the node's reply.
            let since = watch.since ?? self.model.now
            self.model.presences.seen += 1
            self.model.presences.slowest = max(
                self.model.presences.slowest, self.model.now - since)
        }
        // The death of a node shows as coming and going of its users when they take their time.
        let isExplained = model.kills.contains { kill in
            kill.users.contains(user)
                && (kill.knownAt.map { model.now - $0 < .seconds(1) } ?? true)
        }
        if !isExpected, !isExplained { model.presences.unexpected += 1 }
    }

    private func withWatch(of user: Int, _ body: (inout Scene.Watch) -> Void) {
        guard case .rest(var rest) = scene, rest.user == user else { return }
        switch rest.stage {
        case .leaving(var watch):
            body(&watch)
            rest.stage = .leaving(watch)
        case .returning(var watch):
            body(&watch)
            rest.stage = .returning(watch)
        case .quiet, .away: return
        }
        scene = .rest(rest)
    }

    /// Somebody on another node writes to a user who is away, and must be told at once.
    private func sendToAbsent(_ user: Int) {
        let others = model.users.indices.filter {
            $0 != user && model.users[$0].presence == .online
        }
        guard let sender = others.randomElement(), let connection = connections[sender] else {
            return
        }
        model.presences.askedAbsent += 1
        connection.ask(
            ["MESH.SEND", model.users[user].name, "are you there?"], .sentToAbsent)
    }

    // MARK: A node dies

    private func killNode() {
        // Not the first one: guests are told to join there.
        let nodes = model.servingNodes.filter { $0 != 0 }
        let busy = nodes.filter { !model.users(on: $0).isEmpty }
        guard let node = busy.randomElement() ?? nodes.randomElement() else { return }
        let users = model.users(on: node)
        model.now = clock
        processes[node]?.kill()
        model.nodes[node].status = .killed(at: model.now)
        model.kills.append(DemoKill(node: node, killedAt: model.now, users: users))
        if model.trace?.path.contains(node) ?? false { model.trace = nil }
        let others = model.servingNodes
        var healing = Scene.Healing(
            kill: model.kills.count - 1, keepIt: Set(others), nextQuestion: model.now,
            deadline: model.now + Self.healingPatience)
        if !users.isEmpty { for other in others { healing.doNotKnow[other] = Set(users) } }
        scene = .healing(healing)
        let names = users.map { model.users[$0].name }
        model.note(
            "node \(model.nodes[node].number) killed with SIGKILL"
                + (names.isEmpty ? "" : "; there: \(Words.list(names))"), .bad)
    }

    private func advance(_ healing: Scene.Healing) {
        var healing = healing
        if healing.keepIt.isEmpty, healing.doNotKnow.isEmpty || model.now >= healing.deadline {
            scene = .calm
            schedule.join = model.now + .milliseconds(2_500)
            schedule.rest = model.now + .milliseconds(1_000)
            // The links that have closed the gap.
            for node in model.servingNodes { controls[node]?.ask(["MESH.LINKS"], .links) }
            return
        }
        if model.now >= healing.deadline {
            scene = .calm
            return
        }
        guard model.now >= healing.nextQuestion else { return }
        // Often enough to measure, not so often that the answers take the time.
        healing.nextQuestion =
            model.now + max(.milliseconds(10), .milliseconds(1) * options.nodeCount)
        scene = .healing(healing)
        for node in healing.keepIt.sorted() { controls[node]?.ask(["MESH.MEMBERS"], .members) }
        guard model.kills[healing.kill].usersBackAt != nil else { return }
        for (node, users) in healing.doNotKnow.sorted(by: { $0.key < $1.key }) {
            for user in users.sorted() {
                controls[node]?.ask(
                    ["MESH.WHERE", model.users[user].name], .whereabouts(user: user))
            }
        }
    }

    /// A node has named its members.
    func toldMembers(_ node: Int, _ members: Set<Int>) {
        guard case .healing(var healing) = scene else { return }
        let kill = model.kills[healing.kill]
        guard !members.contains(kill.node), healing.keepIt.remove(node) != nil else { return }
        if healing.keepIt.isEmpty {
            model.kills[healing.kill].droppedAt = model.now
            if kill.users.isEmpty { model.kills[healing.kill].knownAt = model.now }
            let others = model.servingNodes.count
            model.note(
                (others == 1 ? "the other node has" : "all \(others) others have")
                    + " dropped it after \(Words.milliseconds(model.now - kill.killedAt))", .good)
        }
        scene = .healing(healing)
    }

    /// A node has said where a user is.
    func toldWhereabouts(_ node: Int, _ user: Int, _ holders: [Int]) {
        guard case .healing(var healing) = scene, let place = model.users[user].node,
            holders.contains(place), healing.doNotKnow[node]?.remove(user) != nil
        else { return }
        if healing.doNotKnow[node]?.isEmpty ?? false { healing.doNotKnow[node] = nil }
        if healing.doNotKnow.isEmpty {
            model.kills[healing.kill].knownAt = model.now
            let took = model.now - model.kills[healing.kill].killedAt
            model.note("every node knows their new place after \(Words.milliseconds(took))", .good)
        }
        scene = .healing(healing)
    }

    /// A user is attached to another node.
    func userMoved() {
        guard let index = model.kills.indices.last, model.kills[index].usersBackAt == nil else {
            return
        }
        let kill = model.kills[index]
        guard kill.users.allSatisfy({ model.users[$0].presence == .online }) else { return }
        model.kills[index].usersBackAt = model.now
        let places = kill.users.map { user in
            "\(model.users[user].name) on node \((model.users[user].node ?? 0) + 1)"
        }
        let took = Words.milliseconds(model.now - kill.killedAt)
        model.note("its users are back after \(took): \(Words.list(places))", .good)
    }

    /// A message has arrived at a user.
    func reached(_ user: Int, from sender: Int, _ message: DemoMessage) {
        guard let index = model.kills.indices.last, model.kills[index].flowingAt == nil,
            model.kills[index].users.contains(user), message.sentAt > model.kills[index].killedAt,
            model.users[user].presence == .online,
            model.users[sender].node != model.users[user].node
        else { return }
        model.kills[index].flowingAt = model.now
    }

    // MARK: A node joins

    private func beginJoin() {
        guard let seed = model.servingNodes.randomElement() else { return }
        do throws(SystemError) {
            let node = try addNode(seeds: [seed])
            model.note("node \(node + 1) starts, and joins through node \(seed + 1)")
            scene = .joining(
                Scene.Joining(
                    node: node, seed: seed, began: model.now, nextQuestion: model.now))
        } catch {
            fault(error.description)
        }
    }

    private func advance(_ joining: Scene.Joining) {
        var joining = joining
        let name = "node \(joining.node + 1)"
        if joining.isComplete {
            model.note(
                "\(name) is ready after \(Words.milliseconds(model.now - joining.began))", .good)
            for node in model.servingNodes { controls[node]?.ask(["MESH.LINKS"], .links) }
            watchUsers(on: joining.node)
            endJoin()
        } else if model.nodes[joining.node].status.isGone || model.phase != .talking {
            endJoin()
        } else if model.now >= joining.began + Self.joinPatience {
            fault("\(name) did not become ready")
            endJoin()
        } else if model.now >= joining.nextQuestion {
            joining.nextQuestion = model.now + .milliseconds(10)
            scene = .joining(joining)
            controls[joining.node]?.ask(["MESH.STATUS"], .status)
        }
    }

    private func endJoin() {
        scene = .calm
        schedule.kill = model.now + .seconds(12)
        schedule.rest = max(schedule.rest, model.now + .milliseconds(500))
    }

    /// A node is ready and knows all others.
    func toldComplete(_ node: Int) {
        guard case .joining(var joining) = scene, joining.node == node else { return }
        joining.isComplete = true
        scene = .joining(joining)
    }
}
