import MeshCore
import Testing

@testable import MeshSimulation

struct EventQueueTests {
    /// Near and far, in every wheel, at one moment, and before what was taken last.
    @Test func `events come in the order of their times, and of their scheduling at one time`() {
        var random = RandomSource(seed: 7)
        var queue = EventQueue<Int32>()
        var waiting: [(time: Int64, number: Int32)] = []
        var now: Int64 = 0
        var number: Int32 = 0
        for round in 0..<20_000 {
            // It fills, runs nearly empty, and fills again.
            if waiting.isEmpty || random.next(below: 100) < (round / 2_000 % 2 == 0 ? 60 : 45) {
                let delay = Int64(random.next(below: 1 << (1 + random.next(below: 58))))
                let time = random.next(below: 20) == 0 ? now : now + delay / 2
                queue.schedule(number, at: Instant(nanoseconds: time))
                waiting.append((time, number))
                number += 1
            } else {
                let least = waiting.indices.min {
                    (waiting[$0].time, waiting[$0].number) < (waiting[$1].time, waiting[$1].number)
                }!
                let wanted = waiting.remove(at: least)
                // To look ahead changes nothing, also where something earlier is scheduled then.
                let time = queue.nextTime
                #expect(time == Instant(nanoseconds: wanted.time))
                if random.next(below: 4) == 0, wanted.time > now {
                    queue.schedule(number, at: Instant(nanoseconds: now))
                    let early = queue.take()?.action
                    #expect(early == number)
                    number += 1
                }
                let taken = queue.take()
                #expect(taken?.time == Instant(nanoseconds: wanted.time))
                #expect(taken?.action == wanted.number)
                now = min(wanted.time, 1 << 61)
            }
            let count = queue.count
            #expect(count == waiting.count)
        }
    }

    @Test func `an empty queue has nothing to give, and what is used up is used again`() {
        var queue = EventQueue<Int32>()
        for round: Int32 in 0..<3 {
            let isEmpty = queue.isEmpty
            #expect(isEmpty)
            let none = queue.nextTime
            #expect(none == nil)
            let nothing = queue.take()?.action
            #expect(nothing == nil)
            queue.schedule(round, at: Instant(nanoseconds: Int64(round) * 3_600_000_000_000))
            let next = queue.next
            #expect(next == round)
            let taken = queue.take()?.action
            #expect(taken == round)
        }
    }
}
