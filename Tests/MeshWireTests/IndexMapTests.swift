import MeshWire
import Testing

/// The fate of a number.
private enum Hash: CaseIterable {
    case mixed, itself, few, zero, ones, above48

    func callAsFunction(_ number: UInt64) -> UInt64 {
        switch self {
        case .mixed:
            var generator = Generator(state: number)
            return generator.next()
        case .itself: return number
        case .few: return number & 7
        case .zero: return 0
        case .ones: return .max
        case .above48: return number << 48
        }
    }
}

/// Numbers in an array, found by an index map under a hash that the test chooses.
private struct Numbers {
    var elements: [UInt64] = []
    var map = IndexMap()
    let hash: (UInt64) -> UInt64

    init(_ hash: @escaping (UInt64) -> UInt64) { self.hash = hash }
    init(_ hash: Hash) { self.hash = { hash($0) } }

    func find(_ number: UInt64) -> Int? {
        map.find(hash(number)) { elements[$0] == number }
    }

    @discardableResult
    mutating func add(_ number: UInt64) -> Int {
        elements.append(number)
        insert(elements.count - 1)
        return elements.count - 1
    }

    mutating func insert(_ index: Int) {
        let (elements, hash) = (elements, hash)
        map.insert(index, hash(elements[index])) { hash(elements[$0]) }
    }

    mutating func remove(_ number: UInt64) -> Int? {
        let (elements, hash) = (elements, hash)
        return map.remove(
            hash(number), rehash: { hash(elements[$0]) }, where: { elements[$0] == number })
    }
}

@Suite struct `An index map` {
    @Test func `finds nothing and holds no memory before the first index`() {
        let map = IndexMap()
        #expect(map.find(7) { _ in true } == nil)
        #expect(map.firstIndex(7) == nil)
        #expect(map.count == 0)
        #expect(map.byteCapacity == 0)
    }

    @Test(arguments: Hash.allCases)
    private func `finds each of many, whatever the hash`(_ hash: Hash) {
        var numbers = Numbers(hash)
        for number in 0..<500 { numbers.add(UInt64(number)) }
        #expect(numbers.map.count == 500)
        for number in 0..<500 { #expect(numbers.find(UInt64(number)) == number) }
        #expect(numbers.find(500) == nil)
    }

    @Test func `is at most three quarters full, and doubles`() {
        var numbers = Numbers(.mixed)
        var cells: [Int] = []
        for number in 0..<100 {
            numbers.add(UInt64(number))
            let count = numbers.map.byteCapacity / 4
            #expect((number + 1) * 4 <= count * 3)
            if cells.last != count { cells.append(count) }
        }
        #expect(cells == [16, 32, 64, 128, 256])
    }

    /// A cluster of six: homes 0, 1, 1, 0, 3, 2 in 16 cells, begun at `start`.
    @Test(arguments: [0, 5, 11, 13, 15], 0..<6)
    func `finds an element whose probe passed a removed one, also around the end`(
        start: Int, gone: Int
    ) {
        let homes: [UInt64] = [0, 1, 1, 0, 3, 2]
        var numbers = Numbers { (UInt64(start) + homes[Int($0)]) & 15 }
        for number in homes.indices { numbers.add(UInt64(number)) }
        #expect(numbers.map.byteCapacity == 16 * 4)
        #expect(numbers.remove(UInt64(gone)) == gone)
        #expect(numbers.map.count == 5)
        for number in homes.indices {
            #expect(numbers.find(UInt64(number)) == (number == gone ? nil : number))
        }
        numbers.insert(gone)
        for number in homes.indices { #expect(numbers.find(UInt64(number)) == number) }
    }

    @Test func `does not find or remove what is not in it`() {
        var numbers = Numbers { _ in 3 }
        #expect(numbers.remove(1) == nil)
        numbers.add(1)
        #expect(numbers.remove(2) == nil)
        #expect(numbers.remove(1) == 0)
        #expect(numbers.remove(1) == nil)
        #expect(numbers.map.count == 0)
    }

    @Test func `puts one index in the place of another`() {
        var numbers = Numbers(.mixed)
        for number in 0..<10 { numbers.add(UInt64(number)) }
        let hash = Hash.mixed(4)
        let elements = numbers.elements
        // The new index is too large for the cells as they are.
        for index in [10, 70_000] {
            let former = numbers.map.replace(
                hash, with: index, rehash: { Hash.mixed($0 < 10 ? elements[$0] : 4) },
                where: { $0 == (index == 10 ? 4 : 10) })
            #expect(former == (index == 10 ? 4 : 10))
            #expect(numbers.map.find(hash) { $0 == index } == index)
        }
        for number in 0..<10 where number != 4 {
            #expect(numbers.find(UInt64(number)) == number)
        }
        #expect(numbers.map.count == 10)
        let none = numbers.map.replace(
            Hash.mixed(99), with: 5, rehash: { Hash.mixed(elements[$0]) }, where: { _ in false })
        #expect(none == nil)
    }

    @Test func `takes indices far above the number of elements`() {
        var map = IndexMap()
        let indices = [0, 14, 15, 30, 31, 32, 65_535, 65_536, 1 << 24, 1 << 30, Int(Int32.max) - 1]
        for index in indices {
            map.insert(index, Hash.mixed(UInt64(index))) { Hash.mixed(UInt64($0)) }
        }
        for index in indices {
            #expect(map.find(Hash.mixed(UInt64(index))) { $0 == index } == index)
        }
        #expect(map.byteCapacity == 16 * 4)
    }

    @Test func `traps on an index that no cell can hold`() async {
        await #expect(processExitsWith: .failure) {
            var map = IndexMap()
            map.insert(Int(Int32.max), 0) { _ in 0 }
        }
    }

    @Test func `a search looks at few elements besides its result`() {
        var numbers = Numbers(.mixed)
        for number in 0..<12_000 { numbers.add(UInt64(number)) }
        var looks = 0
        for number in 0..<24_000 {
            _ = numbers.map.find(Hash.mixed(UInt64(number))) { index in
                looks += 1
                return index == number
            }
        }
        #expect(looks >= 12_000 && looks < 12_100, "\(looks)")
    }

    @Test func `names all elements that may have a hash`() {
        var numbers = Numbers { $0 / 10 << 16 }
        for number in 0..<40 { numbers.add(UInt64(number)) }
        var found: [Int] = []
        numbers.map.forEach(2 << 16) { found.append($0) }
        #expect(Set(found).isSuperset(of: 20..<30))
        #expect(found.count == Set(found).count)
    }

    @Test(arguments: [UInt64](1...4), Hash.allCases)
    private func `agrees with a dictionary after random insertions and removals`(
        seed: UInt64, hash: Hash
    ) {
        var random = Generator(state: seed)
        var numbers = Numbers(hash)
        var model: [UInt64: Int] = [:]
        var free: [Int] = []
        for _ in 0..<6_000 {
            let number = UInt64(random.next(below: 200))
            if let known = model[number] {
                #expect(numbers.find(number) == known)
                if random.next(below: 2) == 0 {
                    #expect(numbers.remove(number) == known)
                    model[number] = nil
                    free.append(known)
                }
            } else {
                #expect(numbers.find(number) == nil)
                if let index = free.popLast() {
                    numbers.elements[index] = number
                    numbers.insert(index)
                    model[number] = index
                } else {
                    model[number] = numbers.add(number)
                }
            }
            #expect(numbers.map.count == model.count)
        }
        for number in 0..<200 { #expect(numbers.find(UInt64(number)) == model[UInt64(number)]) }
    }
}
