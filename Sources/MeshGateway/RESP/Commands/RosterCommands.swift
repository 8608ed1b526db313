import MeshCore
import MeshWire

// Watching rooms: MESH.WATCHROOM and MESH.UNWATCHROOM.

extension Gateway {
    /// MESH.WATCHROOM: a confirmation, then pushes.
    mutating func watchRoom(_ input: Span<UInt8>, _ client: ClientIndex) -> Request {
        guard let room = room(1, client) else { return .handled }
        let countsAlone = arguments.count > 2
        guard arguments.count == 2 || arguments.count == 3 && equals(2, "counts", input) else {
            return answer(client, .refused(usage(.meshWatchRoom)))
        }
        let growth = hub.growth(.roomWatch, room, input, client)
        guard isAdmitted(.roomWatch, growth, client) else { return .handled }
        change(.roomWatch, isJoining: true, 1..<2, input, client)
        hub.tellRoster(of: room, input, countsAlone: countsAlone, client)
        return .handled
    }
}
