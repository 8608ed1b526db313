import Foundation
import JSON5
import MeshSimulation

/// A run in a few figures, kept beside its hash: when the hash changes they tell how much.
struct RunRecord: Codable {
    var runHash: String
    /// The mean number of links that a message takes.
    var hops: Double
    /// Seconds until a death is noticed, on average; 0: nobody died.
    var detection: Double
    /// Bytes between nodes.
    var bytes: Int
    /// Copies of messages that did not arrive and of which their senders were told.
    var undelivered: Int

    init(_ metrics: Metrics) {
        func rounded(_ value: Double) -> Double { (value * 1e4).rounded() / 1e4 }
        runHash = metrics.runHashText
        hops = rounded(metrics.hops.mean)
        detection = rounded(metrics.detection.mean)
        bytes = metrics.bytes
        undelivered = metrics.undelivered
    }

    /// `hops 2.1→2.2 (+4.76 %), bytes …`: what another run has otherwise.
    func changes(to other: RunRecord) -> String {
        let figures: [(String, Double, Double)] = [
            ("hops", hops, other.hops), ("detection", detection, other.detection),
            ("bytes", Double(bytes), Double(other.bytes)),
            ("undelivered", Double(undelivered), Double(other.undelivered)),
        ]
        let texts = figures.map { name, before, after in
            if before == after { return "\(name) \(decimal(before))" }
            let share = before == 0 ? "" : " (\(signed((after / before - 1) * 100)) %)"
            return "\(name) \(decimal(before))→\(decimal(after))\(share)"
        }
        return texts.joined(separator: ", ")
    }

    private func signed(_ value: Double) -> String {
        (value < 0 ? "" : "+") + decimal(value, places: 2)
    }

    /// The records of a file, by scenario.
    static func read(_ path: String) throws(UsageError) -> [String: RunRecord] {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw UsageError("cannot read \(path)")
        }
        guard let records = try? JSONDecoder().decode([String: RunRecord].self, from: data) else {
            throw UsageError(
                "\(path) is not a JSON object of runs by scenario, each with runHash, hops, "
                    + "detection, bytes and undelivered")
        }
        return records
    }

    static func write(_ records: [String: RunRecord], to path: String) throws(UsageError) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        do {
            let data = try encoder.encode(records)
            try (data + Data("\n".utf8)).write(to: URL(fileURLWithPath: path))
        } catch {
            throw UsageError("cannot write to \(path): \(error.localizedDescription)")
        }
    }
}
