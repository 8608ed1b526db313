import MeshDriver
import MeshWire
import Testing

@testable import MeshCore
@testable import MeshGateway

extension StoredMessages {
    fileprivate mutating func insert(
        _ text: [UInt8], _ number: UInt32, group: UInt64
    ) -> StoredMessageIndex {
        var title = MessageTitle()
        title.group = group
        title.id = MessageID(origin: NodeID(1), number: number)
        let parts = MessageSlices(payload: Slice(start: 0, count: text.count))
        return insert(title, parts, size: text.count, of: text.span)
    }
}

extension Hub {
    /// Whether each stored message has as many holders as mailboxes have it.
    func hasSoundMailboxes() -> Bool {
        var holders: [StoredMessageIndex: Int32] = [:]
        for slot in clients.slots {
            for message in clients[slot].mailbox.waiting.all { holders[message, default: 0] += 1 }
            for given in clients[slot].mailbox.given.all {
                holders[given.message, default: 0] += 1
            }
        }
        for slot in mailboxes.slots {
            for message in mailboxes[slot].messages.waiting.all {
                holders[message, default: 0] += 1
            }
        }
        for (message, count) in holders where stored[message].holders != count { return false }
        return stored.count == holders.count && hasSoundAccount()
    }

    /// Whether the account of memory is that of its parts.
    private func hasSoundAccount() -> Bool {
        var (output, input) = (0, 0)
        for slot in clients.slots {
            let charge = clients[slot].charge
            if !clients[slot].flags.contains(.open), charge.output + charge.input > 0 {
                return false
            }
            output += charge.output
            input += charge.input
        }
        return memory.output == output && memory.input == input
            && (stored.count > 0 || stored.byteCount == 0)
    }
}

@Suite struct MailboxTests {
    @Test func `what waits keeps order and bounds through any sequence of changes`() {
        var dice = Dice(state: 5)
        var messages = StoredMessages()
        var waiting = WaitingMessages()
        var model: [(number: UInt32, group: UInt64, text: [UInt8])] = []
        for step in 0..<20_000 {
            let choice = dice.roll(20)
            if choice < 4, !waiting.isEmpty {
                let first = waiting.takeFirst(messages)
                let text = messages[first].bytes
                #expect(text == model.removeFirst().text)
                messages.release(first)
            } else if choice == 4, !model.isEmpty {
                let gone = model.remove(at: dice.roll(model.count))
                let id = MessageID(origin: NodeID(1), number: gone.number)
                let removed = waiting.remove(id, messages)
                #expect(removed != nil)
                if let removed { messages.release(removed) }
                let again = waiting.remove(id, messages)
                #expect(again == nil)
            } else {
                let group = UInt64(dice.roll(step % 1_000 < 500 ? 4 : 400))
                let filling = String(repeating: "y", count: dice.roll(200))
                let text = Array("\(step):\(filling)".utf8)
                let number = UInt32(step)
                let superseded = waiting.appendLatest(
                    messages.insert(text, number, group: group), messages)
                let place = model.firstIndex { $0.group == group }
                #expect((superseded != nil) == (place != nil))
                if let superseded { messages.release(superseded) }
                if let place { model.remove(at: place) }
                model.append((number, group, text))
            }
            let (count, byteCount, stored) = (waiting.count, waiting.byteCount, messages.count)
            #expect(count == model.count && stored == model.count)
            #expect(byteCount == model.reduce(0) { $0 + $1.text.count })
        }
    }

    @Test func `a message that many have is stored once, and goes with the last of them`() {
        var messages = StoredMessages()
        let index = messages.insert(Array("abc".utf8), 1, group: 0)
        let reference = messages.reference(to: index)
        let again = messages.retain(reference)
        #expect(again == index)
        messages.release(index)
        let one = messages.count
        #expect(one == 1)
        messages.release(index)
        let none = messages.count
        let gone = messages.retain(reference)
        #expect(none == 0 && gone == nil)
        // Its place is another's by then.
        let other = messages.insert(Array("d".utf8), 2, group: 0)
        let still = messages.retain(reference)
        #expect(other == index && still == nil)
    }

    @Test func `the places of many messages are given back with the last`() {
        var messages = StoredMessages()
        let last = messages.insert([1], 0, group: 0)
        let reference = messages.reference(to: last)
        let many = (1...20_000).map { messages.insert([1], UInt32($0), group: 0) }
        for index in many { messages.release(index) }
        let kept = messages.retain(reference)
        #expect(kept == last)
        messages.release(last)
        messages.release(last)
        let (count, capacity) = (messages.count, messages.capacity)
        #expect(count == 0 && capacity == 0)
        let gone = messages.retain(reference)
        #expect(gone == nil)
        _ = messages.insert([2], 1, group: 0)
        let other = messages.retain(reference)
        #expect(other == nil)
    }
}
