import MeshCore

/// Plays random schedules of clients against a few servers, and prints a hash of all that the
/// clients have read in each: two trees whose lines are equal give their clients the same bytes.
///
///     ClientSchedules [--from SEED] [--count N] [--leave-out NAME,…]      one line a schedule
///     ClientSchedules --seed SEED --print [--leave-out NAME,…]            one schedule, to be read
///
/// Steps (`Step`), commands (`Word`) and figures (`Schedule.figureNames`) can be left out.
///
/// A line is the seed and the hash, and what was wrong by itself: a user's messages that came twice
/// or out of order. Those are counted in the last line, on standard error.
@main
struct ClientSchedules {
    static func main() {
        var from: UInt64 = 1
        var count: UInt64 = 1_000
        var printed: UInt64?
        var leftOut: Set<String> = []
        var isRead = false
        var arguments = CommandLine.arguments.dropFirst()
        while let flag = arguments.popFirst() {
            if flag == "--print" {
                isRead = true
                continue
            }
            guard let value = arguments.popFirst() else { fail("\(flag) has no value") }
            switch flag {
            case "--from": from = number(value)
            case "--count": count = number(value)
            case "--seed": printed = number(value)
            case "--leave-out": leftOut = Set(value.split(separator: ",").map(String.init))
            default: fail("\(flag) is unknown")
            }
        }
        for name in leftOut.sorted() where !Schedule.names.contains(name) {
            fail("nothing is called \(name)")
        }
        if let printed {
            from = printed
            count = 1
        }
        play(from..<from + count, leftOut, isRead: isRead)
    }

    private static func play(_ seeds: Range<UInt64>, _ leftOut: Set<String>, isRead: Bool) {
        let clock = ContinuousClock()
        var faultCount = 0
        var steps = 0
        let time = clock.measure {
            for seed in seeds {
                limitTime()
                let schedule = Schedule(seed: seed, leftOut: leftOut, isRead: isRead)
                schedule.play()
                faultCount += schedule.faults.count
                steps += schedule.stepCount
                let hash = String(schedule.record.digest, radix: 16)
                write(line: ([String(seed), hash] + schedule.faults).joined(separator: " "))
            }
        }
        let seconds = Double(time.components.seconds) + Double(time.components.attoseconds) * 1e-18
        write(
            line: "\(seeds.count) schedules, \(steps) steps, \(faultCount) faults, "
                + "\(Int(Double(seeds.count) / max(seconds, 1e-9))) schedules a second",
            isError: true)
    }

    private static func number(_ text: String) -> UInt64 {
        guard let number = UInt64(text) else { fail("\(text) is no number") }
        return number
    }

    private static func fail(_ text: String) -> Never {
        write(line: text, isError: true)
        exitProcess(2)
    }
}
