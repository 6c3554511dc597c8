/* Kernel numbers and layouts that build hosts may lack, and the few calls that Swift cannot make. A line may stand here
 * only for one of these reasons: a constant of a newer kernel, a macro, a variadic function, a call without a libc
 * wrapper, a header that Swift's Glibc module leaves out or shows only with _GNU_SOURCE. */
#ifndef CLINUX_H
#define CLINUX_H

#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#pragma clang assume_nonnull begin

/* Macros: CMSG_SPACE, CMSG_FIRSTHDR, CMSG_NXTHDR, CMSG_DATA (cmsg(3)). */

/* Bytes of control buffer that `count` descriptors take. */
size_t linux_rights_space(size_t count);
/* Fills the control buffer of `message` with one SCM_RIGHTS entry; its length must be linux_rights_space(count). */
void linux_rights_put(struct msghdr *message, const int *descriptors, size_t count);
/* Copies every descriptor that `message` brought into `descriptors`; returns how many there are. What does not fit is
 * closed. */
size_t linux_rights_take(struct msghdr *message, int *_Nullable descriptors, size_t capacity);

/* Variadic: prctl(2). Both return 0, or -1 with errno. */

/* PR_SET_DUMPABLE 0: no core dump, no ptrace by the same uid, /proc/self owned by root. */
int linux_forbid_dump(void);
/* PR_SET_NAME. */
int linux_set_name(const char *name);

/* _GNU_SOURCE only. */

/* An errno's name and text; NULL for a number that the C library does not know. */
const char *_Nullable linux_error_name(int number);
const char *_Nullable linux_error_text(int number);
/* memfd_create(2) with MFD_CLOEXEC and MFD_ALLOW_SEALING; a descriptor, or -1 with errno. */
int linux_memory_file(const char *name);
/* posix_spawn_file_actions_addclosefrom_np(3); an errno. */
int linux_spawn_close_from(posix_spawn_file_actions_t *actions, int lowest);

/* Forbids every further change of a memfd: contents, size, and seals. Returns 0, or -1 with errno. */
int linux_seal(int descriptor);
/* Whether `descriptor` carries the seals that linux_seal adds; -1 with errno where it can carry none. */
int linux_is_sealed(int descriptor);

/* Network namespaces. Variadic, or _GNU_SOURCE only. Both return 0, or -1 with errno. */

/* Whether `descriptor` is a network namespace's file (NS_GET_NSTYPE); ENOTTY where it is no namespace's, EINVAL where
 * it is of another kind. */
int linux_check_network_namespace(int descriptor);
/* setns(2) with CLONE_NEWNET, for the calling thread. */
int linux_enter_network_namespace(int descriptor);

#pragma clang assume_nonnull end

#endif
