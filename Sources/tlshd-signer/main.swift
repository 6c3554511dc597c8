internal import Glibc
internal import Signer

exit(SignerProcess.run())
