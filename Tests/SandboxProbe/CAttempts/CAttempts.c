#include "CAttempts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* 0, or errno of a call that returned -1. */
#define RESULT(call) ((call) == -1 ? errno : 0)

static struct sockaddr_in loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int open_file(struct attempt_means m) { return RESULT(open("/etc/passwd", O_RDONLY)); }
static int read_proc(struct attempt_means m) { return RESULT(open("/proc/self/maps", O_RDONLY)); }
static int read_memory(struct attempt_means m) { return RESULT(open("/proc/self/mem", O_RDWR)); }
static int create_file(struct attempt_means m) { return RESULT(open("/tmp/attempt", O_WRONLY | O_CREAT, 0600)); }
static int remove_file(struct attempt_means m) { return RESULT(unlink("/tmp/none")); }
static int look_at_file(struct attempt_means m) {
    struct stat status;
    return RESULT(stat("/etc/shadow", &status));
}
static int write_file(struct attempt_means m) { return RESULT(write(m.file, "x", 1)); }
static int resize_file(struct attempt_means m) { return RESULT(ftruncate(m.file, 1 << 20)); }
static int make_memory_file(struct attempt_means m) { return RESULT(memfd_create("attempt", 0)); }

static int make_socket(struct attempt_means m) { return RESULT(socket(AF_INET, SOCK_STREAM, 0)); }
static int make_unix_socket(struct attempt_means m) { return RESULT(socket(AF_UNIX, SOCK_DGRAM, 0)); }
static int make_netlink_socket(struct attempt_means m) { return RESULT(socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC)); }
static int connect_socket(struct attempt_means m) {
    struct sockaddr_in address = loopback();
    return RESULT(connect(m.tcp, (struct sockaddr *)&address, sizeof address));
}
static int bind_socket(struct attempt_means m) {
    struct sockaddr_in address = loopback();
    return RESULT(bind(m.tcp, (struct sockaddr *)&address, sizeof address));
}
static int connect_by_sending(struct attempt_means m) {
    struct sockaddr_in address = loopback();
    return RESULT(
        sendto(m.tcp, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&address, sizeof address));
}
static int connect_by_message(struct attempt_means m) {
    struct sockaddr_in address = loopback();
    struct iovec part = {.iov_base = "x", .iov_len = 1};
    struct msghdr message = {.msg_name = &address, .msg_namelen = sizeof address, .msg_iov = &part, .msg_iovlen = 1};
    return RESULT(sendmsg(m.tcp, &message, MSG_FASTOPEN | MSG_NOSIGNAL | MSG_DONTWAIT));
}
static int listen_on_socket(struct attempt_means m) { return RESULT(listen(m.tcp, 1)); }
static int shut_socket(struct attempt_means m) { return RESULT(shutdown(m.connected, SHUT_RDWR)); }
static int change_flags(struct attempt_means m) { return RESULT(fcntl(m.connected, F_SETFL, O_NONBLOCK)); }
static int duplicate(struct attempt_means m) { return RESULT(dup(m.connected)); }
static int filter_socket(struct attempt_means m) {
    struct sock_filter code = {.code = BPF_RET | BPF_K, .k = 0xffff};
    struct sock_fprog program = {.len = 1, .filter = &code};
    return RESULT(setsockopt(m.connected, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
}
static int other_protocol(struct attempt_means m) {
    return RESULT(setsockopt(m.connected, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
}
static int control_socket(struct attempt_means m) {
    int count;
    return RESULT(ioctl(m.connected, FIONREAD, &count));
}

static int trace_parent(struct attempt_means m) { return RESULT(ptrace(PTRACE_ATTACH, m.parent, NULL, NULL)); }
static int signal_parent(struct attempt_means m) { return RESULT(kill(m.parent, 0)); }
static int signal_thread(struct attempt_means m) { return RESULT(syscall(SYS_tgkill, m.parent, m.parent, SIGKILL)); }
static int open_parent(struct attempt_means m) { return RESULT(syscall(SYS_pidfd_open, m.parent, 0)); }
static int read_parent(struct attempt_means m) {
    char byte;
    struct iovec here = {.iov_base = &byte, .iov_len = 1}, there = {.iov_base = (void *)(long)m.parent, .iov_len = 1};
    return RESULT(process_vm_readv(m.parent, &here, 1, &there, 1, 0));
}

static int execute(struct attempt_means m) {
    char *const arguments[] = {"true", NULL}, *const environment[] = {NULL};
    return RESULT(execve("/bin/true", arguments, environment));
}
static int start_process(struct attempt_means m) {
    pid_t process = fork();
    if (process == 0)
        _exit(0);
    return RESULT(process);
}
static int start_thread(struct attempt_means m) {
    long process = syscall(SYS_clone, CLONE_VM | CLONE_VFORK, NULL, NULL, NULL, NULL);
    if (process == 0)
        syscall(SYS_exit, 0);
    return RESULT(process);
}
static int become_root(struct attempt_means m) { return RESULT(setuid(0)); }
static int new_namespace(struct attempt_means m) { return RESULT(unshare(CLONE_NEWUSER)); }
static int clone_namespace(struct attempt_means m) {
    long process = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
    if (process == 0)
        _exit(0);
    return RESULT(process);
}
static int clone3_namespace(struct attempt_means m) {
    /* struct clone_args of linux/sched.h in its first version. */
    uint64_t arguments[8] = {CLONE_NEWUSER, [4] = SIGCHLD};
    long process = syscall(SYS_clone3, arguments, sizeof arguments);
    if (process == 0)
        _exit(0);
    return RESULT(process);
}
static int open_file_system(struct attempt_means m) { return RESULT(syscall(SYS_fsopen, "tmpfs", 0)); }
static int raise_limit(struct attempt_means m) {
    struct rlimit limit = {.rlim_cur = 100, .rlim_max = 100};
    return RESULT(setrlimit(RLIMIT_NPROC, &limit));
}
static int become_dumpable(struct attempt_means m) { return RESULT(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)); }

static int map_code(struct attempt_means m) {
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? errno : 0;
}
static int make_code(struct attempt_means m) {
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return RESULT(mprotect(memory, 4096, PROT_READ | PROT_EXEC));
}

static int add_key(struct attempt_means m) {
    return RESULT(syscall(SYS_add_key, "user", "attempt", "x", 1, -3 /* session */));
}
static int use_bpf(struct attempt_means m) { return RESULT(syscall(SYS_bpf, 0, NULL, 0)); }
static int use_io_uring(struct attempt_means m) { return RESULT(syscall(SYS_io_uring_setup, 1, NULL)); }
static int watch_performance(struct attempt_means m) {
    return RESULT(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
}

static const struct {
    const char *name;
    int (*try)(struct attempt_means);
} attempts[] = {
#define ATTEMPT(name)                                                                                                  \
    { #name, name }
    ATTEMPT(open_file),          ATTEMPT(read_proc),         ATTEMPT(read_memory),
    ATTEMPT(create_file),        ATTEMPT(remove_file),       ATTEMPT(look_at_file),
    ATTEMPT(write_file),         ATTEMPT(resize_file),       ATTEMPT(make_memory_file),
    ATTEMPT(make_socket),        ATTEMPT(make_unix_socket),  ATTEMPT(make_netlink_socket),
    ATTEMPT(connect_socket),     ATTEMPT(bind_socket),       ATTEMPT(connect_by_sending),
    ATTEMPT(connect_by_message), ATTEMPT(listen_on_socket),  ATTEMPT(shut_socket),
    ATTEMPT(change_flags),       ATTEMPT(duplicate),         ATTEMPT(filter_socket),
    ATTEMPT(other_protocol),     ATTEMPT(control_socket),    ATTEMPT(trace_parent),
    ATTEMPT(signal_parent),      ATTEMPT(signal_thread),     ATTEMPT(open_parent),
    ATTEMPT(read_parent),        ATTEMPT(execute),           ATTEMPT(start_process),
    ATTEMPT(start_thread),       ATTEMPT(become_root),       ATTEMPT(new_namespace),
    ATTEMPT(raise_limit),        ATTEMPT(become_dumpable),   ATTEMPT(map_code),
    ATTEMPT(make_code),          ATTEMPT(add_key),           ATTEMPT(use_bpf),
    ATTEMPT(use_io_uring),       ATTEMPT(watch_performance), ATTEMPT(clone_namespace),
    ATTEMPT(clone3_namespace),   ATTEMPT(open_file_system),
};

const int attempt_count = sizeof attempts / sizeof attempts[0];

const char *attempt_name(int index) { return attempts[index].name; }

int attempt(const char *name, struct attempt_means means) {
    for (int index = 0; index < attempt_count; index++)
        if (strcmp(attempts[index].name, name) == 0)
            return attempts[index].try(means);
    return -1;
}
