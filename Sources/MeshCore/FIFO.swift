/// A first-in, first-out queue whose every operation is O(1), amortised.
///
///     items ──▶ [ taken … head │ waiting … ]
///
/// Elements that were taken leave the memory when they are half of it, or when nothing waits.
public struct FIFO<Element> {
    private var items: [Element?] = []
    private var head = 0

    public init() {}

    public var count: Int { items.count - head }
    public var isEmpty: Bool { head == items.count }

    /// The element that was appended first of all that wait.
    public var first: Element? { head < items.count ? items[head] : nil }

    /// The element that was appended last of all that wait.
    public var last: Element? { isEmpty ? nil : items[items.count - 1] }

    public mutating func append(_ element: Element) { items.append(element) }

    /// Takes what was appended first; nil: nothing waits.
    public mutating func popFirst() -> Element? {
        guard head < items.count else { return nil }
        let element = items[head]
        items[head] = nil
        head += 1
        if head == items.count {
            items.removeAll(keepingCapacity: head <= 64)
            head = 0
        } else if head >= 64, head * 2 >= items.count {
            items.removeSubrange(..<head)
            head = 0
        }
        return element
    }

    /// Everything that waits, the first one first.
    public var waiting: [Element] { items[head...].map { $0! } }

    /// Takes out what `isUnwanted` says; the order of the rest stays. O(n).
    public mutating func removeAll(where isUnwanted: (Element) -> Bool) {
        items = items[head...].filter { !isUnwanted($0!) }
        head = 0
    }
}
