import Glibc

/// Counts every allocation of the process for real, without a C target, a preloaded library or
/// linker flags.
///
/// The dynamic linker calls functions of other libraries through tables of addresses (ELF's global
/// offset tables). `install` walks the loaded libraries and puts counting functions in the place of
/// malloc, calloc, realloc, posix_memalign and aligned_alloc. The Swift runtime allocates through
/// these; so do Foundation and our own code. What it does not see are allocations that libc makes
/// for itself, and mmap.
///
/// x86-64 and arm64 Linux with glibc. `install` tests itself and says whether it counts.
/// One thread: the count is not atomic.
enum AllocationCounter {
    /// Allocations since `install`.
    static var count: Int { unsafe allocationCount }

    /// Begins to count. Returns false when the count cannot be trusted here.
    static func install() -> Bool {
        unsafe original = unsafe Original()
        guard unsafe original.isComplete else { return false }
        // The handle of the program itself is the head of the linker's list of libraries
        // (`struct link_map` in glibc's link.h): base, name, dynamic section, next.
        var library = unsafe UnsafeRawPointer(dlopen(nil, RTLD_NOW))
        while let map = unsafe library {
            let name = unsafe map.load(fromByteOffset: 8, as: UnsafePointer<CChar>?.self)
            let text = unsafe name.map { unsafe String(cString: $0) } ?? ""
            if !text.contains("ld-linux"), !text.contains("vdso") {
                unsafe redirect(
                    base: map.load(as: UInt.self),
                    dynamic: map.load(fromByteOffset: 16, as: UnsafePointer<DynamicEntry>.self))
            }
            unsafe library = map.load(fromByteOffset: 24, as: UnsafeRawPointer?.self)
        }
        return countsKnownAllocations()
    }

    /// A thousand objects and as many buffers must be counted as such, and as many are kept alive
    /// so that the optimiser cannot take them away.
    private static func countsKnownAllocations() -> Bool {
        var objects: [Probe] = []
        objects.reserveCapacity(1_000)
        let before = count
        for number in 0..<1_000 { objects.append(Probe(number)) }
        let objectCount = count - before
        var sum = 0
        for object in objects { sum += object.number }
        let buffer = UnsafeMutableRawPointer.allocate(byteCount: 1_000, alignment: 64)
        unsafe buffer.storeBytes(of: sum, as: Int.self)
        let bufferCount = count - before - objectCount
        let isKept = unsafe buffer.load(as: Int.self) == 499_500
        unsafe buffer.deallocate()
        let quiet = count
        return isKept && objectCount == 1_000 && bufferCount == 1 && count == quiet
    }

    private final class Probe {
        let number: Int
        init(_ number: Int) { self.number = number }
    }

    /// `Elf64_Dyn`
    private struct DynamicEntry {
        var tag: Int
        var value: UInt
    }

    /// `Elf64_Rela`
    private struct Relocation {
        var offset: UInt
        var info: UInt
        var addend: Int
    }

    private static func redirect(base: UInt, dynamic: UnsafePointer<DynamicEntry>) {
        var strings: UInt = 0
        var symbols: UInt = 0
        var tables: [(start: UInt, bytes: UInt)] = [(0, 0), (0, 0)]
        var entry = unsafe dynamic
        while unsafe entry.pointee.tag != 0 {
            let value = unsafe entry.pointee.value
            // The linker has made addresses of these offsets, except in libraries that it may not
            // write to.
            let address = value < base ? value + base : value
            switch unsafe entry.pointee.tag {
            case 5: strings = address
            case 6: symbols = address
            case 7: tables[0].start = address
            case 8: tables[0].bytes = value
            case 23: tables[1].start = address
            case 2: tables[1].bytes = value
            default: break
            }
            unsafe entry += 1
        }
        guard strings != 0, symbols != 0 else { return }
        for table in tables where table.start != 0 {
            guard let first = unsafe UnsafePointer<Relocation>(bitPattern: table.start) else {
                continue
            }
            for index in 0..<Int(table.bytes) / MemoryLayout<Relocation>.stride {
                let relocation = unsafe first[index]
                guard isAddressOfSymbol(relocation.info & 0xFFFF_FFFF) else { continue }
                // The name is the first field of the 24 bytes of `Elf64_Sym`.
                let symbol = symbols + (relocation.info >> 32) * 24
                guard let place = unsafe UnsafePointer<UInt32>(bitPattern: symbol),
                    let name = unsafe UnsafePointer<CChar>(
                        bitPattern: strings + UInt(place.pointee)),
                    let counting = unsafe countingFunction(String(cString: name))
                else { continue }
                overwrite(base + relocation.offset, with: counting)
            }
        }
    }

