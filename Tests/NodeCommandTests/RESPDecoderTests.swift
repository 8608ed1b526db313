import MeshGateway
import Testing

@testable import NodeCommand

struct RESPDecoderTests {
    private static let bytes = Array(
        """
        +OK\r
        :-7\r
        $5\r
        a\r
        bc\r
        *2\r
        %1\r
        $2\r
        id\r
        _\r
        *0\r
        >3\r
        $4\r
        user\r
        $3\r
        ann\r
        $0\r
        \r
        -ERR no\r
        ,1.5\r
        $-1\r

        """.utf8)
    private static let replies: [RESPReply] = [
        .text("OK"), .integer(-7), .text("a\r\nbc"),
        .array([.map([(name: "id", value: .null)]), .array([])]),
        .push([.text("user"), .text("ann"), .text("")]), .error("ERR no"), .double(1.5), .null,
    ]

    private func decode(_ pieces: [ArraySlice<UInt8>]) throws -> [RESPReply] {
        var decoder = RESPDecoder()
        var replies: [RESPReply] = []
        for piece in pieces {
            decoder.append(piece)
            while let reply = try decoder.next() { replies.append(reply) }
        }
        return replies
    }

    @Test func `replies are the same in one piece, in two at every place, and byte by byte`() throws
    {
        let bytes = Self.bytes
        #expect(try decode([bytes[...]]) == Self.replies)
        for split in bytes.indices {
            #expect(try decode([bytes[..<split], bytes[split...]]) == Self.replies)
        }
        #expect(try decode(bytes.indices.map { bytes[$0...$0] }) == Self.replies)
    }

    @Test func `a reply without its end is no reply`() throws {
        var decoder = RESPDecoder()
        decoder.append("*2\r\n:1\r\n$3\r\nab".utf8)
        #expect(try decoder.next() == nil)
    }

    @Test(arguments: [
        "what\r\n", "\r\n", ":x\r\n", "$-2\r\n", "$99999999999\r\n", "*-3\r\n",
        String(repeating: "*1\r\n", count: 33),
    ])
    func `bytes that are no reply are refused`(_ text: String) {
        var decoder = RESPDecoder()
        decoder.append(text.utf8)
        #expect(throws: MalformedReply.self) { try decoder.next() }
    }

    @Test func `a line without end is refused before it fills the memory`() {
        var decoder = RESPDecoder()
        decoder.append([UInt8](repeating: 65, count: 70_000))
        #expect(throws: MalformedReply.self) { try decoder.next() }
    }

    @Test func `a command is an array of texts`() {
        let bytes = RESPDecoder.command(["MESH.SEND", "änn"])
        #expect(bytes == Array("*2\r\n$9\r\nMESH.SEND\r\n$4\r\nänn\r\n".utf8))
    }
}
