import Foundation
import Testing

/// The examples in the documentation of the public API are code that a test runs.
@Suite struct `Examples of the documentation` {
    /// The indented lines of a file's documentation, one text for each example.
    private func examples(_ path: String) throws -> [String] {
        var found: [[String]] = []
        var isInside = false
        for line in try Repository.swiftFile(path).lines {
            let text = line.drop { $0 == " " }
            let isExample = text.hasPrefix("///     ")
            if isExample && !isInside { found.append([]) }
            if isExample { found[found.count - 1].append(String(text.dropFirst(8))) }
            isInside = isExample
        }
        return found.map { $0.joined(separator: "\n") }
    }

    /// The Swift of README, without what it imports and without empty lines.
    private func readme() throws -> [String] {
        let blocks = try Repository.text("README.md").components(separatedBy: "```swift\n")
        return blocks.dropFirst().map { rest in
            rest.components(separatedBy: "\n").prefix { $0 != "```" }
                .filter { !$0.isEmpty && !$0.hasPrefix("import ") }
                .map(withOneGap).joined(separator: "\n")
        }
    }

    /// The line with two spaces before its comment, as our format wants it; README aligns them.
    private func withOneGap(_ line: String) -> String {
        line.replacing(#/ +// /#, with: "  // ")
    }

    /// The examples of a file as `ExampleTests` runs them, without the lines of the test.
    private func programs(_ path: String) throws -> [String] {
        let tests = try Repository.text("Tests/MeshTransportTests/ExampleTests.swift")
        return tests.components(separatedBy: "// Example of \(path)\n").dropFirst().map { rest in
            rest.components(separatedBy: "\n").prefix { !$0.contains("// The end of the example.") }
                .filter { !$0.hasSuffix("// test") }
                .map { String($0.drop { $0 == " " }) }.joined(separator: "\n")
        }
    }

    @Test func `are run by a test, line by line`() throws {
        var count = 0
        for path in try Repository.files(below: "Sources/Smallworld", extension: "swift") {
            let examples = try examples(path)
            #expect(try examples == programs(path), "\(path)")
            count += examples.count
        }
        #expect(count > 0)
        #expect(try readme() == programs("README.md"))
        #expect(try readme().count == 1)
    }
}
