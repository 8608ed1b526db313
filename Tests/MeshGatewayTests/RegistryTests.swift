import MeshWire
import Testing

@testable import MeshGateway

@Suite struct RegistryTests {
    private struct Pair: Hashable {
        var client: ClientIndex
        var kind: TopicKind
        var name: [UInt8]
    }

    @Test(arguments: [UInt64](1...2))
    func `random joins and departures agree with a set of pairs`(_ seed: UInt64) {
        let hasher = KeyHasher(seed, 9)
        var dice = Dice(state: seed)
        var registry = Registry(secret: seed)
        var lists = [SubscriptionLists](repeating: SubscriptionLists(), count: 20)
        var model: Set<Pair> = []
        for step in 0..<12_000 {
            let kind = TopicKind.allCases[dice.roll(6)]
            // At times many names, at times few, so that the tables grow and drain.
            let range = (step / 3_000) % 2 == 0 ? 500 : 10
            let name = Array("topic \(dice.roll(range))".utf8)
            let client = ClientIndex(dice.roll(20))
            let key = hasher.key(kind.keyKind, name)
            let pair = Pair(client: client, kind: kind, name: name)
            let others = model.contains { $0.kind == kind && $0.name == name }
            let topic = registry.topics.find(kind, key, name.span, 0, name.count)
            #expect(topic.isNone == !others)
            if dice.roll(100) < (range == 500 ? 60 : 40) {
                let outcome = registry.join(
                    Receiver(client), &lists[client.slot], kind, key, name.span, 0, name.count)
                #expect(outcome.isChanged == model.insert(pair).inserted)
                #expect(outcome.isEdge == !others)
            } else if !topic.isNone, case let subscription = registry.find(Receiver(client), topic),
                !subscription.isNone
            {
                #expect(model.remove(pair) != nil)
                let outcome = registry.leave(subscription, &lists[client.slot])
                let isLast = !model.contains { $0.kind == kind && $0.name == name }
                #expect(outcome.isEdge == isLast)
                if outcome.isEdge { registry.removeTopic(topic) }
            } else {
                #expect(!model.contains(pair))
            }
            if step % 997 == 0 { check(registry, lists, model) }
        }
        check(registry, lists, model)
    }

    /// Walks all lists and compares them with the model.
    private func check(
        _ registry: borrowing Registry, _ lists: [SubscriptionLists], _ model: Set<Pair>
    ) {
        let count = registry.count
        #expect(count == model.count)
        var fromClients: Set<Pair> = []
        for client in lists.indices {
            for kind in TopicKind.allCases {
                var index = lists[client][first: kind]
                var length = 0
                while !index.isNone {
                    let subscription = registry.subscription(index)
                    fromClients.insert(
                        Pair(
                            client: ClientIndex(client), kind: kind,
                            name: registry.topics.name(subscription.topic)))
                    index = subscription.nextOfReceiver
                    length += 1
                }
                #expect(length == Int(lists[client][count: kind]))
            }
        }
        #expect(fromClients == model)
        var fromTopics: Set<Pair> = []
        for topic in registry.topics.indices where registry.topics.isLive(topic) {
            var index = registry.topics[topic].first
            var length: Int32 = 0
            while !index.isNone {
                let subscription = registry.subscription(index)
                fromTopics.insert(
                    Pair(
                        client: subscription.receiver.client, kind: registry.topics[topic].kind,
                        name: registry.topics.name(topic)))
                index = subscription.nextInTopic
                length += 1
            }
            let topicCount = registry.topics[topic].count
            #expect(length == topicCount && length > 0)
        }
        #expect(fromTopics == model)
    }

    @Test func `subscribers are served in the order in which they came`() {
        var registry = Registry(secret: 1)
        var lists = [SubscriptionLists](repeating: SubscriptionLists(), count: 5)
        let name = Array("a".utf8)
        let key = KeyHasher(1, 2).key(.channel, name)
        for client in [3, 0, 4, 1] {
            _ = registry.join(
                Receiver(ClientIndex(client)), &lists[client], .channel, key, name.span, 0, 1)
        }
        let topic = registry.topics.find(.channel, key, name.span, 0, 1)
        let middle = registry.find(Receiver(ClientIndex(0)), topic)
        _ = registry.leave(middle, &lists[0])
        var clients: [Int] = []
        var index = registry.topics[topic].first
        while !index.isNone {
            clients.append(registry.subscription(index).receiver.client.slot)
            index = registry.subscription(index).nextInTopic
        }
        #expect(clients == [3, 4, 1])
    }

    @Test func `names that share a key are told apart, and are one entry of the directory`() {
        var topics = Topics(spread: KeySpread(secret: 1))
        let key = Key(42)
        let one = Array("one".utf8)
        let two = Array("two".utf8)
        let first = topics.insert(.channel, key, one.span, 0, 3)
        let before = topics.hasTwin(first)
        let second = topics.insert(.channel, key, two.span, 0, 3)
        let foundFirst = topics.find(.channel, key, one.span, 0, 3)
        let foundSecond = topics.find(.channel, key, two.span, 0, 3)
        #expect(foundFirst == first && foundSecond == second)
        let after = topics.hasTwin(first)
        #expect(!before && after)
        let watch = topics.insert(.watch, key, one.span, 0, 3)
        let isTwin = topics.hasTwin(watch)
        #expect(!isTwin)
        topics.remove(first)
        let gone = topics.find(.channel, key, one.span, 0, 3)
        let kept = topics.find(.channel, key, two.span, 0, 3)
        #expect(gone.isNone && kept == second)
    }

    @Test func `a subscription of its own topic costs at most 120 bytes with its name`() {
        let hasher = KeyHasher(1, 2)
        var registry = Registry(secret: 1)
        var lists = SubscriptionLists()
        for number in 0..<100_000 {
            let name = Array("user:\(number):inbox".utf8)
            _ = registry.join(
                Receiver(ClientIndex(0)), &lists, .channel, hasher.key(.channel, name), name.span,
                0,
                name.count)
        }
        // malloc rounds a name of up to 24 bytes to 32.
        let bytes = Double(registry.byteCapacity) / 100_000 + 32
        #expect(bytes <= 120, "\(bytes)")
    }
}
