internal import Glibc
internal import Worker

exit(WorkerProcess.run())
