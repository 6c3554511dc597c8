import Testing
import Wire

/// Bytes written as hexadecimal; what stands behind a `#` is a comment.
func hex(_ text: String) -> [UInt8] {
    text.split(separator: "\n").flatMap { line in
        let digits = line.prefix { $0 != "#" }.filter { !$0.isWhitespace }
        return stride(from: 0, to: digits.count, by: 2).map { start in
            UInt8(digits.dropFirst(start).prefix(2), radix: 16) ?? 0
        }
    }
}

/// The sample with one bit flipped, for every bit, and which byte it was in.
func bitFlips(of sample: [UInt8]) -> [(index: Int, bit: Int, bytes: [UInt8])] {
    sample.indices.flatMap { index in
        (0..<8).map { bit in
            var copy = sample
            copy[index] ^= 1 << bit
            return (index, bit, copy)
        }
    }
}

/// A message and how to read and write it, so that one test can go through all of them.
struct Codec: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let sample: [UInt8]
    /// The sample as the fuzzer of its kind takes it.
    var fuzzInput: [UInt8] = []
    /// Reads bytes; when they are a message, writes it again and reads that: `true` when both readings agree.
    let survivesRewriting: @Sendable ([UInt8]) throws(WireError) -> Bool

    init<Message: Equatable & Sendable>(
        _ name: String, _ message: Message, write: @escaping @Sendable (Message) throws(WireError) -> [UInt8],
        read: @escaping @Sendable ([UInt8]) throws(WireError) -> Message
    ) {
        testDescription = name
        do throws(WireError) {
            sample = try write(message)
        } catch {
            Issue.record("\(name) cannot be written: \(error.description)")
            sample = []
        }
        survivesRewriting = { (bytes: [UInt8]) throws(WireError) in
            let first = try read(bytes)
            return try read(try write(first)) == first
        }
    }
}
