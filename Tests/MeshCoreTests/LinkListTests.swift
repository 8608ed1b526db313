import MeshWire
import Testing

@testable import MeshCore

/// Links of nodes are told by what has changed, and whole where that does not fit.
@Suite struct LinkListTests {
    private func ids(_ numbers: [UInt64]) -> [NodeID] { numbers.map { NodeID($0 << 32 | $0) } }

    private func list(_ version: UInt32, _ numbers: [UInt64]) -> LinkList {
        LinkList(
            owner: NodeID(7), incarnation: Incarnation(1), version: version, hopsLeft: 1,
            links: ids(numbers))
    }

    /// The news of `new` for those who were told `old`; nil: the whole list.
    private func change(_ old: LinkList, _ new: LinkList) -> LinkListChange? {
        var news = LinkNews()
        news.append(new, former: old.links)
        return news.changes.first
    }

    @Test func `a change makes the new list of the old one, once`() throws {
        let mesh = SmallMesh(1)
        let old = list(1, [1, 2, 3, 4, 5, 6])
        let new = list(2, [1, 2, 4, 5, 6, 9])
        let told = try #require(change(old, new))
        #expect(told.removed == [3] && told.added == ids([9]))
        var lists = LinkLists()
        #expect(lists.apply(told, mesh.hosts[0].node.members) == .misfit)
        _ = lists.merge(old, mesh.hosts[0].node.members)
        #expect(lists.apply(told, mesh.hosts[0].node.members) == .taken)
        #expect(lists.list(of: NodeID(7)) == new)
        #expect(lists.apply(told, mesh.hosts[0].node.members) == .known)
    }

    @Test func `a change fits a list between the two if it makes the same of it`() throws {
        let mesh = SmallMesh(1)
        let old = list(1, [1, 2, 3, 4, 5, 6])
        let new = list(3, [1, 2, 4, 5, 6, 9])
        let told = try #require(change(old, new))
        var lists = LinkLists()
        _ = lists.merge(list(2, [1, 2, 4, 5, 6]), mesh.hosts[0].node.members)
        #expect(lists.apply(told, mesh.hosts[0].node.members) == .taken)
        #expect(lists.links(of: NodeID(7)) == new.links)
    }

    @Test func `a change that does not fit alters nothing`() throws {
        let mesh = SmallMesh(1)
        let old = list(1, [1, 2, 3, 4, 5, 6])
        let told = try #require(change(old, list(3, [1, 2, 4, 5, 6, 9])))
        let other = list(2, [1, 2, 3, 4, 5, 8])
        var lists = LinkLists()
        _ = lists.merge(other, mesh.hosts[0].node.members)
        #expect(lists.apply(told, mesh.hosts[0].node.members) == .misfit)
        #expect(lists.list(of: NodeID(7)) == other)
        // Nor does one of more links than anybody has.
        var liar = told
        liar.added = ids(Array(100..<200))
        liar.check = LinkNews.check(ids([1, 2, 4, 5, 8]) + liar.added)
        #expect(lists.apply(liar, mesh.hosts[0].node.members) == .misfit)
    }

    @Test func `a list that is another one altogether is told whole`() {
        #expect(change(list(1, [1, 2, 3, 4]), list(2, [5, 6, 7, 8])) == nil)
        #expect(change(list(1, []), list(2, [5])) == nil)
    }

    // MARK: In a mesh

    private func message(_ frame: [UInt8]) -> Message? {
        guard frame[4] == FrameKind.link.rawValue else { return nil }
        return try? Message.decode(frame.span, from: Frame.prefixSize, to: frame.count)
    }

    private func frame(_ message: Message) -> [UInt8] {
        var queue = ByteQueue()
        _ = queue.appendLinkFrame(message)
        return queue.withSpan { $0.array(Slice(start: 0, count: $0.count)) }
    }

    @Test func `neighbours who know a list are told what changes of it`() {
        let mesh = SmallMesh(6)
        mesh.run(for: .seconds(2))
        var wholeCount = 0
        var changes: [LinkListChange] = []
        mesh.judge = { from, to, frame in
            guard from == 1, to == 0 else { return .pass }
            switch message(frame) {
            case .linkLists(let lists): wholeCount += lists.count
            case .linkChanges(let told): changes += told
            default: break
            }
            return .pass
        }
        let gone = mesh.hosts[5].node.id
        mesh.crash(5)
        mesh.run(for: .seconds(1))
        // Node 1's own links, and those of others, which it passes on.
        #expect(wholeCount == 0)
        #expect(Set(changes.map(\.owner)) == Set(mesh.ids(0..<5)))
        for change in changes {
            #expect(change.removed == [UInt32(gone.rawValue >> 32)] && change.added == [])
        }
    }

    @Test func `a link that is there again at once is no news`() {
        let mesh = SmallMesh(6)
        mesh.run(for: .seconds(2))
        var toldCount = 0
        mesh.judge = { from, to, frame in
            if case .linkLists(let lists) = message(frame), from == 1, to == 0 {
                toldCount += lists.count
            }
            if case .linkChanges(let changes) = message(frame), from == 1, to == 0 {
                toldCount += changes.count
            }
            return .pass
        }
        mesh.reset(1, 2)
        mesh.run(for: .seconds(1))
        // Of node 2 node 1 has been told once more, since the link is a new one.
        #expect(toldCount <= 1)
    }

    @Test func `a node that has missed a change asks for the whole list`() {
        let mesh = SmallMesh(7)
        mesh.run(for: .seconds(2))
        let owner = mesh.hosts[1].node.id
        var isDropping = true
        var askCount = 0
        mesh.judge = { from, to, frame in
            switch message(frame) {
            case .linkChanges(let changes)
            where isDropping && to == 0 && changes.contains { $0.owner == owner }:
                return .drop
            case .linksWanted where from == 0: askCount += 1
            default: break
            }
            return .pass
        }
        mesh.crash(6)
        mesh.run(for: .seconds(1))
        #expect(mesh.hosts[0].node.lists.links(of: owner)?.count == 6)
        isDropping = false
        mesh.crash(5)
        mesh.run(for: .seconds(1))
        #expect(askCount >= 1)
        let real = mesh.ids(0..<5).filter { $0 != owner }
        #expect(mesh.hosts[0].node.lists.links(of: owner) == real)
    }

    @Test func `however much is asked for, each list is sent once`() {
        let mesh = SmallMesh(4)
        mesh.run(for: .seconds(2))
        var told: [NodeID] = []
        mesh.judge = { from, to, frame in
            if from == 0, to == 1, case .linkLists(let lists) = message(frame) {
                told += lists.map(\.owner)
            }
            return .pass
        }
        let known = mesh.ids(0..<4)
        let wanted = (0..<500).flatMap { known + [NodeID($0)] }
        mesh.inject(frame(.linksWanted(wanted)), to: 0, from: 1)
        mesh.run(for: .milliseconds(10))
        // Its own, and those of its neighbours but the asker.
        #expect(told.sorted() == [known[0], known[2], known[3]].sorted())
    }
}
