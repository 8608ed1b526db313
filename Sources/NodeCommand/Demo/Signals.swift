import Glibc
import Synchronization

/// Signals for a program that looks for them between two waits; they end its waits.
enum Signals {
    private static let stops = Atomic<Int>(0)
    private static let lastStop = Atomic<Int32>(0)
    private static let hasSuspension = Atomic<Bool>(false)

    /// From now on SIGINT, SIGTERM and SIGHUP ask the program to stop, and SIGTSTP to pause.
    static func install() {
        // Made before a handler could make them.
        _ = stopCount
        _ = lastStop.load(ordering: .relaxed)
        _ = takeSuspension()
        for number in [SIGINT, SIGTERM, SIGHUP] {
            signal(number) { number in
                Signals.lastStop.store(number, ordering: .relaxed)
                Signals.stops.add(1, ordering: .relaxed)
            }
        }
        signal(SIGTSTP) { _ in Signals.hasSuspension.store(true, ordering: .relaxed) }
        signal(SIGPIPE, SIG_IGN)
    }

    /// Asks the program to stop as SIGINT does.
    static func stop() {
        lastStop.store(SIGINT, ordering: .relaxed)
        stops.add(1, ordering: .relaxed)
    }

    /// How often the program was asked to stop.
    static var stopCount: Int { stops.load(ordering: .relaxed) }

    /// The signal that asked last; 0: none did.
    static var stopSignal: Int32 { lastStop.load(ordering: .relaxed) }

    /// True once after each SIGTSTP.
    static func takeSuspension() -> Bool { hasSuspension.exchange(false, ordering: .relaxed) }
}
