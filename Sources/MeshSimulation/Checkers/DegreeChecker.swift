import MeshCore

/// No node ever has more links than its degree.
struct DegreeChecker {
    func check(links: Int, degree: Int, _ host: Int, at now: Instant) -> Violation? {
        guard links > degree else { return nil }
        return Violation(
            checker: .degree, time: now, host: host, text: "has \(links) links of \(degree)")
    }
}
