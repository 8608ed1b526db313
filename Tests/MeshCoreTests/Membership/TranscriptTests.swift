import Foundation
import Testing

/// Membership as transcripts that people read: events in, effects out, line by line. What the files look
/// like and how they are written anew is explained in `Transcripts/README.md`.
@Suite struct `Membership transcripts` {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "Transcripts")

    static let scenes: [String] = {
        let names = try? FileManager.default.contentsOfDirectory(atPath: folder.path)
        return (names ?? []).filter { $0.hasSuffix(".txt") }.sorted()
    }()

    @Test(arguments: scenes)
    func `say what happens`(scene: String) throws {
        let place = Self.folder.appending(path: scene)
        let expected = try String(contentsOf: place, encoding: .utf8)
        let found = try Transcript(expected).performed()
        if ProcessInfo.processInfo.environment["REWRITE_TRANSCRIPTS"] == "yes" {
            try found.write(to: place, atomically: true, encoding: .utf8)
            return
        }
        let difference = Transcript.difference(expected, found)
        #expect(found == expected, "\(scene) has become another:\n\(difference)")
    }

    @Test func `are there`() { #expect(Self.scenes.count >= 12) }

    @Test func `are nowhere written anew by others`() throws {
        let root = Self.folder.deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        for script in ["run", "nightly"] {
            let text = try String(
                contentsOf: root.appending(path: ".ci/\(script)"), encoding: .utf8)
            #expect(!text.contains("REWRITE_TRANSCRIPTS"))
        }
    }

    // The checks above must be able to fail.

    @Test func `that lack a line, have another or one more differ`() {
        let text = "a\nb\nc\n"
        #expect(Transcript.difference(text, text) == "")
        #expect(Transcript.difference(text, "a\nc\n") == "  a\n- b\n  c")
        #expect(Transcript.difference(text, "a\nx\nc\n") == "  a\n- b\n+ x\n  c")
        #expect(Transcript.difference(text, "a\nb\nx\nc\n") == "  b\n+ x\n  c")
    }

    @Test func `show it when what was expected does not come`() throws {
        let text = "played A with B C\n\nB tells A statuses(C suspect 1.0)\n----\n0.000 A yawns\n"
        let found = try Transcript(text).performed()
        let difference = Transcript.difference(text, found)
        #expect(difference.contains("- 0.000 A yawns"))
        #expect(difference.contains("+   log: C suspect"))
    }

    @Test(arguments: ["yawn", "X leaves", "A tells B gossip", "A tells B statuses(X dead 0.0)"])
    func `with a line that means nothing are refused`(line: String) {
        #expect(throws: ScriptError.self) {
            try Transcript("nodes A B\n\n\(line)\n----\n").performed()
        }
    }
}

/// A text of commands and what they lead to.
///
///     # a comment
///     a command
///     another
///     ----
///     what the two lead to
///
/// An empty line ends a block. One without `----` leads to nothing that is told.
struct Transcript {
    private var lines: [String]

    init(_ text: String) {
        lines = text.components(separatedBy: "\n")
        if lines.last == "" { lines.removeLast() }
    }

    /// The text with what its commands lead to now.
    func performed() throws -> String {
        let script = Script()
        var output: [String] = []
        var commands: [String] = []
        var isResult = false
        for line in lines + [""] {
            if isResult {
                if line.isEmpty {
                    isResult = false
                    output.append(line)
                }
                continue
            }
            if line == "----" || line.isEmpty {
                let result = try script.run(commands)
                commands = []
                if line == "----" || !result.isEmpty {
                    output.append("----")
                    output += result
                    isResult = line == "----"
                }
                if !isResult { output.append("") }
                continue
            }
            if !line.hasPrefix("#") { commands.append(line) }
            output.append(line)
        }
        while output.last == "" { output.removeLast() }
        return output.joined(separator: "\n") + "\n"
    }

    /// Lines that only one of two texts has, with one before and one after them.
    static func difference(_ expected: String, _ found: String) -> String {
        var (old, new) = (
            expected.components(separatedBy: "\n"), found.components(separatedBy: "\n")
        )
        if old.last == "" { old.removeLast() }
        if new.last == "" { new.removeLast() }
        let changes = new.difference(from: old)
        var removed: Set<Int> = []
        var inserted: Set<Int> = []
        for change in changes {
            switch change {
            case .remove(let offset, _, _): removed.insert(offset)
            case .insert(let offset, _, _): inserted.insert(offset)
            }
        }
        var merged: [(mark: String, line: String)] = []
        var (from, to) = (0, 0)
        while from < old.count || to < new.count {
            if removed.contains(from) {
                merged.append(("-", old[from]))
                from += 1
            } else if inserted.contains(to) {
                merged.append(("+", new[to]))
                to += 1
            } else {
                merged.append((" ", old[from]))
                from += 1
                to += 1
            }
        }
        let near = merged.indices.filter { place in
            merged[max(0, place - 1)...min(merged.count - 1, place + 1)].contains { $0.mark != " " }
        }
        return near.map { "\(merged[$0].mark) \(merged[$0].line)" }.joined(separator: "\n")
    }
}
