import MeshCore
import MeshWire
import Testing

@testable import MeshGateway

/// Batches of one owner, and the view that they make at another node.
@Suite struct RosterTableTests {
    private static let start = Instant(nanoseconds: 1_000_000_000)
    private static let here = NodeID(1)
    private static let other = NodeID(2)

    private func change(
        _ number: UInt32, _ metadata: String? = nil, _ reason: RosterReason? = nil,
        of node: NodeID = other
    ) -> RosterChange {
        RosterChange(
            id: AttachmentID(node: node, number: number), user: Array("u\(number)".utf8),
            metadata: metadata.map { Array($0.utf8) }, reason: reason)
    }

    /// The macro does not take what changes something.
    private func check(_ isTrue: Bool, at place: SourceLocation = #_sourceLocation) {
        #expect(isTrue, sourceLocation: place)
    }

    private func owner() -> RosterOwner {
        RosterOwner(room: [1], watchKey: Key(1), epoch: 7, at: Self.start)
    }

    @Test func `a batch has the last change of each member, and nothing of one that came and went`()
    {
        var owner = owner()
        owner.note(change(1), isNew: true, at: Self.start)
        owner.note(change(2), isNew: true, at: Self.start)
        owner.note(change(1, "a"), isNew: false, at: Self.start)
        owner.note(change(3, "b"), isNew: false, at: Self.start)
        owner.note(change(2, nil, .quit), isNew: false, at: Self.start)
        owner.note(change(3, nil, .lost), isNew: false, at: Self.start)
        owner.note(change(4, nil, .quit), isNew: false, at: Self.start)
        owner.note(change(4), isNew: true, at: Self.start)
        #expect(owner.due == Self.start + .milliseconds(10))
        let batch = owner.close(count: 5)
        let header = RosterHeader(epoch: 7, version: 1, count: 5)
        #expect(batch == .batch(header, [change(1, "a"), change(3, nil, .lost), change(4)]))
        #expect(owner.due == nil)
        #expect(owner.beacon(count: 5) == .batch(header, []))
    }

    @Test func `where much changes batches wait for longer, and a full one says so`() {
        var owner = owner()
        for number in 0..<257 {
            owner.note(change(UInt32(number)), isNew: true, at: Self.start)
            _ = owner.close(count: 1)
        }
        owner.note(change(300), isNew: true, at: Self.start)
        #expect(owner.due == Self.start + .milliseconds(100))
        #expect(!owner.isFull)
        for number in 0..<100 {
            let metadata = String(repeating: "m", count: 1_000)
            owner.note(change(UInt32(number), metadata), isNew: true, at: Self.start)
        }
        #expect(owner.isFull)
    }

    @Test func `nodes that have asked are told for five seconds`() {
        var owner = owner()
        owner.note(asker: NodeID(9), at: Self.start)
        #expect(owner.told(at: Self.start) == [NodeID(9)])
        check(owner.setWatchers([NodeID(3), NodeID(5)]) == [NodeID(3), NodeID(5)])
        #expect(owner.told(at: Self.start) == [NodeID(3), NodeID(5), NodeID(9)])
        check(owner.setWatchers([NodeID(3), NodeID(9)]) == [NodeID(9)])
        #expect(owner.told(at: Self.start + .seconds(5)) == [NodeID(3), NodeID(9)])
        owner.forget(NodeID(3))
        owner.forget(NodeID(9))
        #expect(owner.isIdle(at: Self.start))
    }

    /// A view that has asked one node, and the number of its question.
    private func asked() -> (RosterView, UInt32) {
        var view = RosterView(room: [1], roomKey: Key(1), here: Self.here)
        view.found([Self.other], here: Self.here, at: Self.start)
        #expect(view.unasked(at: Self.start) == [Self.other])
        _ = view.ask(Self.other, number: 4, at: Self.start)
        view.noteStages()
        #expect(!view.isSettled)
        return (view, 4)
    }

    private func header(_ version: UInt32, _ count: Int, epoch: UInt32 = 7) -> RosterHeader {
        RosterHeader(epoch: epoch, version: version, count: count)
    }

    @Test func `batches are applied in order, each once, and one that is missing is noticed`() {
        var (view, number) = asked()
        // Before the page nothing is known.
        check(view.apply(header(3, 9), [change(9)], of: Self.other))
        check(view.take(number + 1, header(4, 1), [change(8)], from: Self.other).fits)
        #expect(view.count == 0)
        check(view.take(number, header(4, 1), [change(1)], from: Self.other).fits)
        #expect(view.isSettled && view.count == 1)
        check(view.apply(header(5, 2), [change(2)], of: Self.other))
        check(view.apply(header(5, 2), [change(3)], of: Self.other))
        check(view.apply(header(4, 2), [change(3)], of: Self.other))
        check(view.apply(header(5, 2), [change(3)], of: NodeID(77)))
        #expect(view.count == 2)
        for bad in [header(7, 3), header(6, 3, epoch: 8)] {
            check(!view.apply(bad, [change(3)], of: Self.other))
        }
        check(view.apply(header(6, 1), [change(1, nil, .quit)], of: Self.other))
        #expect(view.count == 1)
        // All that there is is told anew.
        view.askAgain(Self.other, at: Self.start + .seconds(2))
        #expect(view.unasked(at: Self.start + .seconds(2)) == [Self.other])
        _ = view.ask(Self.other, number: 5, at: Self.start + .seconds(2))
        check(view.take(5, header(9, 1), [change(5)], from: Self.other).fits)
        var shown: [UInt32] = []
        view.forEach { shown.append($0.id.number) }
        #expect(shown == [5])
    }

    @Test func `a session that two nodes tell of is there as long as one of them does`() {
        var (view, number) = asked()
        _ = view.take(number, header(1, 1), [change(1, "a")], from: Self.other)
        view.applyHere(change(1, "b"), count: 1, isCounted: false, Self.here)
        #expect(view.count == 1)
        #expect(view[change(1).id]?.metadata == Array("b".utf8))
        check(view.apply(header(2, 0), [change(1, nil, .quit)], of: Self.other))
        #expect(view.count == 1)
        view.applyHere(change(1, nil, .quit), count: 0, isCounted: false, Self.here)
        #expect(view.count == 0)
    }

    @Test func `pages go on in order, and more members than a view has are counted`() {
        var (view, number) = asked()
        var told: UInt32 = 0
        var isOver = false
        for page in 0..<30 where !isOver {
            var changes: [RosterChange] = []
            for _ in 0..<1_000 {
                told += 1
                let text = String(told)
                let user = Array((String(repeating: "0", count: 6 - text.count) + text).utf8)
                changes.append(
                    RosterChange(id: AttachmentID(node: Self.other, number: told), user: user))
            }
            var header = header(1, 19_000)
            header.flags = .continues
            let taken = view.take(number, header, changes, from: Self.other)
            _ = view.reconsider(isShort: false, here: Self.here, at: Self.start)
            guard taken.fits, let place = taken.place, !view.isCounting else {
                isOver = true
                #expect(page == 20)
                break
            }
            if page == 3 {
                // A page that stands before the place does not go on behind it.
                var copy = view
                _ = copy.ask(Self.other, number: 99, behind: place, at: Self.start)
                check(!copy.take(99, header, changes, from: Self.other).fits)
            }
            number += 1
            _ = view.ask(Self.other, number: number, behind: place, at: Self.start)
        }
        #expect(isOver && view.isCounting && view.count == 19_000)
        #expect(view.cost < 10_000)
    }
}
