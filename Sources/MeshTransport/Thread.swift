import CLinux
import Glibc

/// A thread of the system, for a reactor: it blocks, so it does not belong into Swift's pool.
public enum Thread {
    private final class Body: Sendable {
        let name: String
        let run: @Sendable () -> Void

        init(_ name: String, _ run: @escaping @Sendable () -> Void) {
            self.name = name
            self.run = run
        }
    }

    /// Runs `body` on a new thread that nobody waits for; an error when the kernel has none left.
    ///
    /// - Parameter name: for debuggers and `top -H`; at most 15 bytes.
    public static func start(
        name: String, _ body: @escaping @Sendable () -> Void
    ) -> SystemError? {
        let boxed = unsafe Unmanaged.passRetained(Body(name, body))
        var thread = pthread_t()
        let code = unsafe pthread_create(
            &thread, nil,
            { argument in
                let body = unsafe Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue()
                unsafe linux_name_thread(body.name)
                body.run()
                return nil
            }, boxed.toOpaque())
        guard code == 0 else {
            unsafe boxed.release()
            return SystemError("start a thread", code: code)
        }
        pthread_detach(thread)
        return nil
    }
}
