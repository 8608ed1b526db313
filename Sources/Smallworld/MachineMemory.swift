import Foundation

/// The memory that this process may take: the machine's, or less if its control group has a limit
/// (cgroup v2, `memory.max`; v1, `memory.limit_in_bytes`).
enum MachineMemory {
    static var bytes: Int {
        var least = Int(clamping: ProcessInfo.processInfo.physicalMemory)
        for path in [
            "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        ] {
            guard let text = try? String(contentsOfFile: path, encoding: .utf8),
                let limit = Int(text.trimmingCharacters(in: .whitespacesAndNewlines)), limit > 0
            else { continue }
            least = min(least, limit)
        }
        return least
    }

    /// The share that a node gives its clients, if nobody says more: other processes want some too.
    static var standard: Int { max(bytes / 4, 256 * 1024 * 1024) }
}
