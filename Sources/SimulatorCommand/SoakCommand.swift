import Dispatch
import Foundation
import JSON5
import MeshCore
import MeshSimulation
import Synchronization

extension Command {
    static var soak: Command {
        Command(
            name: "soak",
            usage: "soak --messages N | --seeds K [--from S] [--minutes M] [--jobs 2] [--json]",
            summary: "as many messages as can be while everything goes wrong, all checkers on",
            flags: [
                Flag(name: "messages", argument: "N", help: "goes on to so many delivered (1e7)"),
                Flag(name: "seeds", argument: "K", help: "or for so many seeds"),
                Flag(name: "from", argument: "S", help: "the first seed (1)"),
                Flag(name: "minutes", argument: "M", help: "stops after so long"),
                Flag(name: "jobs", argument: "N", help: "at the same time (2)"),
                Flag(name: "no-shrink", help: "prints the first failure as it is"),
                Flag(name: "json", help: "the sums for programs"),
                Flag(name: "quiet", help: "no progress"),
            ], run: runSoak)
    }
}

/// The sum of several runs.
struct SoakTally {
    var seeds = 0
    var nodes = 0
    var virtualSeconds = 0.0
    var events = 0
    var copies = 0
    var delivered = 0
    var undelivered = 0
    var refused = 0
    var orphaned = 0
    var retransmitted = 0
    var lost = 0
    var duplicated = 0
    var reordered = 0
    var toSessions = 0
    var sessionDelivered = 0
    var sessionMissing = 0
    var sessionNotices = 0
    var confirmations = 0
    var confirmationsLate = 0
    var confirmationsExcused = 0
    var violations = 0
    var seconds = 0.0

    mutating func add(_ metrics: Metrics) {
        seeds += 1
        nodes += metrics.lives
        virtualSeconds += metrics.virtualSeconds
        events += metrics.events
        copies += metrics.copies
        delivered += metrics.delivered
        undelivered += metrics.undelivered
        refused += metrics.refused
        orphaned += metrics.orphaned
        retransmitted += metrics.retransmitted
        lost += metrics.lost
        duplicated += metrics.duplicated
        reordered += metrics.reordered
        toSessions += metrics.sessionMessages
        sessionDelivered += metrics.sessionDelivered
        sessionMissing += metrics.sessionMissing
        sessionNotices += metrics.sessionNotices
        confirmations += metrics.figures.confirmation.count
        confirmationsLate += metrics.figures.confirmationsLate
        confirmationsExcused += metrics.figures.confirmationsExcused
        violations += metrics.violationCount + (metrics.isStuck ? 1 : 0)
    }

    var text: String {
        """
        \(seeds) seeds, \(nodes) nodes, \(decimal(virtualSeconds / 3_600, places: 1)) hours of \
        virtual time, \(events) events
        messages      \(copies) (each destination of a message counts as one)
        delivered     \(delivered)
        undelivered   \(undelivered), and their senders were told; \(refused) of them at once
        orphaned      \(orphaned), whose senders died
        sent again    \(retransmitted)
        lost          \(lost)
        duplicated    \(duplicated)
        out of order  \(reordered)
        to sessions   \(toSessions), \(sessionDelivered) came, \(sessionMissing) missing beside \
        notices of unknown size, \(sessionNotices) notices
        confirmed     \(confirmations) arrivals of users and subscribers; late \
        \(confirmationsLate), unable \(confirmationsExcused) others
        violations    \(violations)
        \(decimal(seconds, places: 1)) s, \(Int(Double(delivered) / max(seconds, 1e-9))) messages/s

        """
    }

    func json(from seed: UInt64) -> String {
        """
        {"from": \(seed), "seeds": \(seeds), "nodes": \(nodes), \
        "virtualSeconds": \(decimal(virtualSeconds)), "events": \(events), \
        "messages": \(copies), "delivered": \(delivered), "undelivered": \(undelivered), \
        "refused": \(refused), "orphaned": \(orphaned), "retransmitted": \(retransmitted), \
        "lost": \(lost), "duplicated": \(duplicated), "reordered": \(reordered), \
        "toSessions": \(toSessions), "sessionDelivered": \(sessionDelivered), \
        "sessionMissing": \(sessionMissing), "sessionNotices": \(sessionNotices), \
        "confirmations": \(confirmations), "confirmationsLate": \(confirmationsLate), \
        "confirmationsExcused": \(confirmationsExcused), \
        "violations": \(violations), "seconds": \(decimal(seconds))}
        """
    }
}

private func runSoak(_ arguments: Arguments) throws -> Int32 {
    let seedsMax = try arguments.integer("seeds", 1...1_000_000_000)
    let target =
        try arguments.number("messages").map { Int(min($0, 1e15)) }
        ?? (seedsMax == nil ? 10_000_000 : .max)
    let first = try arguments.seed("from") ?? 1
    let jobs = try arguments.integer("jobs", 1...256) ?? 2
    let limit = try arguments.number("minutes").map { Duration.seconds($0 * 60) }
    let isQuiet = arguments.has("quiet") || arguments.has("json")
    let start = ContinuousClock().now
    let next = Atomic<Int>(0)
    let tally = Mutex(SoakTally())
    let failed = Mutex<[(UInt64, Metrics)]>([])
    DispatchQueue.concurrentPerform(iterations: jobs) { _ in
        while failed.withLock({ $0.isEmpty }), tally.withLock({ $0.delivered < target }) {
            let index = next.add(1, ordering: .relaxed).oldValue
            if let seedsMax, index >= seedsMax { return }
            if let limit, ContinuousClock().now - start > limit { return }
            let seed = first &+ UInt64(index)
            let metrics = Run(Fuzz.soak(seed: seed), seed: seed).completed()
            let sum = tally.withLock { tally in
                tally.add(metrics)
                return tally
            }
            if metrics.exitStatus != 0 { failed.withLock { $0.append((seed, metrics)) } }
            if !isQuiet, sum.seeds % 20 == 0 {
                say("\(sum.seeds) seeds, \(sum.delivered) delivered, \(sum.lost) lost\n")
            }
        }
    }
    var sum = tally.withLock { $0 }
    sum.seconds = seconds(ContinuousClock().now - start)
    print(
        arguments.has("json") ? sum.json(from: first) + "\n" : sum.text, terminator: "")
    guard let (seed, metrics) = failed.withLock({ $0 }).min(by: { $0.0 < $1.0 }) else { return 0 }
    var scenario = Fuzz.soak(seed: seed)
    if let violation = metrics.violations.first {
        say("seed \(seed): VIOLATION \(violation.description)\n")
        if !arguments.has("no-shrink") {
            scenario = Fuzz.shrink(scenario, seed: seed, failing: violation.checker, runsMax: 30)
        }
    } else {
        say("seed \(seed): \(metrics.isStuck ? "STUCK" : "failed")\n")
    }
    say(scenario.file)
    say("again: smallworld-sim soak --seeds 1 --from \(seed)\n")
    say("smaller: save the scenario above, smallworld-sim run FILE --seed \(seed)\n")
    return metrics.exitStatus
}
