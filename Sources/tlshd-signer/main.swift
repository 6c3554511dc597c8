internal import Signer

Signer.program()
