internal import Glibc
internal import Worker

exit(Worker.program())
