import CLinux
import Foundation
import Glibc
import MeshWire

@testable import MeshTransport

/// The bytes that a test waited for did not come in time.
struct TestTimeout: Error, CustomStringConvertible {
    var description: String
}

/// A blocking TCP client with a deadline on everything.
final class TestSocket {
    let descriptor: Int32

    init(_ endpoint: Endpoint) throws {
        descriptor = try SystemError.check(
            linux_connect(endpoint.forKernel, 0), "connect to \(endpoint)")
        try wait(for: POLLOUT, seconds: 5)
        _ = try SystemError.check(linux_connect_result(descriptor), "connect to \(endpoint)")
    }

    /// A client of a Unix socket.
    init(path: String) throws {
        descriptor = try SystemError.check(
            socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0), "make a socket")
        _ = try SystemError.check(linux_connect_path(descriptor, path), "connect to \(path)")
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    }

    deinit { close(descriptor) }

    private func wait(for events: Int32, seconds: Double) throws {
        var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
        guard poll(&entry, 1, Int32(seconds * 1000)) == 1 else {
            throw TestTimeout(description: "nothing in \(seconds) s")
        }
    }

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            try wait(for: POLLOUT, seconds: 5)
            let count = bytes[sent...].withUnsafeBytes {
                linux_send(descriptor, $0.baseAddress, $0.count)
            }
            if count < 0 { throw SystemError("send", code: Int32(-count)) }
            sent += count
        }
    }

    func send(_ text: String) throws { try send(Array(text.utf8)) }

    /// As many bytes as the kernel takes without waiting.
    func sendSome(_ bytes: [UInt8]) -> Int {
        max(0, bytes.withUnsafeBytes { linux_send(descriptor, $0.baseAddress, $0.count) })
    }

    /// At least one byte; empty at the end of the stream and after a reset.
    func receive(seconds: Double = 5) throws -> [UInt8] {
        try wait(for: POLLIN, seconds: seconds)
        var chunk = [UInt8](repeating: 0, count: 1 << 18)
        let count = chunk.withUnsafeMutableBytes {
            linux_receive(descriptor, $0.baseAddress, $0.count)
        }
        return count > 0 ? Array(chunk[..<count]) : []
    }

    /// Everything until `count` bytes are there.
    func receive(count: Int, seconds: Double = 5) throws -> [UInt8] {
        var all: [UInt8] = []
        while all.count < count {
            let some = try receive(seconds: seconds)
            if some.isEmpty {
                throw TestTimeout(description: "the end after \(all.count) of \(count) bytes")
            }
            all += some
        }
        return all
    }

    /// Everything until the text ends like this.
    func receive(until end: String, seconds: Double = 5) throws -> String {
        var all: [UInt8] = []
        while !all.suffix(end.utf8.count).elementsEqual(end.utf8) {
            let some = try receive(seconds: seconds)
            if some.isEmpty {
                throw TestTimeout(
                    description: "the end after \(String(decoding: all, as: UTF8.self))")
            }
            all += some
        }
        return String(decoding: all, as: UTF8.self)
    }

    /// Everything until the peer closes.
    func receiveAll(seconds: Double = 5) throws -> String {
        var all: [UInt8] = []
        while true {
            let some = try receive(seconds: seconds)
            if some.isEmpty { return String(decoding: all, as: UTF8.self) }
            all += some
        }
    }

    /// Where the peer sees it come from.
    var localEndpoint: Endpoint { Endpoint(linux_local_endpoint(descriptor)) }

    func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }
}

/// Waits until `condition` holds.
func eventually(seconds: Double = 5, _ what: String, _ condition: () throws -> Bool) throws {
    let end = Clock.now.nanoseconds + Int64(seconds * 1e9)
    while try !condition() {
        if Clock.now.nanoseconds > end { throw TestTimeout(description: "not \(what)") }
        usleep(5_000)
    }
}
