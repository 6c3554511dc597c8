internal import CGnuTLS
package import Handshake
internal import Wire
package import X509

/// The certificates and revocation lists of a PEM file, each with its position, so that errors can name a broken one.
@safe package struct PEMFile {
    /// Borrowed; must outlive this value.
    private let bytes: UnsafeRawBufferPointer
    private let blocks: [PEMBlock]

    /// - Parameter bytes: must outlive this value.
    @unsafe package init(_ bytes: UnsafeRawBufferPointer) {
        unsafe self.bytes = bytes
        let typed = unsafe UnsafeBufferPointer(
            start: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), count: bytes.count)
        blocks = unsafe PEMBlock.all(in: typed.span)
    }

    var isComplete: Bool { blocks.allSatisfy(\.isComplete) }

    func count(of kind: PEMBlock.Kind) -> Int { blocks.count { $0.kind == kind } }

    /// Reads each block of a type.
    ///
    /// - Throws: The position and the problem of the first block that cannot be read.
    func read<Value>(
        _ kind: PEMBlock.Kind, _ body: (UnsafeRawBufferPointer) throws(GnuTLSError) -> Value
    ) throws(TextError) -> [(value: Value, place: String)] {
        var found: [(value: Value, place: String)] = []
        for (index, block) in blocks.filter({ $0.kind == kind }).enumerated() {
            let place = Self.place(of: block, number: index + 1)
            guard block.isComplete else {
                throw TextError("\(place) cannot be read: its END line is missing")
            }
            do throws(GnuTLSError) {
                found.append((try unsafe body(UnsafeRawBufferPointer(rebasing: bytes[block.range])), place))
            } catch {
                throw TextError("\(place) cannot be read: \(error.text)")
            }
        }
        return found
    }

    /// The first certificate that cannot be read, if any.
    func damagedCertificate() -> TextError? {
        do throws(TextError) {
            _ = try Certificate.list(of: self)
            return nil
        } catch {
            return error
        }
    }

    private static func place(of block: PEMBlock, number: Int) -> String {
        let what = block.kind == .certificate ? "certificate" : "list"
        let file = block.file.map { " of \($0)" } ?? ""
        return "\(what) \(number) (line \(block.line)\(file))"
    }
}

extension Certificate {
    /// All certificates of a file, in file order. An empty list is an error.
    package static func list(of file: PEMFile) throws(TextError) -> [Certificate] {
        let found = try unsafe file.read(.certificate) { (block) throws(GnuTLSError) in
            try unsafe Certificate.list(fromPEM: block)
        }
        guard !found.isEmpty else { throw TextError("it holds no certificate in PEM") }
        return found.flatMap(\.value)
    }
}
