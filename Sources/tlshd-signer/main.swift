internal import Glibc
internal import Signer

exit(Signer.program())
