import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway
@testable import MeshServer

/// Requests for users and rooms, and to all.
@Suite struct PersonalRequestTests {
    private func user(_ desk: Desk, _ host: Int, _ name: String = "ann") -> Desk.Person {
        let person = desk.open(host)
        #expect(desk.say(person, "MESH.ATTACH", name) == ["OK"])
        return person
    }

    private func member(_ desk: Desk, _ host: Int, _ name: String) -> Desk.Person {
        let person = user(desk, host, name)
        #expect(desk.say(person, "MESH.JOIN", "lobby") == ["1"])
        return person
    }

    // MARK: One

    @Test func `a user's request goes to the attachment that acted last, on the nearest node`()
        throws
    {
        let desk = Desk(2)
        let far = user(desk, 1)
        let (first, last) = (user(desk, 0), user(desk, 0))
        desk.run(10)
        desk.say(first, "PING")
        let asker = desk.open()
        desk.say(asker, "MESH.REQUEST", "USER", "ann", "x")
        #expect(desk.heard(last).isEmpty && desk.heard(far).isEmpty)
        let words = try #require(desk.heard(first).first).components(separatedBy: " → ")
        #expect(words.count == 5 && words[2...] == ["user", "ann", "x"])
        #expect(desk.say(first, "MESH.REPLY", words[1], "here") == ["1"])
        #expect(desk.heard(asker) == ["here"])
        desk.run(10)
        desk.say(last, "PING")
        desk.say(asker, "MESH.REQUEST", "USER", "ann", "y")
        #expect(desk.requests(last).map(\.payload) == ["y"])
        desk.close(first)
        desk.close(last)
        desk.run(1)
        #expect(desk.heard(asker).first?.hasPrefix("DIED ") == true)
        desk.say(asker, "MESH.REQUEST", "USER", "ann", "z")
        let given = desk.requests(far)
        #expect(given.map(\.payload) == ["z"])
        #expect(desk.say(far, "MESH.REJECT", given[0].id, "not now") == ["1"])
        #expect(desk.heard(asker) == ["REJECTED not now"])
        desk.expectNothing()
    }

