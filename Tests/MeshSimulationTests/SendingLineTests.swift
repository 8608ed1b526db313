import MeshCore
import Testing

@testable import MeshSimulation

/// A line is shared as connections share a machine's: one queue a link, in which control goes first.
@Suite struct SendingLineTests {
    private static func frame(_ link: Int, _ number: Int32, size: Int) -> SendingLine.Frame {
        SendingLine.Frame(
            action: Action(
                kind: .bytes, isToDialler: false, host: number,
                connection: ConnectionNumber(link)),
            link: LinkIndex(link), size: size)
    }

    /// The frames that leave until the line is free, by number, as they end.
    private static func drain(_ line: inout SendingLine, rate: Int64 = 1_000_000) -> [Int32] {
        var ended: [Int32] = []
        while let turn = line.next(rate) {
            if turn.isLast { ended.append(turn.action.host) }
        }
        return ended
    }

    @Test func `control goes first, bulk last, and a frame that has begun is not interrupted`() {
        var line = SendingLine()
        _ = line.append(Self.frame(0, 1, size: 200_000), .message)
        let first = line.next(1_000_000)
        #expect(first?.bytes == 50_000 && first?.isLast == false)
        _ = line.append(Self.frame(0, 2, size: 10), .bulk)
        _ = line.append(Self.frame(0, 3, size: 10), .message)
        _ = line.append(Self.frame(0, 4, size: 10), .control)
        #expect(Self.drain(&line) == [1, 4, 3, 2])
        #expect(line.isFree)
        #expect(line.tell(of: LinkIndex(0)) == 0)
    }

    @Test func `frames waiting for one link do not hold up another`() {
        var line = SendingLine()
        for number in 0..<10 {
            _ = line.append(Self.frame(0, Int32(number), size: 14_480), .control)
        }
        _ = line.next(1_000_000)
        for link in 1...3 {
            _ = line.append(Self.frame(link, Int32(link * 100), size: 100), .message)
        }
        var turns: [Int32] = []
        for _ in 0..<4 { turns.append(line.next(1_000_000)?.action.host ?? -1) }
        #expect(turns == [100, 200, 300, 1])
        #expect(line.tell(of: LinkIndex(0)) == 9 * 14_480)
    }

    @Test func `links take turns, a packet each`() {
        var line = SendingLine()
        _ = line.append(Self.frame(0, 1, size: 100_000), .bulk)
        _ = line.append(Self.frame(1, 2, size: 50_000), .control)
        var bytes: [Int32: Int] = [:]
        for _ in 0..<20 {
            let turn = line.next(1_000_000)
            bytes[turn?.action.host ?? -1, default: 0] += turn?.bytes ?? 0
        }
        #expect(bytes == [1: 10 * SendingLine.packetBytes, 2: 10 * SendingLine.packetBytes])
        #expect(Self.drain(&line) == [2, 1])
    }

    @Test func `a connection that ends takes what has not left, the begun frame first`() {
        var line = SendingLine()
        _ = line.append(Self.frame(0, 1, size: 60_000), .message)
        _ = line.append(Self.frame(1, 2, size: 10), .message)
        _ = line.append(Self.frame(0, 3, size: 10), .control)
        // A packet of a frame each: of the first link its control.
        let ended = [line.next(1_000), line.next(1_000), line.next(1_000)].map { $0?.action.host }
        #expect(ended == [2, 3, 1])
        let rest = line.take(ConnectionNumber(0))
        #expect(rest.map(\.action.host) == [1])
        #expect(rest.map(\.size) == [60_000 - SendingLine.packetBytes])
        #expect(Self.drain(&line).isEmpty)
        #expect(line.tell(of: LinkIndex(0)) == 0)
    }
}
