/* GnuTLS, and the shim for what Swift cannot reach. */
#ifndef CGNUTLS_H
#define CGNUTLS_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#endif
