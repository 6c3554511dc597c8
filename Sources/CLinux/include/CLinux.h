/* Kernel constants and layouts that build hosts may lack, and the few calls that Swift cannot make. Each line has one
 * of these reasons: a constant of a newer kernel, a macro, a variadic function, a call without a libc wrapper, a header
 * that Swift's Glibc module omits or exposes only with _GNU_SOURCE. */
#ifndef CLINUX_H
#define CLINUX_H

#include <linux/sched.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "Unconfined.h"

/* include/uapi/linux/tls.h, Linux 6.19. */
#ifndef TLS_TX_MAX_PAYLOAD_LEN
#define TLS_TX_MAX_PAYLOAD_LEN 5
#endif

/* F_GET_SEALS of fcntl.h, which requires _GNU_SOURCE. */
#define LINUX_GET_SEALS 1034

#pragma clang assume_nonnull begin

/* Macros: CMSG_SPACE, CMSG_FIRSTHDR, CMSG_NXTHDR, CMSG_DATA (cmsg(3)). */

/* Size of a control buffer for `count` descriptors. */
size_t linux_rights_space(size_t count);
/* Fills the control buffer of `message` with one SCM_RIGHTS entry. Its length must be linux_rights_space(count). */
void linux_rights_put(struct msghdr *message, const int *descriptors, size_t count);
/* Copies the descriptors of `message` into `descriptors` and returns their number. Descriptors that do not fit are
 * closed. */
size_t linux_rights_take(struct msghdr *message, int *_Nullable descriptors, size_t capacity);

/* Variadic: prctl(2). Returns 0, or -1 with errno. */

/* PR_SET_DUMPABLE 0: no core dump, no ptrace by the same uid, /proc/self owned by root. */
int linux_forbid_dump(void);

/* Privileges: prctl(2), and calls without a libc wrapper or exposed only with _GNU_SOURCE. Each returns 0, or -1 with
 * errno, unless stated otherwise. */

/* PR_SET_NO_NEW_PRIVS. */
int linux_no_new_privileges(void);
/* PR_CAPBSET_DROP of each capability that is not a bit of `kept`. */
int linux_limit_bounding(uint64_t kept);
/* PR_CAP_AMBIENT_CLEAR_ALL. */
int linux_clear_ambient(void);
/* capset(2): sets effective and permitted capabilities of this thread to the bits in `kept`; inheritable becomes empty.
 */
int linux_keep_capabilities(uint64_t kept);
/* setgroups(2), setresgid(2), setresuid(2). */
int linux_become(uint32_t user, uint32_t group, const uint32_t *groups, size_t count);
/* chroot(2), which requires _DEFAULT_SOURCE, and chdir(2) to the new root. */
int linux_change_root(const char *path);
/* close_range(2). */
int linux_close_range(unsigned first, unsigned last);
/* Returns 1 if the kernel can filter system calls and kill the whole process (CONFIG_SECCOMP_FILTER), else 0. */
int linux_has_seccomp(void);

/* landlock(7). ABI version, or -1 with errno if the kernel has none. */
int linux_landlock_version(void);
/* Creates a ruleset that handles these rights (each 0 for none). Returns a descriptor, or -1 with errno. */
int linux_landlock_ruleset(uint64_t files, uint64_t network, uint64_t scoped);
/* Allows `rights` for the file at `path`, or for everything below that directory. */
int linux_landlock_allow(int ruleset, const char *path, uint64_t rights);
int linux_landlock_restrict(int ruleset);

/* _GNU_SOURCE only. */

/* Name and text of an errno; NULL for a number that the C library does not know. */
const char *_Nullable linux_error_name(int number);
const char *_Nullable linux_error_text(int number);
/* memfd_create(2) with MFD_CLOEXEC and MFD_ALLOW_SEALING; a descriptor, or -1 with errno. */
int linux_memory_file(const char *name);
/* mlock2(2) with MLOCK_ONFAULT: each page is locked on first use. Returns 0, or -1 with errno. */
int linux_lock_on_use(void *address, size_t length);
/* Seals a memfd: contents, size and seals can no longer change. Returns 0, or -1 with errno. */
int linux_seal(int descriptor);
/* Returns 1 if `descriptor` has the seals that linux_seal adds, else 0; -1 with errno if it cannot be sealed. */
int linux_is_sealed(int descriptor);

/* Seals the size of a memfd. Returns 0, or -1 with errno. */
int linux_seal_size(int descriptor);
/* Atomic access to a number in memory shared with another process. */
uint64_t linux_load(const void *place);
void linux_store(void *place, uint64_t value);

/* Kernel TLS with TLS_RX set; macros of cmsg(3), and constants of include/uapi/linux/tls.h. Content type of the record
 * that recvmsg would return next, without consuming it; 0 if there is none. */
int linux_tls_record_type(int socket);
/* Consumes an alert record. Returns its description, or -1 if the next record is not an alert of two bytes. */
int linux_tls_take_alert(int socket);

#pragma clang assume_nonnull end

#endif
