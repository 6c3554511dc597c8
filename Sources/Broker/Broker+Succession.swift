internal import Handshake
internal import Keyrings
internal import System
internal import Upcall

// A restart that no consumer notices, where the service manager keeps descriptors
// (docs/decisions/0081-restart-without-loss.md).
//
// The sockets that make the kernel believe that somebody listens are in the manager's store, so that requests wait in
// the kernel while nobody runs. On SIGTERM the broker forks: the parent ends, which is what the manager waits for, and
// the child goes on as if nothing had happened, until the successor says that it serves. Then it finishes what it has.
extension Broker {
    /// What keeps one way in over a restart is known by: kind, and the namespace, which a kept socket keeps alive.
    private static func storeName(_ kind: String, _ identity: NamespaceIdentity) -> String {
        "\(kind).\(identity.device).\(identity.inode)"
    }

    /// The predecessor's descriptor for this kind of way in, if it left one.
    func inherited(_ kind: String, _ identity: NamespaceIdentity) -> OwnedDescriptor? {
        heritage?.take(Self.storeName(kind, identity))
    }

    /// Sees to it that a successor is left this way in.
    func bequeath(_ upcall: any Upcall, _ identity: NamespaceIdentity) {
        guard let kind = upcall.storeName, let number = upcall.descriptors.first else { return }
        store { () throws(SystemError) in try DescriptorStore.put(number, as: Self.storeName(kind, identity)) }
    }

    /// No successor is to be left this way in any longer.
    func disinherit(_ upcall: any Upcall, _ identity: NamespaceIdentity) {
        guard let kind = upcall.storeName else { return }
        store { () throws(SystemError) in try DescriptorStore.remove(Self.storeName(kind, identity)) }
    }

    /// Called when everything is served: lets the predecessor know, and lets go of what it left and is not wanted.
    func takeOver() {
        let rest = heritage?.names ?? []
        heritage = nil
        for name in rest { store { () throws(SystemError) in try DescriptorStore.remove(name) } }
        do {
            succession = try SuccessionPipe.store(as: "heir.\(Host.processIdentifier)")
        } catch {
            log.error("a restart would not go without a gap: \(error.description)")
        }
    }

    /// Tries to leave the service to a successor without a gap.
    ///
    /// - Returns: in the parent never; `true` in the child, which serves on; `false` where nothing keeps the sockets.
    func passOn() -> Bool {
        guard !isRemainder, let succession, succession.isKept else { return false }
        do {
            switch try Fork.fork() {
            case .parent(let child):
                log.notice("process \(child) serves on until a successor does, \(table.count) handshakes under way")
                Fork.leave()
            case .child:
                try becomeRemainder(succession.number)
            }
        } catch {
            log.error("the service cannot be passed on: \(error.description)")
            return false
        }
        return true
    }

    private func becomeRemainder(_ number: Int32) throws(SystemError) {
        isRemainder = true
        ServiceManager.fallSilent()
        Fork.lockMemoryAgain()
        try watchSignals()
        successionSource = try loop.watch(number) { [unowned self] _ in succeeded() }
        closeControl()
        do {
            try Keyring.establishProcessKeyring()
        } catch {
            log.error("keyrings of consumers cannot be used: \(error.description)")
        }
    }

    /// The successor serves, or the service is stopped: no new requests, the last of ours are finished in their own
    /// time.
    func succeeded() {
        successionSource?.cancel()
        log.notice("finishing \(table.count) handshakes, a successor takes new ones or nobody does")
        closeWays()
        isStopping = true
    }

    private func store<Value>(_ body: () throws(SystemError) -> Value) {
        do {
            _ = try body()
        } catch {
            log.error("the service manager's store cannot be used: \(error.description)")
        }
    }
}
