import Glibc

/// A thread of the system, for a reactor: it blocks, so it does not belong into Swift's pool.
public enum Thread {
    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    /// Runs `body` on a new thread that nobody waits for; an error when the kernel has none left.
    public static func start(_ body: @escaping @Sendable () -> Void) -> SystemError? {
        let boxed = unsafe Unmanaged.passRetained(Body(body))
        var thread = pthread_t()
        let code = unsafe pthread_create(
            &thread, nil,
            { argument in
                let body = unsafe Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue()
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
