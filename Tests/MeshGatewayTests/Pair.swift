import MeshCore
import MeshDriver
import MeshWire

@testable import MeshGateway
@testable import MeshServer

/// Two servers with a mesh between them. What one sends waits until `settle` or `pass` carries it.
struct Pair: ~Copyable {
    var here: Harness
    var there: Harness
    static let hereID = NodeID(1)
    static let thereID = NodeID(2)

    init(_ configuration: GatewayConfiguration = GatewayConfiguration()) {
        let shared = SharedMesh()
        shared.append(configuration, seeds: [])
        shared.append(configuration, seeds: [MemoryMesh.endpoint(0)])
        shared.join()
        here = Harness(shared, 0)
        there = Harness(shared, 1)
        judge { _, _ in .pass }
    }

    /// The fate of questions and answers.
    func judge(
        _ judge: @escaping (_ isAnswer: Bool, _ from: Int) -> MemoryMesh.Verdict
    ) {
        here.shared.mesh.judge = { from, _, frame in
            guard frame[4] == FrameKind.routed.rawValue,
                frame[7] == RoutedBody.control.rawValue
            else { return .pass }
            let start = Frame.routedHeaderSize + Frame.destinationSize
            switch try? Message.decode(frame.span, from: start, to: frame.count) {
            case .query: return judge(false, from)
            case .answer: return judge(true, from)
            default: return .pass
            }
        }
    }

    /// The fate of parts of sessions; questions and answers pass.
    func judgeParts(_ judge: @escaping (_ bytes: [UInt8]) -> MemoryMesh.Verdict) {
        here.shared.mesh.judge = { _, _, frame in
            guard frame[4] == FrameKind.routed.rawValue,
                frame[7] == RoutedBody.session.rawValue
            else { return .pass }
            return judge(frame)
        }
    }

    /// Does what is due, and carries questions and answers to and fro until there are none.
    mutating func settle() {
        for _ in 0..<3 { here.shared.mesh.run(for: .zero) }
    }

    /// Lets so much time pass that a question is given up.
    mutating func giveUp() { here.shared.mesh.run(for: .milliseconds(1_100)) }

    /// Lets time pass on both sides.
    mutating func pass(_ delay: Delay) {
        here.shared.mesh.run(for: delay)
        settle()
    }
}

/// A message to ann as a RESP2 client reads it.
func message(_ text: String) -> String { "*3·$4·user·$3·ann·$\(text.utf8.count)·\(text)·" }
