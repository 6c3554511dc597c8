#include "Unconfined.h"

#include <errno.h>
#include <link.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static int find_dynamic_linker(struct dl_phdr_info *object, size_t size, void *found) {
    (void)size;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[i];
        if (header->p_type != PT_INTERP)
            continue;
        const char *path = (const char *)(object->dlpi_addr + header->p_vaddr);
        if (memchr(path, 0, header->p_filesz) != NULL)
            *(const char **)found = path;
    }
    /* The first object is the program itself; no other is wanted. */
    return 1;
}

const char *linux_dynamic_linker(void) {
    const char *found = NULL;
    dl_iterate_phdr(find_dynamic_linker, &found);
    return found;
}

int linux_accept(int listener) { return accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK); }

ssize_t linux_socket_protocol(const char *path, char *name, size_t capacity) {
    return getxattr(path, "system.sockprotoname", name, capacity);
}

int linux_pidfd_open(pid_t process) { return (int)syscall(SYS_pidfd_open, process, 0); }

int linux_pidfd_send_signal(int descriptor, int number) {
    return (int)syscall(SYS_pidfd_send_signal, descriptor, number, NULL, 0);
}

uint64_t linux_permitted_capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, data) != 0)
        return 0;
    return (uint64_t)data[1].permitted << 32 | data[0].permitted;
}

int linux_change_effective(uint64_t dropped, uint64_t raised) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, data) != 0)
        return -1;
    for (int word = 0; word < _LINUX_CAPABILITY_U32S_3; word++) {
        int shift = 32 * word;
        data[word].effective &= ~(uint32_t)(dropped >> shift);
        data[word].effective |= (uint32_t)(raised >> shift) & data[word].permitted;
    }
    return (int)syscall(SYS_capset, &header, data);
}

int linux_stream_progress(int descriptor, uint64_t *written, uint64_t *received) {
    for (int attempt = 0; attempt < 8; attempt++) {
        struct tcp_info before = {0}, after = {0};
        socklen_t length = sizeof before;
        int queued;
        if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &before, &length) != 0)
            return -1;
        if (length < offsetof(struct tcp_info, tcpi_bytes_retrans) + sizeof before.tcpi_bytes_retrans) {
            errno = EOPNOTSUPP;
            return -1;
        }
        if (ioctl(descriptor, SIOCINQ, &queued) != 0)
            return -1;
        length = sizeof after;
        if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &after, &length) != 0)
            return -1;
        /* Otherwise data arrived between the two calls. */
        if (before.tcpi_bytes_received == after.tcpi_bytes_received) {
            *written = after.tcpi_bytes_sent - after.tcpi_bytes_retrans + after.tcpi_notsent_bytes;
            *received = after.tcpi_bytes_received - (uint64_t)queued;
            return 0;
        }
    }
    errno = EAGAIN;
    return -1;
}

int linux_stream_delivery(int descriptor, uint32_t *unacknowledged, uint32_t *retransmissions, uint32_t *out_of_order) {
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    int queued;
    if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &length) != 0 || ioctl(descriptor, SIOCOUTQ, &queued) != 0)
        return -1;
    *unacknowledged = (uint32_t)queued;
    *retransmissions = info.tcpi_retransmits;
    *out_of_order = info.tcpi_rcv_ooopack;
    return 0;
}

int linux_spawn_close_from(posix_spawn_file_actions_t *actions, int lowest) {
    return posix_spawn_file_actions_addclosefrom_np(actions, lowest);
}

int linux_check_network_namespace(int descriptor) {
    int kind = ioctl(descriptor, NS_GET_NSTYPE);
    if (kind >= 0 && kind != CLONE_NEWNET)
        errno = EINVAL;
    return kind == CLONE_NEWNET ? 0 : -1;
}

int linux_enter_network_namespace(int descriptor) { return setns(descriptor, CLONE_NEWNET); }

int linux_fork(void) { return fork(); }
