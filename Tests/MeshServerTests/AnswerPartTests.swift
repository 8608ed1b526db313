import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway
@testable import MeshServer

/// Answers in parts.
@Suite struct AnswerPartTests {
    @Test(arguments: [0, 1])
    func `parts come in order, and the end after them`(host: Int) throws {
        let desk = Desk(2)
        let provider = desk.provider(host)
        let asker = desk.open()
        #expect(desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "STREAM", "a") == ["OK"])
        let id = try #require(desk.requests(provider).first).id
        // The first one is large, and travels more slowly than the others.
        let large = String(repeating: "abcdefgh", count: 60_000)
        for part in [large, "two", "three"] {
            #expect(desk.say(provider, "MESH.REPLY", id, part, "MORE") == ["1"])
        }
        #expect(desk.say(provider, "MESH.REPLY", id, "end") == ["1"])
        #expect(desk.say(provider, "MESH.REPLY", id, "late", "MORE") == ["0"])
        desk.run(2_000)
        #expect(
            desk.heard(asker) == [
                "part → a → \(large)", "part → a → two", "part → a → three", "reply → a → OK → end",
            ])
        desk.expectNothing()
    }

    @Test func `without STREAM no part is taken, and an answer without parts may be streamed`()
        throws
    {
        let desk = Desk()
        let provider = desk.provider()
        let asker = desk.open()
        #expect(desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "ASYNC", "a") == ["OK"])
        let first = try #require(desk.requests(provider).first)
        #expect(
            desk.say(provider, "MESH.REPLY", first.id, "1", "MORE") == [
                "ERR the asker of this request takes no parts (MESH.REQUEST ... STREAM)"
            ])
        #expect(desk.say(provider, "MESH.REPLY", first.id, "2") == ["1"])
        #expect(desk.heard(asker) == ["reply → a → OK → 2"])
        #expect(desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "STREAM", "b") == ["OK"])
        let second = try #require(desk.requests(provider).first)
        #expect(desk.say(provider, "MESH.FAIL", second.id, "no") == ["1"])
        #expect(desk.heard(asker) == ["reply → b → FAILED → no"])
        desk.expectNothing()
    }

    @Test func `parts that are not read are no more given, and the provider is told`()
        throws
    {
        let desk = Desk(2)
        let provider = desk.provider(1)
        let asker = desk.open()
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "STREAM", "a", "TIMEOUT", "60000")
        let id = try #require(desk.requests(provider).first).id
        let part = String(repeating: "x", count: 1 << 20)
        var taken = 0
        for _ in 0..<20 {
            desk.servers.mesh.send(
                RESPDecoder.command(["MESH.REPLY", id, part, "MORE"]), from: provider.client, 1)
            desk.servers.mesh.settle()
            desk.run(500)
            taken += desk.heard(provider).contains("1") ? 1 : 0
        }
        #expect((8...10).contains(taken), "\(taken)")
        let heard = desk.heard(asker)
        #expect(heard.count == 9, "\(heard.count)")
        #expect(heard.last == "reply → a → SLOW → ")
        desk.expectNothing()
    }

    @Test(arguments: [false, true])
    func `an answer whose first parts have come is no other provider's`(hasParts: Bool) throws {
        let desk = Desk(3)
        let first = desk.provider(1)
        let asker = desk.open()
        desk.say(asker, "MESH.REQUEST", "SERVICE", "sum", "x", "STREAM", "a", "RETRY")
        let id = try #require(desk.requests(first).first).id
        if hasParts { desk.say(first, "MESH.REPLY", id, "half", "MORE") }
        let second = desk.provider(2)
        _ = desk.heard(asker)
        desk.close(first)
        desk.run(200)
        if hasParts {
            #expect(desk.heard(asker) == ["reply → a → DIED → "])
            #expect(desk.requests(second).isEmpty)
        } else {
            #expect(desk.requests(second).count == 1)
        }
    }

    @Test func `parts that come in any order leave in theirs, within a bound`() {
        var parts = AnswerParts()
        func take(_ arrival: AnswerParts.Arrival, place: UInt32) -> [AnswerParts.Arrival]? {
            parts.take(arrival, place: place)
        }
        #expect(take(.part([2]), place: 2) == [])
        #expect(take(.end(.answered([3])), place: 3) == [])
        #expect(take(.part([2]), place: 2) == [], "twice")
        #expect(take(.part([0]), place: 0) == [.part([0])])
        #expect(take(.part([0]), place: 0) == [], "late")
        #expect(
            take(.part([1]), place: 1) == [.part([1]), .part([2]), .end(.answered([3]))])
        #expect(parts.byteCount == 0 && parts.count == 4)
        let large = [UInt8](repeating: 0, count: 5 << 20)
        #expect(take(.part(large), place: 10) == [])
        #expect(take(.part(large), place: 12) == nil)
    }
}
