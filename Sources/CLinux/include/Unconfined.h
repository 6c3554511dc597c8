/* Calls of the broker and tlshctl alone: `.ci/dependencies` checks that no sandboxed process is linked with them. */
#ifndef CLINUX_UNCONFINED_H
#define CLINUX_UNCONFINED_H

#include <linux/netlink.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/types.h>

#pragma clang assume_nonnull begin

/* capget(2): the permitted capabilities of this thread as bits; 0 on failure. */
uint64_t linux_permitted_capabilities(void);
/* Clears `dropped` in the effective capabilities of this thread, and sets those of `raised` that are permitted. Returns
 * 0, or -1 with errno. */
int linux_change_effective(uint64_t dropped, uint64_t raised);

/* dl_iterate_phdr(3): PT_INTERP of this program as the kernel mapped it, a path; NULL if it has none. */
const char *_Nullable linux_dynamic_linker(void);

/* accept4(2) without an address, with SOCK_CLOEXEC and SOCK_NONBLOCK; a descriptor, or -1 with errno. */
int linux_accept(int listener);
/* Protocol name of the socket at `path`, a descriptor in /proc: getxattr(2) of system.sockprotoname. Returns the length
 * including the NUL, or -1 with errno. */
ssize_t linux_socket_protocol(const char *path, char *name, size_t capacity);
/* pidfd_open(2) and pidfd_send_signal(2), for which the C library has functions since glibc 2.36. The first returns a
 * descriptor, the second 0; both return -1 with errno. */
int linux_pidfd_open(pid_t process);
int linux_pidfd_send_signal(int descriptor, int number);
/* posix_spawn_file_actions_addclosefrom_np(3); returns an errno. */
int linux_spawn_close_from(posix_spawn_file_actions_t *actions, int lowest);

/* Uses struct tcp_info of linux/tcp.h; netinet/tcp.h of the C library has an older version. Bytes written to and read
 * from a TCP socket since the connection was made. Returns 0, or -1 with errno. */
int linux_stream_progress(int descriptor, uint64_t *written, uint64_t *received);
/* As above: bytes of a TCP socket's send queue that are not acknowledged, retransmissions by timer since the last
 * acknowledgement, and segments that were received out of order. Returns 0, or -1 with errno. */
int linux_stream_delivery(int descriptor, uint32_t *unacknowledged, uint32_t *retransmissions, uint32_t *out_of_order);

/* fork(2), which Swift does not expose. The child has only the calling thread. Returns the child's ID, 0 in the child,
 * or -1. */
int linux_fork(void);

/* Network namespaces. Variadic, or _GNU_SOURCE only. Both return 0, or -1 with errno. */

/* Returns 0 if `descriptor` is the file of a network namespace (NS_GET_NSTYPE), else -1: ENOTTY if it is no namespace
 * file, EINVAL if it is of another type. */
int linux_check_network_namespace(int descriptor);
/* setns(2) with CLONE_NEWNET, for the calling thread. */
int linux_enter_network_namespace(int descriptor);

#pragma clang assume_nonnull end

#endif
