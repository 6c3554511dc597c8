import Handshake
import SigningWire
import TLSWire

/// What a stranger sends: a record header, a ClientHello, a list of extensions, a name, or no TLS at all.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzHello(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    // libFuzzer's memory, valid during this call.
    let bytes = unsafe UnsafeBufferPointer(start: start, count: count)
    let span = unsafe bytes.span
    if let hello = try? ClientHelloIdentities(from: span) {
        precondition(hello.identities.reduce(0) { $0 + $1.name.count + 6 } <= count)
        precondition(hello.applicationProtocols.reduce(0) { $0 + $1.count + 1 } <= count)
        _ = hello.missingExtension(for: true)
    }
    if let header = try? TLSRecordHeader(from: span) {
        precondition((1...TLSRecordHeader.longestBody).contains(header.bodyLength))
    }
    if let answer = try? EncryptedExtensions(from: span) {
        precondition(answer.applicationProtocol.map { $0.count + 2 <= count } ?? true)
    }
    if let session = try? ClientHelloIdentities.session(inServerHello: span) { precondition(session.count < count) }
    _ = EllipticCurve.foreign(in: span)
    precondition(DERElements.count(in: span) <= count)
    var incoming = IncomingHandshake()
    _ = try? incoming.take(span)
    _ = PlainText(lookingAt: span.indices.map { span[$0] }).description
    // The name of a certificate, which rules are compared with.
    let name = unsafe String(decoding: bytes, as: UTF8.self)
    for pattern in [NamePattern("CN=*,O=Good"), NamePattern("*+UID=?,*"), NamePattern(name)] {
        _ = pattern?.matches(name)
    }
    _ = TextPattern("CN=*,O=Good").matches(name: name)
    return 0
}