    @Test func `nobody there is an error that says so, and WAIT waits`() {
        let desk = Desk(2)
        let asker = desk.open()
        #expect(
            desk.say(asker, "MESH.REQUEST", "USER", "ann", "x")
                == ["NOSERVICE nobody is attached as ann"])
        #expect(
            desk.say(asker, "MESH.REQUEST", "ROOM", "lobby", "x", "ALL")
                == ["NOSERVICE nobody else is in the room lobby"])
        // A connection is not asked what it asks.
        let alone = member(desk, 0, "ann")
        #expect(
            desk.say(alone, "MESH.REQUEST", "ROOM", "lobby", "x")
                == ["NOSERVICE nobody else is in the room lobby"])
        #expect(
            desk.say(alone, "MESH.REQUEST", "USER", "ann", "x")
                == ["NOSERVICE nobody is attached as ann"])
        #expect(desk.say(asker, "MESH.REQUEST", "USER", "bob", "x", "WAIT").isEmpty)
        #expect(desk.say(alone, "MESH.REQUEST", "ROOM", "hall", "x", "ALL", "WAIT").isEmpty)
        let bob = user(desk, 1, "bob")
        #expect(desk.say(bob, "MESH.JOIN", "hall") == ["1"])
        desk.run(1_000)
        let given = desk.requests(bob)
        #expect(given.map(\.payload) == ["x", "x"])
        for request in given { desk.say(bob, "MESH.REPLY", request.id, "yes") }
        #expect(desk.heard(asker) == ["yes"])
        #expect(desk.heard(alone).first?.contains("OK") == true)
        desk.expectNothing()
    }

    @Test func `a room's request goes to one member, and by RETRY to another when that one goes`()
        throws
    {
        let desk = Desk(2)
        let members = [member(desk, 0, "ann"), member(desk, 0, "bob"), member(desk, 1, "cy")]
        let asker = desk.open()
        desk.say(asker, "MESH.REQUEST", "ROOM", "lobby", "x", "RETRY", "ASYNC", "a")
        var left = members
        for _ in 0..<2 {
            desk.run(200)
            let holder = try #require(left.firstIndex { !desk.requests($0).isEmpty })
            desk.close(left.remove(at: holder))
        }
        desk.run(200)
        let last = try #require(desk.requests(left[0]).first)
        desk.say(left[0], "MESH.FAIL", last.id, "no")
        #expect(desk.heard(asker) == ["reply → a → FAILED → no"])
        desk.expectNothing()
    }

    @Test func `a connection has at most so many open ones, and those given up make room`() {
        let desk = Desk()
        let ann = user(desk, 0)
        var askers: [Desk.Person] = []
        for _ in 0..<2 {
            let asker = desk.open()
            askers.append(asker)
            for number in 0..<512 {
                desk.say(asker, "MESH.REQUEST", "USER", "ann", "x", "ASYNC", "\(number)")
            }
        }
        #expect(desk.requests(ann).count == Services.personalMax)
        let third = desk.open()
        #expect(
            desk.say(third, "MESH.REQUEST", "USER", "ann", "x")
                == ["BUSY too many requests wait for ann"])
        desk.say(askers[0], "MESH.CANCEL", "7")
        #expect(desk.say(third, "MESH.REQUEST", "USER", "ann", "y").isEmpty)
        #expect(desk.requests(ann).map(\.payload) == ["y"])
    }

    // MARK: All

    /// The answers, in order.
    private func answers(_ lines: [String]) -> [[String]] {
        lines.flatMap { line in
            line.split(separator: " → ", omittingEmptySubsequences: false).map(String.init)
        }.chunked(by: 3)
    }

    @Test func `all members are asked, hidden ones too, and each answer names its sid`() throws {
        let desk = Desk(3)
        let ann = member(desk, 0, "ann")
        let bob = member(desk, 1, "bob")
        let hidden = desk.open(1)
        #expect(desk.say(hidden, "MESH.JOIN", "lobby", "HIDDEN") == ["1"])
        let cy = member(desk, 2, "cy")
        let asker = desk.open()
        #expect(desk.say(asker, "MESH.REQUEST", "ROOM", "lobby", "all?", "ALL").isEmpty)
        for (person, word) in [(ann, "a"), (bob, "b"), (hidden, "h")] {
            let request = try #require(desk.requests(person).first)
            #expect(request.payload == "all?")
            #expect(desk.say(person, "MESH.REPLY", request.id, word) == ["1"])
            #expect(desk.say(person, "MESH.REPLY", request.id, "again") == ["0"])
        }
        #expect(desk.heard(asker).isEmpty)
        let last = try #require(desk.requests(cy).first)
        desk.say(cy, "MESH.FAIL", last.id, "no")
        let told = answers(desk.heard(asker))
        #expect(told.map { $0[1] } == ["OK", "OK", "OK", "FAILED"])
        #expect(Set(told.map { $0[2] }) == ["a", "b", "h", "no"])
        let names = told.map { $0[0] }
        #expect(names.count { $0.contains(".") } == 3 && names.contains("2000000000000000"))
        desk.expectNothing()
    }

    @Test func `the dead are among the answers at once, and the silent when the time is over`()
        throws
    {
        let desk = Desk(4)
        let people = [member(desk, 1, "a"), member(desk, 2, "b"), member(desk, 3, "c")]
        let quitter = member(desk, 3, "d")
        let asker = desk.open()
        desk.say(
            asker, "MESH.REQUEST", "ROOM", "lobby", "x", "ALL", "TIMEOUT", "3000", "ASYNC", "t")
        let request = try #require(desk.requests(people[0]).first)
        desk.say(people[0], "MESH.REPLY", request.id, "here")
        desk.servers.mesh.crash(2)
        desk.close(quitter)
        desk.run(2_900)
        #expect(desk.heard(asker).isEmpty)
        desk.run(101)
        let line = try #require(desk.heard(asker).first)
        #expect(line.hasPrefix("reply → t → OK → "))
        let told = answers([String(line.dropFirst("reply → t → OK → ".count))])
        #expect(told.map { $0[1] } == ["OK", "DIED", "TIMEOUT", "DIED"])
        #expect(desk.heard(people[2]).last?.hasPrefix("cancel") == true)
        desk.expectNothing()
    }

    @Test func `when all that live have answered the dead are not waited for`() throws {
        let desk = Desk(3)
        let (one, _) = (member(desk, 1, "a"), member(desk, 2, "b"))
        let asker = desk.open()
        desk.say(asker, "MESH.REQUEST", "ROOM", "lobby", "x", "ALL", "TIMEOUT", "60000")
        let request = try #require(desk.requests(one).first)
        desk.say(one, "MESH.REPLY", request.id, "here")
        desk.servers.mesh.crash(2)
        desk.run(200)
        let told = answers(desk.heard(asker))
        #expect(told.map { $0[1] } == ["OK", "DIED"])
        desk.expectNothing()
    }

    @Test func `all providers are asked within their credits`() throws {
        let desk = Desk(2)
        let providers = [
            desk.provider(0, concurrency: 1), desk.provider(0, concurrency: 1),
            desk.provider(1, concurrency: 1),
        ]
        let asker = desk.open()
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "first", "ALL", "ASYNC", "a")
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "second", "ALL", "ASYNC", "b")
        for provider in providers {
            let first = desk.requests(provider)
            #expect(first.map(\.payload) == ["first"])
            desk.servers.mesh.send(
                RESPDecoder.command(["MESH.REPLY", first[0].id, "1"]), from: provider.client,
                provider.host)
            desk.servers.mesh.settle()
            let second = desk.requests(provider)
            #expect(second.map(\.payload) == ["second"])
        }
        let nodes = ["1000000000000000", "1000000000000000", "2000000000000000"]
        let line = try #require(desk.heard(asker).last)
        #expect(
            line == "reply → a → OK → " + nodes.map { "\($0) → OK → 1" }.joined(separator: " → "))
        // Of those that have b one goes, and the others stay silent.
        desk.close(providers[0])
        desk.run(6_000)
        let last = try #require(desk.heard(asker).last)
        let told = answers([String(last.dropFirst("reply → b → OK → ".count))])
        #expect(told.map { $0[1] } == ["DIED", "TIMEOUT", "TIMEOUT"])
        #expect(told.map { $0[0] } == nodes)
        for provider in providers.dropFirst() { desk.close(provider) }
        desk.expectNothing()
    }

    @Test func `a thousand are asked, and answers beyond the bound say so`() throws {
        var answers = GatheredAnswers()
        let nodes = (1...3).map { NodeID($0) }
        answers.begin(nodes)
        func note(_ asked: [AttachmentID], by node: NodeID) -> Bool {
            answers.note(asked, by: node)
        }
        func note(_ outcome: RequestOutcome, at place: Int, by node: NodeID) -> Bool {
            answers.note(outcome, at: place, by: node)
        }
        let many = (1...900).map { AttachmentID(node: NodeID(9), number: $0) }
        for node in nodes {
            #expect(note(many, by: node))
            #expect(!note(many, by: node), "twice")
        }
        let isThirdOpen = answers.isOpen(nodes[2])
        #expect(!isThirdOpen, "no place is left for it")
        let large = [UInt8](repeating: 7, count: 5 << 20)
        #expect(note(.answered(large), at: 0, by: nodes[0]))
        #expect(!note(.answered(large), at: 0, by: nodes[0]), "twice")
        #expect(note(.answered(large), at: 1, by: nodes[0]))
        #expect(!note(.answered([]), at: 900, by: nodes[0]), "nobody")
        #expect(!note(.answered([]), at: 100, by: nodes[1]), "beyond the bound")
        for place in 2..<900 { #expect(note(.busy, at: place, by: nodes[0])) }
        answers.end(nodes[1], .died)
        let hasEnded = answers.hasEnded
        #expect(hasEnded)
        let all = answers.all
        #expect(all.count == 1_000)
        #expect(all[0].outcome == .answered(large) && all[1].outcome == .tooMuch)
        let bytes = answers.byteCount
        #expect(all[999].outcome == .died && bytes == 5 << 20)
    }
}

extension Array {
    fileprivate func chunked(by count: Int) -> [[Element]] {
        stride(from: 0, to: self.count, by: count).map {
            Array(self[$0..<Swift.min($0 + count, self.count)])
        }
    }
}
