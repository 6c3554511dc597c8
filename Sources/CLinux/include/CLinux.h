/* Kernel numbers and layouts that build hosts may lack, and the few calls that Swift cannot make. A line may stand here
 * only for one of these reasons: a constant of a newer kernel, a macro, a variadic function, a call without a libc
 * wrapper, a header that Swift's Glibc module leaves out or shows only with _GNU_SOURCE. */
#ifndef CLINUX_H
#define CLINUX_H

#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/types.h>

#pragma clang assume_nonnull begin

/* Macros: CMSG_SPACE, CMSG_FIRSTHDR, CMSG_NXTHDR, CMSG_DATA (cmsg(3)). */

/* Bytes of control buffer that `count` descriptors take. */
size_t linux_rights_space(size_t count);
/* Fills the control buffer of `message` with one SCM_RIGHTS entry; its length must be linux_rights_space(count). */
void linux_rights_put(struct msghdr *message, const int *descriptors, size_t count);
/* Copies every descriptor that `message` brought into `descriptors`; returns how many there are. What does not fit is
 * closed. */
size_t linux_rights_take(struct msghdr *message, int *_Nullable descriptors, size_t capacity);

/* Variadic: prctl(2). Returns 0, or -1 with errno. */

/* PR_SET_DUMPABLE 0: no core dump, no ptrace by the same uid, /proc/self owned by root. */
int linux_forbid_dump(void);

/* Privileges: prctl(2), and calls without a libc wrapper or shown only with _GNU_SOURCE. Each returns 0, or -1 with
 * errno, unless it says otherwise. */

/* PR_SET_NO_NEW_PRIVS. */
int linux_no_new_privileges(void);
/* PR_CAPBSET_DROP; EINVAL for a number that this kernel does not know. */
int linux_drop_bounding(int capability);
/* PR_CAP_AMBIENT_CLEAR_ALL. */
int linux_clear_ambient(void);
/* capset(2): the sets of this thread become those of the capabilities in `kept`, a bit each; inheritable becomes empty.
 */
int linux_keep_capabilities(uint64_t kept);
/* capget(2): the permitted set of this thread, a bit each; 0 where it cannot be told. */
uint64_t linux_permitted_capabilities(void);
/* setgroups(2), setresgid(2), setresuid(2). */
int linux_become(uint32_t user, uint32_t group, const uint32_t *groups, size_t count);
/* close_range(2). */
int linux_close_range(unsigned first, unsigned last);
/* Whether the kernel can filter system calls and kill the whole process (CONFIG_SECCOMP_FILTER); 1 or 0. */
int linux_has_seccomp(void);

/* landlock(7). The ABI's version, or -1 with errno where the kernel has none. */
int linux_landlock_version(void);
/* A ruleset that handles these rights (each 0 for none); a descriptor, or -1 with errno. */
int linux_landlock_ruleset(uint64_t files, uint64_t network, uint64_t scoped);
/* Allows `rights` to the file at `path`, or beneath that folder. */
int linux_landlock_allow(int ruleset, const char *path, uint64_t rights);
int linux_landlock_restrict(int ruleset);

/* _GNU_SOURCE only. */

/* An errno's name and text; NULL for a number that the C library does not know. */
const char *_Nullable linux_error_name(int number);
const char *_Nullable linux_error_text(int number);
/* memfd_create(2) with MFD_CLOEXEC and MFD_ALLOW_SEALING; a descriptor, or -1 with errno. */
int linux_memory_file(const char *name);
/* mlock2(2) with MLOCK_ONFAULT: each page is locked when it is first used; 0, or -1 with errno. */
int linux_lock_on_use(void *address, size_t length);
/* accept4(2) without an address, with SOCK_CLOEXEC and SOCK_NONBLOCK; a descriptor, or -1 with errno. */
int linux_accept(int listener);
/* The protocol's name of the socket at `path`, a descriptor below /proc: getxattr(2) of system.sockprotoname. Its
 * length with the NUL at its end, or -1 with errno. */
ssize_t linux_socket_protocol(const char *path, char *name, size_t capacity);
/* posix_spawn_file_actions_addclosefrom_np(3); an errno. */
int linux_spawn_close_from(posix_spawn_file_actions_t *actions, int lowest);

/* Forbids every further change of a memfd: contents, size, and seals. Returns 0, or -1 with errno. */
int linux_seal(int descriptor);
/* Whether `descriptor` carries the seals that linux_seal adds; -1 with errno where it can carry none. */
int linux_is_sealed(int descriptor);

/* Forbids that a memfd shrinks or grows. Returns 0, or -1 with errno. */
int linux_seal_size(int descriptor);
/* A number in memory that another process has mapped, too. */
uint64_t linux_load(const void *place);
void linux_store(void *place, uint64_t value);

/* struct tcp_info of linux/tcp.h, which netinet/tcp.h of the C library has in an older form. Bytes that were written to
 * a TCP socket and read from it since the connection was made; 0, or -1 with errno. */
int linux_stream_progress(int descriptor, uint64_t *written, uint64_t *received);

/* kTLS with TLS_RX set; macros of cmsg(3), and constants of include/uapi/linux/tls.h. The content type of the record
 * that recvmsg would give next, which stays where it is; 0 for none. */
int linux_tls_record_type(int socket);
/* Takes an alert record: its description, or -1 where the next record is none, or none of two bytes. */
int linux_tls_take_alert(int socket);

/* fork(2), which Swift does not offer. The child has the calling thread alone. Its number, 0 in the child, or -1. */
int linux_fork(void);

/* Network namespaces. Variadic, or _GNU_SOURCE only. Both return 0, or -1 with errno. */

/* Whether `descriptor` is a network namespace's file (NS_GET_NSTYPE); ENOTTY where it is no namespace's, EINVAL where
 * it is of another kind. */
int linux_check_network_namespace(int descriptor);
/* setns(2) with CLONE_NEWNET, for the calling thread. */
int linux_enter_network_namespace(int descriptor);

#pragma clang assume_nonnull end

#endif
