internal import Worker

Worker.program()
