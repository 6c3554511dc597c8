/* libnl-3 and libnl-genl-3: sockets, family and group resolution. tlshd builds and parses the messages itself. */
#ifndef CNETLINK_SHIM_H
#define CNETLINK_SHIM_H

#include <netlink/errno.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

/* nl_debug is a variable, which Swift cannot access. libnl prints to stderr from level 1 on. */
static inline void cnetlink_set_debug_level(int level) { nl_debug = level; }

#endif
