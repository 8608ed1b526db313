import MeshCore
import MeshDriver
import MeshWire
import Testing

@testable import MeshGateway

@Suite struct HeldSessionTests {
    @Test(arguments: [UInt64](1...4))
    func `sessions are found by their keys, also by keys that several have`(_ seed: UInt64) {
        var dice = Dice(state: seed)
        var held = HeldSessions()
        var model: [UserSessionIndex: Key] = [:]
        for step in 0..<1_000 {
            if dice.roll(5) < (step / 250 % 2 == 0 ? 3 : 2) {
                // One key of ten is everybody's.
                let key = Key(dice.roll(10) == 0 ? 7 : UInt64(1_000 + step))
                let session = UserSessionIndex(step)
                held.append(session, key)
                model[session] = key
            } else if let session = model.keys.sorted().randomElement(dice.roll(1 << 30)) {
                held.remove(session, model[session]!)
                model[session] = nil
            }
            let sorted = held.entries.map(\.session).sorted()
            #expect(sorted == model.keys.sorted())
            for _ in 0..<3 {
                guard let session = model.keys.sorted().randomElement(dice.roll(1 << 30)) else {
                    break
                }
                #expect(held.first(model[session]!, where: { $0 == session }) == session)
            }
            #expect(held.first(Key(1)) == nil)
        }
    }

    /// 40,000 took 27 s before in a release build, and 51 s to begin.
    @Test(arguments: ["MESH.DETACH", "RESET", "close", "each"])
    func `a client with 40,000 sessions ends as fast as it began`(_ end: String) {
        let count = 40_000
        var harness = Harness()
        let client = harness.open()
        let clock = ContinuousClock()
        let start = clock.now
        for number in 0..<count {
            harness.send(client, command("MESH.ATTACH", "user:\(number)", "SESSION"))
            // A client that reads no answers is not listened to.
            if number % 1_000 == 0 { _ = harness.readBytes(client) }
        }
        for number in stride(from: 0, to: count, by: 10) {
            harness.deliver(.user, "user:\(number)", "hello")
        }
        switch end {
        case "close": harness.close(client)
        case "each":
            for number in 0..<count {
                harness.send(client, command("MESH.DETACH", "user:\(number)"))
                if number % 1_000 == 0 { _ = harness.readBytes(client) }
            }
        default: harness.send(client, Array("\(end)\r\n".utf8))
        }
        // Much work is done over several turns.
        harness.pass(.milliseconds(100))
        let duration = clock.now - start
        let waiting = harness.gateway.hub.waitingSessionCount
        #expect(waiting == (end == "close" ? count : 0))
        let sessions = harness.gateway.hub.sessionCount
        #expect(sessions == (end == "close" ? count : 0))
        #expect(duration < .seconds(40))
    }

    @Test func `what waits at the end of a client with many sessions is each session's own`() {
        let count = 2_000
        var harness = Harness()
        let client = harness.open()
        var tokens: [String] = []
        for number in 0..<count {
            let reply = harness.exchange(client, "MESH.ATTACH user:\(number) SESSION\r\n")
            tokens.append(sessionToken(reply))
        }
        for number in 0..<count { harness.deliver(.user, "user:\(number)", "for \(number)") }
        // Of some the session has ended before.
        for number in stride(from: 0, to: count, by: 7) {
            harness.send(client, command("MESH.DETACH", "user:\(number)"))
        }
        harness.close(client)
        let next = harness.open()
        for number in 0..<count {
            let reply = harness.exchange(
                next, "MESH.ATTACH user:\(number) RESUME \(tokens[number])\r\n")
            if number % 7 == 0 {
                #expect(reply.hasPrefix("-NOSESSION"))
            } else {
                #expect(reply.hasSuffix("for \(number)·"))
            }
        }
    }
}

extension [UserSessionIndex] {
    fileprivate func randomElement(_ roll: Int) -> UserSessionIndex? {
        isEmpty ? nil : self[roll % count]
    }
}
