import Glibc
import MeshCore
import Testing

@testable import MeshTransport

/// A node for which the kernel has nothing left; with real shortages in
/// Tests/Interop/test_operator.py.
@Suite(.timeLimit(.minutes(15))) struct ShortageTests {
    @Test(arguments: [ENOBUFS, ENOMEM])
    func `a send that the kernel has no memory for is no broken connection`(code: Int32) {
        #expect(Stream.Sent(-Int(code)) == .starved)
    }

    @Test(arguments: [EPIPE, ECONNRESET, ETIMEDOUT, EBADF])
    func `a send that fails for good breaks the connection`(code: Int32) {
        #expect(Stream.Sent(-Int(code)) == .failed)
    }

    @Test(arguments: [EAGAIN, EINTR])
    func `a send that the socket will take later waits for the socket`(code: Int32) {
        #expect(Stream.Sent(-Int(code)) == .taken(0))
        #expect(Stream.Sent(1) == .taken(1))
    }

    @Test func `a queue keeps what a send without memory did not take`() {
        var queue = SendQueue()
        queue.control.append(Array("twelve bytes".utf8).span, 0, 12)
        // No descriptor: broken, and nothing is forgotten.
        let outcome = queue.flush(to: .none)
        #expect(outcome == .failed)
        let count = queue.count
        #expect(count == 12)
    }

    @Test func `clients never use the descriptors kept for links`() throws {
        // Numbers of descriptors are the process's, and other tests have theirs: as if none but
        // those for links were left.
        let reactor = try TestReactor {
            $0.limits.descriptorCount = 8
            $0.log = Log(level: .error, format: .text, descriptor: open("/dev/null", O_WRONLY))
        }
        let refused = try TestSocket(reactor.redis)
        #expect(
            try refused.receiveAll().hasPrefix("-ERR max number of clients reached"))
        // A node joins all the same: links are not held back.
        let other = try TestReactor(seeds: [reactor.mesh])
        try other.waitUntilReady()
        try other.waitForMetric("links", 1)
    }
}
