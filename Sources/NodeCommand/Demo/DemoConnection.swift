import CLinux
import Glibc
import MeshGateway

/// A connection of the demo to a node: a Redis client in RESP3 that never waits.
final class DemoConnection {
    /// The question that an awaited reply belongs to.
    enum Question {
        case hello
        case attach
        case detach
        case published
        case sent(DemoLedger.Course, sequence: Int)
        case sentToAbsent
        case status
        case links
        case members
        case online
        case subscriberCount
        case whereabouts(user: Int)
        case trace(sender: Int, receiver: Int)
    }

    enum Input {
        case reply(RESPReply, to: Question)
        case push([RESPReply])
    }

    /// The most that waits for a node that does not read; beyond it the connection counts as lost.
    private static let outputBytesMax = 4 * 1024 * 1024

    let node: Int
    private(set) var socket: Int32
    private var decoder = RESPDecoder()
    private var output: [UInt8] = []
    private var questions: [Question] = []
    private var firstQuestion = 0

    /// Begins to connect to a port of this machine; nil when the kernel refuses at once.
    init?(node: Int, port: UInt16) {
        self.node = node
        let address = linux_endpoint(high: 0, low: 0x7F00_0001, port: port, is_ipv6: false)
        socket = linux_connect(address, 0)
        guard socket >= 0 else { return nil }
        ask(["HELLO", "3"], .hello)
    }

    deinit {
        if socket >= 0 { close(socket) }
    }

    var hasOutput: Bool { !output.isEmpty }

    /// Sends a command whose reply is awaited; nil: it has none, its confirmations are pushes.
    func ask(_ words: [String], _ question: Question?) {
        if let question { questions.append(question) }
        let mustFlush = output.isEmpty
        output += RESPDecoder.command(words)
        if mustFlush { flush() }
    }

    /// Sends what waits, as far as the socket takes it. A socket that fails is found by `receive`.
    func flush() {
        guard socket >= 0, !output.isEmpty else { return }
        let count = unsafe output.withUnsafeBytes { bytes in
            unsafe linux_send(socket, bytes.baseAddress, bytes.count)
        }
        if count > 0 { output.removeFirst(count) }
    }

    /// Everything that has arrived, and whether the connection is over.
    func receive() -> (inputs: [Input], isOver: Bool) {
        var inputs: [Input] = []
        var isOver = output.count > Self.outputBytesMax
        var chunk = [UInt8](repeating: 0, count: 16 * 1024)
        while !isOver {
            let count = unsafe chunk.withUnsafeMutableBytes { buffer in
                unsafe linux_receive(socket, buffer.baseAddress, buffer.count)
            }
            if count == -Int(EAGAIN) || count == -Int(EINTR) { break }
            guard count > 0 else {
                isOver = true
                break
            }
            decoder.append(chunk[..<count])
            if count < chunk.count { break }
        }
        do throws(MalformedReply) {
            while let reply = try decoder.next() {
                if case .push(let values) = reply {
                    inputs.append(.push(values))
                } else if let question = nextQuestion() {
                    inputs.append(.reply(reply, to: question))
                } else {
                    throw MalformedReply()
                }
            }
        } catch {
            isOver = true
        }
        return (inputs, isOver)
    }

    private func nextQuestion() -> Question? {
        guard firstQuestion < questions.count else { return nil }
        defer {
            firstQuestion += 1
            if firstQuestion == questions.count {
                questions.removeAll(keepingCapacity: true)
                firstQuestion = 0
            }
        }
        return questions[firstQuestion]
    }
}
