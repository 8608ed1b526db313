import MeshWire
import Testing

/// Counts how many of it there are.
private struct Counted: ~Copyable {
    final class Count { var value = 0 }
    let count: Count
    var number: Int

    init(_ count: Count, _ number: Int) {
        self.count = count
        self.number = number
        count.value += 1
    }

    deinit { count.value -= 1 }
}

@Suite struct `A slab` {
    @Test func `keeps elements that cannot be copied by their index while it grows`() {
        let count = Counted.Count()
        do {
            var slab = Slab<Counted>()
            for number in 0..<100 { slab.append(Counted(count, number)) }
            slab[40].number = -1
            for index in 0..<100 {
                let number = slab[index].number
                #expect(number == (index == 40 ? -1 : index))
            }
            let last = slab.read(99) { $0.number }
            #expect(last == 99)
            #expect(count.value == 100)
        }
        #expect(count.value == 0)
    }

    @Test func `ends its elements when they are taken out, and can be filled again`() {
        let count = Counted.Count()
        var slab = Slab<Counted>(capacity: 2)
        for number in 0..<3 { slab.append(Counted(count, number)) }
        slab.removeAll()
        #expect(count.value == 0)
        slab.append(Counted(count, 7))
        let (elements, number) = (slab.count, slab[0].number)
        #expect(elements == 1 && number == 7)
        slab.removeAll()
        slab.removeAll()
        #expect(count.value == 0)
    }

    @Test func `never moves an element within the capacity that it began with`() {
        var slab = Slab<Int64>(capacity: 1_000)
        slab.append(1)
        let first = unsafe slab.pointer(to: 0)
        for number in 1..<1_000 { slab.append(Int64(number)) }
        let isSame = unsafe slab.pointer(to: 0) == first
        #expect(isSame)
    }

    @Test(arguments: [1, 16, 64])
    func `aligns each element`(alignment: Int) {
        var slab = Slab<SIMD64<UInt8>>(capacity: 9, alignment: alignment)
        for _ in 0..<9 { slab.append(SIMD64(repeating: 1)) }
        for index in 0..<9 {
            let address = unsafe UInt(bitPattern: slab.pointer(to: index))
            #expect(address % UInt(alignment) == 0)
        }
    }

    @Test func `traps on an index without an element`() async {
        await #expect(processExitsWith: .failure) {
            var slab = Slab<Int>(capacity: 8)
            slab.append(1)
            slab[1] = 2
        }
        await #expect(processExitsWith: .failure) { _ = Slab<Int>()[-1] }
    }

    @Test func `traps on an alignment that its elements cannot have`() async {
        await #expect(processExitsWith: .failure) { _ = Slab<Int>(alignment: 64) }
    }
}
