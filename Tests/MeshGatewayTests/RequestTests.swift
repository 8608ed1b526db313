import MeshCore
import MeshWire
import Testing

@testable import MeshGateway

/// The names of requests, and the choice of the node.
@Suite struct RequestPartTests {
    @Test func `a request's name is read as it is written`() {
        for id in [
            RequestID(asker: NodeID(0), number: 0), RequestID(asker: NodeID(.max), number: .max),
            RequestID(asker: NodeID(0x9f3a_6c01_d2e4_b788), number: 0x1f),
        ] {
            #expect(RequestID(id.text) == id)
        }
        #expect(
            RequestID(asker: NodeID(0x9f3a_6c01_d2e4_b788), number: 0x1f).text
                == Array("9f3a6c01d2e4b7880000001f".utf8))
        let wrong = [
            "", "9f3a6c01d2e4b7880000001", "9f3a6c01d2e4b7880000001ff", "-f3a6c01d2e4b7880000001f",
        ]
        for text in wrong { #expect(RequestID(Array(text.utf8)) == nil) }
    }

    private func open(_ requests: inout OpenRequests, _ key: Key) -> UInt32 {
        requests.insert(
            OpenRequest(
                client: ClientIndex(1), clientID: 1,
                target: RequestTarget(kind: .service, name: [1]),
                key: key, payload: [], begunAt: Instant(nanoseconds: 0),
                deadline: Instant(nanoseconds: 5), options: RequestOptions()))
    }

    @Test func `of two nodes the one with less to do is chosen`() {
        var requests = OpenRequests(seed: 1)
        let (busy, idle, here) = (NodeID(1), NodeID(2), NodeID(3))
        let key = Key(9)
        for _ in 0..<10 {
            let number = open(&requests, key)
            requests.send(number, to: busy, at: Instant(nanoseconds: 0))
        }
        for _ in 0..<9 {
            #expect(requests.choose(key, among: [busy, idle], here: here) == idle)
            let number = open(&requests, key)
            requests.send(number, to: idle, at: Instant(nanoseconds: 0))
        }
        // This node is among those that are looked at whenever it holds the service.
        #expect(requests.choose(key, among: [busy, idle, here], here: here) == here)
        #expect(requests.choose(key, among: [], here: here) == nil)
        #expect(requests.choose(Key(8), among: [busy], here: here) == busy)
    }

    @Test func `a slow node gets less than a quick one`() {
        var requests = OpenRequests(seed: 1)
        let (slow, quick, here) = (NodeID(1), NodeID(2), NodeID(3))
        let key = Key(9)
        func serve(_ node: NodeID, _ microseconds: Int64) {
            let number = open(&requests, key)
            requests.send(number, to: node, at: Instant(nanoseconds: 0))
            let header = ReplyHeader(
                number: number, status: .answer, waiting: 0, providers: 1, given: 1)
            requests.note(
                header, of: number, from: node,
                at: Instant(nanoseconds: 0) + .microseconds(microseconds))
            _ = requests.remove(number)
        }
        serve(slow, 1_000)
        serve(quick, 100)
        for _ in 0..<9 {
            #expect(requests.choose(key, among: [slow, quick], here: here) == quick)
            let number = open(&requests, key)
            requests.send(number, to: quick, at: Instant(nanoseconds: 0))
        }
        let number = open(&requests, key)
        requests.send(number, to: quick, at: Instant(nanoseconds: 0))
        #expect(requests.choose(key, among: [slow, quick], here: here) == slow)
    }

    @Test func `times come in order, and those of ended requests are taken out`() {
        var timers = RequestTimers()
        var random = RandomSource(seed: 7)
        var wanted: [Int64] = []
        for number in 0..<500 {
            let due = Int64(random.next(below: 200))
            wanted.append(due)
            timers.insert(Instant(nanoseconds: due), UInt32(number))
        }
        #expect(timers.next == Instant(nanoseconds: wanted.min()!))
        timers.keep { $0 % 2 == 0 }
        let kept = wanted.indices.filter { $0 % 2 == 0 }.sorted {
            (wanted[$0], $0) < (wanted[$1], $1)
        }
        var taken: [Int] = []
        while let number = timers.take(by: Instant(nanoseconds: 200)) { taken.append(Int(number)) }
        #expect(taken == kept)
    }
}