    /// R_*_GLOB_DAT, R_*_JUMP_SLOT and R_*_64: a word that holds a symbol's address.
    private static func isAddressOfSymbol(_ type: UInt) -> Bool {
        #if arch(x86_64)
            type == 6 || type == 7 || type == 1
        #else
            type == 1025 || type == 1026 || type == 257
        #endif
    }

    private static func overwrite(_ address: UInt, with function: UInt) {
        let pageSize = UInt(sysconf(Int32(_SC_PAGESIZE)))
        let page = unsafe UnsafeMutableRawPointer(bitPattern: address & ~(pageSize - 1))
        // The tables were made read-only after linking (RELRO).
        guard unsafe mprotect(page, Int(pageSize), PROT_READ | PROT_WRITE) == 0 else { return }
        unsafe UnsafeMutablePointer<UInt>(bitPattern: address)?.pointee = function
    }

    private static func countingFunction(_ name: String) -> UInt? {
        switch name {
        case "malloc": unsafe unsafeBitCast(countedMalloc, to: UInt.self)
        case "calloc": unsafe unsafeBitCast(countedCalloc, to: UInt.self)
        case "realloc": unsafe unsafeBitCast(countedRealloc, to: UInt.self)
        case "posix_memalign": unsafe unsafeBitCast(countedPosixMemalign, to: UInt.self)
        case "aligned_alloc": unsafe unsafeBitCast(countedAlignedAlloc, to: UInt.self)
        default: nil
        }
    }
}

private typealias Malloc = @convention(c) (Int) -> UnsafeMutableRawPointer?
private typealias Calloc = @convention(c) (Int, Int) -> UnsafeMutableRawPointer?
private typealias Realloc =
    @convention(c) (UnsafeMutableRawPointer?, Int) -> UnsafeMutableRawPointer?
private typealias PosixMemalign =
    @convention(c) (UnsafeMutablePointer<UnsafeMutableRawPointer?>?, Int, Int) -> Int32

/// The functions of libc, taken before their addresses are replaced.
@unsafe private struct Original {
    var malloc: Malloc?
    var calloc: Calloc?
    var realloc: Realloc?
    var posixMemalign: PosixMemalign?
    var alignedAlloc: Calloc?

    init() {
        let program = unsafe dlopen(nil, RTLD_NOW)
        unsafe malloc = unsafeBitCast(dlsym(program, "malloc"), to: Malloc?.self)
        unsafe calloc = unsafeBitCast(dlsym(program, "calloc"), to: Calloc?.self)
        unsafe realloc = unsafeBitCast(dlsym(program, "realloc"), to: Realloc?.self)
        unsafe posixMemalign = unsafeBitCast(
            dlsym(program, "posix_memalign"), to: PosixMemalign?.self)
        unsafe alignedAlloc = unsafeBitCast(dlsym(program, "aligned_alloc"), to: Calloc?.self)
    }

    init(empty: Void) {}

    var isComplete: Bool {
        unsafe malloc != nil && calloc != nil && realloc != nil && posixMemalign != nil
            && alignedAlloc != nil
    }
}

// Globals, because C functions capture nothing. The bench has one thread.
nonisolated(unsafe) private var original = unsafe Original(empty: ())
nonisolated(unsafe) private var allocationCount = 0

private let countedMalloc: Malloc = { size in
    unsafe allocationCount &+= 1
    return unsafe original.malloc.unsafelyUnwrapped(size)
}

private let countedCalloc: Calloc = { count, size in
    unsafe allocationCount &+= 1
    return unsafe original.calloc.unsafelyUnwrapped(count, size)
}

private let countedRealloc: Realloc = { place, size in
    unsafe allocationCount &+= 1
    return unsafe original.realloc.unsafelyUnwrapped(place, size)
}

private let countedPosixMemalign: PosixMemalign = { place, alignment, size in
    unsafe allocationCount &+= 1
    return unsafe original.posixMemalign.unsafelyUnwrapped(place, alignment, size)
}

private let countedAlignedAlloc: Calloc = { alignment, size in
    unsafe allocationCount &+= 1
    return unsafe original.alignedAlloc.unsafelyUnwrapped(alignment, size)
}
