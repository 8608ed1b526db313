import MeshGateway
import Smallworld
import Testing

@testable import NodeCommand

/// Words that somebody may write where a flag or a file has a value.
private let extremes: [String] = [
    "0", "-1", "1", "65535", "65536", "2147483647", "2147483648", "9223372036854775807",
    "9223372036854775808", "-9223372036854775809", "18446744073709551615",
    "18446744073709551616", "1000000000000000000000000000000", "1180591620717411303424",
    "1099511627776gb", "8589934592gb 0 0", "sessions 9223372036854775808", "1gb",
    "1099511627776gb 0 0", "0 0 2147483649", "1e400",
    "-1e400", "nan", "-nan", "inf", "-inf", "Infinity", "0x1p1023", "", " ", "\n", "\u{0}", "٣",
    "h:0", "h:65536", "h:18446744073709551616", "[::]:99999999999999999999", ":", "[",
    String(repeating: "9", count: 70_000), String(repeating: "n", count: 70_000),
]

/// The same as JSON5 writes it.
private let literals: [String] = [
    "0", "-0", "-1", "1.5", "1e-320", "2147483648", "9007199254740993", "9223372036854775807",
    "9223372036854775808", "18446744073709551616", "1180591620717411303424", "1e30", "-1e30",
    "1e308", "1e400", "-1e400", "0x7fffffffffffffff", "0xffffffffffffffff",
    "0x10000000000000000", "Infinity", "+Infinity", "-Infinity", "NaN", "-NaN", "true", "null",
    "[]", "[1e30, -1]", "{}", ".5", "5.",
]

@Suite struct ExtremeFlagTests {
    /// The settings that these words lead to; nil: an error, which says of what.
    private func options(_ name: String, _ value: String) -> MeshNode.Options? {
        do {
            return try NodeSubcommand.options([name: [value]])
        } catch {
            #expect("\(error)".hasPrefix("\(name): "))
            return nil
        }
    }

    private func check(_ options: MeshNode.Options) {
        let most = 1 << 30
        #expect((1_024...most).contains(options.gateway.slowBytesMax))
        #expect((1_024...most / 2).contains(options.gateway.sessionBytesMax))
        #expect((1...1_000_000).contains(options.gateway.sessionCountMax))
        #expect((0...most).contains(options.gateway.pubsubOutputLimit.hard))
        #expect((0...most).contains(options.gateway.pubsubOutputLimit.soft))
        #expect((4...64).contains(options.degree))
        for kind in UserLimits.Kind.allCases {
            #expect(UserLimits.range.contains(options.gateway.userLimits[kind]))
        }
        for time in [options.reattachGrace, options.drainTime, options.drainMax] {
            #expect(time >= .zero && time <= .seconds(3_600))
        }
    }

    @Test(arguments: NodeSubcommand.settings.map(\.name))
    func `no value of a flag is a trap or out of range`(_ name: String) throws {
        let flag = try #require(NodeSubcommand.settings.first { $0.name == name })
        for extreme in extremes {
            guard let options = options(name, extreme) else { continue }
            check(options)
            // These are checked when the node is made.
            guard ["name", "zone", "cluster"].contains(name), extreme.utf8.count > 64 else {
                continue
            }
            #expect(throws: MeshNodeError.self) { try MeshNode(options) }
        }
        for extreme in extremes where flag.argument == nil {
            #expect(throws: UsageError.self) {
                try Arguments.parse(["--\(name)=\(extreme)"], NodeSubcommand.settings)
            }
        }
    }

    @Test(arguments: NodeSubcommand.settings.map(\.name))
    func `no value of a key in a file is a trap, or taken for another`(_ name: String) {
        let texts = extremes.map { extreme in
            "'"
                + extreme.unicodeScalars.map { scalar in
                    scalar == "\n" ? "\\n" : scalar == "'" ? "\\'" : String(scalar)
                }.joined() + "'"
        }
        for literal in literals + texts {
            do {
                let values = try ConfigurationFile.parse(
                    "{'\(name)': \(literal)}", "f", NodeSubcommand.settings)
                #expect(!literal.contains("Infinity") || literal.hasPrefix("'"), "\(literal)")
                check(try NodeSubcommand.options(values))
            } catch {
                #expect(!"\(error)".isEmpty)
            }
        }
    }

    @Test(arguments: ["Infinity", "-Infinity", "+Infinity"])
    func `a setting that is not finite is an error that says so`(_ literal: String) {
        #expect {
            try ConfigurationFile.parse(
                "{\n  'reattach-grace': \(literal)}", "f", NodeSubcommand.settings)
        } throws: {
            "\($0)".hasPrefix("f, line 2, column 21: 'reattach-grace' cannot be ")
                && "\($0)".hasSuffix("Infinity")
        }
    }

    @Test(arguments: ["1180591620717411303424", "1e300", "'1180591620717411303424'", "-5", "1.5"])
    func `a size out of its range is an error that names the range`(_ literal: String) throws {
        for (name, range) in [("slow-queue", "1kb to 1024mb"), ("session-bytes", "1kb to 512mb")] {
            let values = try ConfigurationFile.parse(
                "{'\(name)': \(literal)}", "f", NodeSubcommand.settings)
            #expect {
                try NodeSubcommand.options(values)
            } throws: {
                "\($0)".hasPrefix("\(name): '") && "\($0)".contains(range)
            }
        }
    }

    @Test(
        arguments: Command.all.flatMap { command in command.flags.map { (command.name, $0.name) } })
    func `no value of any command's flag is a trap`(_ command: String, _ name: String) throws {
        let flags = try #require(Command.all.first { $0.name == command }).flags
        for extreme in extremes {
            guard let arguments = try? Arguments.parse(["--\(name)=\(extreme)"], flags) else {
                continue
            }
            _ = try? arguments.integer(name, Int.min...Int.max)
            _ = try? arguments.seed(name)
            if let number = try? arguments.number(name) { #expect((0...1e15).contains(number)) }
            if command == "demo", let options = try? Demo.options(arguments) {
                #expect((2...60).contains(options.nodeCount))
            }
        }
    }
}
