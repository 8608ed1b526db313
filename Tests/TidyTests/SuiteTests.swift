import Foundation
import Testing

/// A report names the suite and not its target: two of one name could not be told apart, and
/// `--filter` would run both.
@Suite struct `Suites of tests` {
    /// The types at the top level of these files that hold tests: name and place.
    private func suites(_ files: [SourceFile]) -> [(name: String, place: String)] {
        let declaration =
            /^(?:@.*\s)?(?:final\s+)?(?:struct|class|enum|actor)\s+(`[^`]+`|\w+)/
        return files.flatMap { file in
            var found: [(name: String, place: String)] = []
            var current: (name: String, place: String)?
            for index in file.code.indices {
                let line = file.code[index]
                if let match = line.firstMatch(of: declaration) {
                    current = (String(match.1), file.place(index))
                } else if let first = line.first, first != " " {
                    current = nil
                }
                if line.contains("@Test"), let suite = current {
                    found.append(suite)
                    current = nil
                }
            }
            return found
        }
    }

    /// Places of the suites whose name another one has, by name.
    private func namesakes(_ files: [SourceFile]) -> [String] {
        Dictionary(grouping: suites(files)) { $0.name }.values
            .filter { $0.count > 1 }.flatMap { $0.map(\.place) }.sorted()
    }

    @Test func `have a name each`() throws {
        let files = try Repository.files(below: "Tests", extension: "swift")
            .map(Repository.swiftFile)
        #expect(suites(files).count > 80)
        let places = namesakes(files)
        #expect(places.isEmpty, "\(places.joined(separator: "\n"))")
    }

    /// The check above must be able to fail.
    @Test(arguments: [
        "@Suite struct A {", "@Suite(.timeLimit(.minutes(1))) struct A {", "final class A {",
        "@Suite(.serialized)\nstruct A {",
    ])
    func `two of one name are found`(declaration: String) {
        let test = "    @Test func `it works`() {}\n}\n"
        let first = SourceFile(path: "A.swift", text: "struct A {\n" + test)
        let second = SourceFile(path: "B.swift", text: declaration + "\n" + test)
        #expect(namesakes([first, second]).map { $0.prefix(2) } == ["A.", "B."])
        // A type without tests is no suite, and one within another is named with it.
        let others = SourceFile(
            path: "C.swift",
            text: "struct A {}\nextension A {\n\(test)struct B {\n    struct A {\n    \(test)}\n")
        #expect(namesakes([first, others]) == [])
    }
}
