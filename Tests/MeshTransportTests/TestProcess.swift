import Foundation
import Glibc
import MeshWire

@testable import MeshTransport

/// `smallworld node` as a process of its own, which can be frozen and killed.
final class TestProcess {
    private let process = Foundation.Process()
    private let output = Pipe()
    /// Where standard error goes: a file, so that nobody has to read it.
    private let errors: URL
    private var lines: [String] = []
    private var rest = ""

    init(_ words: [String]) throws {
        // Built beside the tests.
        let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        process.executableURL = URL(fileURLWithPath: tests).deletingLastPathComponent()
            .appendingPathComponent("smallworld")
        process.arguments = words
        process.standardOutput = output
        errors = FileManager.default.temporaryDirectory
            .appendingPathComponent("smallworld-test-\(UUID().uuidString)")
        _ = FileManager.default.createFile(atPath: errors.path, contents: nil)
        let file = try FileHandle(forWritingTo: errors)
        process.standardError = file
        try process.run()
        try file.close()
    }

    static func node(seeds: [Endpoint] = [], _ flags: [String] = []) throws -> TestProcess {
        try TestProcess(
            ["node", "--mesh", "127.0.0.1:0", "--redis", "127.0.0.1:0", "--http", "127.0.0.1:0"]
                + seeds.flatMap { ["--seed", $0.description] } + flags)
    }

    deinit {
        signal(SIGKILL)
        process.waitUntilExit()
        try? FileManager.default.removeItem(at: errors)
    }

    /// The lines on standard error that have this word: what a node logs.
    func logged(_ word: String) throws -> [String] {
        try String(decoding: Data(contentsOf: errors), as: UTF8.self).split(separator: "\n")
            .map(String.init).filter { $0.split(separator: " ").contains(Substring(word)) }
    }

    /// All that it prints on standard output, to the end.
    func printed() -> String {
        let text = lines.map { $0 + "\n" }.joined() + rest
        return text
            + String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    }

    /// The rest of the first line that starts with this word.
    func line(_ word: String) throws -> String {
        while true {
            if let line = lines.first(where: { $0 == word || $0.hasPrefix(word + " ") }) {
                return String(line.dropFirst(word.count + 1))
            }
            let data = output.fileHandleForReading.availableData
            if data.isEmpty { throw TestTimeout(description: "the end instead of '\(word)'") }
            rest += String(decoding: data, as: UTF8.self)
            while let end = rest.firstIndex(of: "\n") {
                lines.append(String(rest[..<end]))
                rest = String(rest[rest.index(after: end)...])
            }
        }
    }

    func endpoint(_ word: String) throws -> Endpoint {
        let line = try line(word)
        let port = UInt16(line.split(separator: ":").last ?? "") ?? 0
        return Endpoint(ipv4: 0x7F00_0001, port: port)
    }

    func signal(_ number: Int32) {
        if process.isRunning { kill(process.processIdentifier, number) }
    }

    var isRunning: Bool { process.isRunning }

    func waitForEnd(seconds: Double = 5) throws -> Int32 {
        try eventually(seconds: seconds, "ended") { !process.isRunning }
        return process.terminationStatus
    }
}
