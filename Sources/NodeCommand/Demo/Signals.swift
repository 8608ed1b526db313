import CLinux
import Glibc
import Synchronization

/// Signals for a program that looks for them between two waits; they end its waits.
enum Signals {
    private static let stops = StopRequests()
    private static let lastStop = Atomic<Int32>(0)
    private static let hasSuspension = Atomic<Bool>(false)

    /// From now on SIGINT, SIGTERM and SIGHUP ask the program to stop, and SIGTSTP to pause. It
    /// belongs to its terminal: when that is closed, nobody is left to show anything to.
    static func install() {
        // Made before a handler could make them.
        _ = stopCount
        _ = lastStop.load(ordering: .relaxed)
        _ = takeSuspension()
        for number in [SIGINT, SIGTERM, SIGHUP] {
            signal(number) { number in
                Signals.lastStop.store(number, ordering: .relaxed)
                Signals.stops.note(atNanoseconds: linux_monotonic_nanoseconds())
            }
        }
        signal(SIGTSTP) { _ in Signals.hasSuspension.store(true, ordering: .relaxed) }
        signal(SIGPIPE, SIG_IGN)
        // The parent may have had them blocked, and that is inherited.
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        for number in [SIGINT, SIGTERM, SIGHUP, SIGTSTP] { unsafe sigaddset(&signals, number) }
        unsafe pthread_sigmask(SIG_UNBLOCK, &signals, nil)
    }

    /// Asks the program to stop as SIGINT does.
    static func stop() {
        lastStop.store(SIGINT, ordering: .relaxed)
        stops.note(atNanoseconds: linux_monotonic_nanoseconds())
    }

    /// How often the program was asked to stop; see `StopRequests` for what counts.
    static var stopCount: Int { stops.count }

    /// The signal that asked last; 0: none did.
    static var stopSignal: Int32 { lastStop.load(ordering: .relaxed) }

    /// True once after each SIGTSTP.
    static func takeSuspension() -> Bool { hasSuspension.exchange(false, ordering: .relaxed) }
}
