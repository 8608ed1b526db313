import CLinux
import Glibc

/// Plays the demo: starts nodes, is all of the users, kills, and keeps the books in the model.
///
/// One thread and one loop: what is due is done, what is new is drawn, then it waits for bytes.
final class DemoConductor {
    private static let frame = Duration.milliseconds(100)
    /// Copies that have not arrived so long after the last message was sent are missing.
    private static let patience = Duration.milliseconds(1_500)
    /// A scene that goes on when the talk ends may take so long to end.
    private static let scenePatience = Duration.seconds(4)

    let options: Demo.Options
    var model: DemoModel
    /// By node; nil when it has ended.
    var processes: [NodeProcess?] = []
    /// By node: asks the node for its state, and watches the users there.
    var controls: [DemoConnection?] = []
    /// By node; 0 before it has told.
    var meshPorts: [UInt16] = []
    /// By user.
    var connections: [DemoConnection?]
    var start = StartState()
    var talk = TalkState()
    var scene = Scene.calm
    var schedule = Schedule()
    private var terminal: Terminal?
    private var layout = RingLayout()
    private let began = linux_monotonic_nanoseconds()
    private var nextFrame = Duration.zero
    private var nextSecond = Duration.zero
    private var printedEventCount = 0
    private var isOver = false

    init(_ options: Demo.Options) {
        self.options = options
        model = DemoModel(nodeCount: options.nodeCount)
        connections = [DemoConnection?](repeating: nil, count: model.users.count)
        terminal = Terminal()
    }

    var clock: Duration { .nanoseconds(linux_monotonic_nanoseconds() - began) }

    /// Plays to the end; returns the exit status.
    func run() throws -> Int32 {
        Signals.install()
        defer {
            terminal?.leave()
            // All at once, so that none of them has time to miss the others.
            for process in processes { process?.kill() }
            for process in processes { process?.end() }
        }
        let nodes = Words.count(options.nodeCount, "node")
        Terminal.write("Smallworld demo: starting \(nodes) on free ports of this machine.\n")
        while !isOver {
            model.now = clock
            try advance()
            obey()
            draw()
            wait()
        }
        terminal?.leave()
        guard model.talkBegan != nil else { return 128 + Signals.stopSignal }
        let summary = DemoSummary(model, needsKill: Signals.stopCount == 0)
        Terminal.write("\n" + summary.text)
        // A second signal did not let the last messages arrive: nothing can be said.
        if Signals.stopCount > 1 { return 128 + Signals.stopSignal }
        return summary.isSound ? 0 : 1
    }

    private func advance() throws {
        try findEnded()
        switch model.phase {
        case .starting: try advanceStart()
        case .talking:
            attachMovingUsers()
            speak()
            askNodes()
            advanceScene()
            if let end = model.talkEnds, model.now >= end { endTalk() }
        case .ending:
            attachMovingUsers()
            askNodes()
            advanceScene()
            let waited = model.now - (model.talkEnded ?? model.now)
            if scene.isCalm, model.ledger.openCount == 0 || waited >= Self.patience {
                isOver = true
            }
            if waited >= Self.scenePatience { isOver = true }
        }
        if model.talkBegan != nil, model.now >= nextSecond { closeSecond() }
    }

    /// Does as signals and keys ask.
    private func obey() {
        if Signals.stopCount > 0 {
            switch model.phase {
            case .starting: isOver = true
            case .talking: endTalk()
            case .ending: if Signals.stopCount > 1 { isOver = true }
            }
        }
        if Signals.takeSuspension() {
            let wasEntered = terminal?.isEntered ?? false
            terminal?.leave()
            kill(getpid(), SIGSTOP)
            if wasEntered { terminal?.enter() }
        }
    }

    // MARK: Talk

    func beginTalk() {
        model.phase = .talking
        model.talkBegan = model.now
        model.talkEnds = options.seconds.map { model.now + .seconds($0) }
        nextSecond = model.now + .seconds(1)
        talk.nextMessage = model.now
        talk.nextPublication = model.now
        schedule.begin(at: model.now, seconds: options.seconds)
        for node in controls.indices { watchUsers(on: node) }
        let users = Words.count(model.users.count, "user")
        model.note(
            "\(users) on \(Words.count(model.servingNodes.count, "node")) begin to talk", .good)
    }

    private func endTalk() {
        model.phase = .ending
        model.talkEnded = model.now
        // The last figures of each node.
        for control in controls { control?.ask(["MESH.STATUS"], .status) }
    }

    private func closeSecond() {
        nextSecond += .seconds(1)
        // After a pause of the whole process there is no need to make up for the seconds in between.
        if nextSecond < model.now { nextSecond = model.now + .seconds(1) }
        model.closeSecond()
        guard terminal == nil, model.phase == .talking else { return }
        let news = model.events.suffix(model.eventCount - printedEventCount)
        printedEventCount = model.eventCount
        Terminal.write(PlainView.line(model, events: Array(news)) + "\n")
    }

    // MARK: Showing

    /// The first node can be joined: says how, then begins to draw.
    func beginShow() {
        Terminal.write(
            "Join it from another terminal, with any Redis client:\n\(LiveView.joinLine(model).text)\n"
        )
        terminal?.enter()
    }

    private func draw() {
        guard model.now >= nextFrame, terminal?.isEntered ?? false else { return }
        nextFrame = model.now + Self.frame
        layout.approach(model.ring.filter { model.isShown($0) })
        let size = Terminal.size
        let lines = LiveView.lines(model, layout, columns: size.columns, rows: size.rows)
        terminal?.draw(lines, size: size)
    }

    // MARK: Waiting

    private enum Source {
        case keyboard
        case process(Int)
        case control(Int)
        case user(Int)
    }

    /// Waits for bytes until something is due, and takes what has come.
    private func wait() {
        var due = model.now + .milliseconds(20)
        if model.phase == .talking { due = min(due, talk.nextMessage) }
        var polled: [pollfd] = []
        var sources: [Source] = []
        func add(_ descriptor: Int32, _ source: Source, isWriting: Bool = false) {
            let events = isWriting ? POLLIN | POLLOUT : POLLIN
            polled.append(pollfd(fd: descriptor, events: Int16(events), revents: 0))
            sources.append(source)
        }
        if terminal?.hasKeys ?? false { add(STDIN_FILENO, .keyboard) }
        for (node, process) in processes.enumerated() {
            if let process, process.output >= 0 { add(process.output, .process(node)) }
        }
        for (node, control) in controls.enumerated() {
            if let control { add(control.socket, .control(node), isWriting: control.hasOutput) }
        }
        for (user, connection) in connections.enumerated() {
            if let connection {
                add(connection.socket, .user(user), isWriting: connection.hasOutput)
            }
        }
        let left = max(due - clock, .zero).inMicroseconds
        let count = unsafe poll(&polled, nfds_t(polled.count), Int32((left + 999) / 1_000))
        guard count > 0 else { return }
        model.now = clock
        for (entry, source) in zip(polled, sources) where entry.revents != 0 {
            switch source {
            case .keyboard: if terminal?.readQuit() ?? false { Signals.stop() }
            case .process(let node): readOutput(of: node)
            case .control(let node):
                guard let control = controls[node] else { continue }
                control.flush()
                let (inputs, isOver) = control.receive()
                for input in inputs { take(input, fromNode: node) }
                if isOver { controls[node] = nil }
            case .user(let user):
                guard let connection = connections[user] else { continue }
                connection.flush()
                let (inputs, isOver) = connection.receive()
                for input in inputs { take(input, fromUser: user) }
                if isOver { connectionEnded(of: user) }
            }
        }
    }
}
