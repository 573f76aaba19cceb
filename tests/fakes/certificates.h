// certificates.h -- authorities, certificates and keys, made anew in a folder of their own.
//
// Signed by ca.pem: server.pem (for localhost, 127.0.0.1 and ::1), name.pem (for another.example
// alone), expired.pem, client.pem; each with a key file of mode 0600 as server.key. stranger-ca.pem
// is an authority that signed none of them but stranger.pem, which is for localhost too.
// locked.key is that of server.pem with a passphrase. One thread; asserts.
#pragma once

enum { CERTIFICATES_PATH_MAX = 128 };

void certificates_make(const char *directory); // which must be there
// A new folder with them below /tmp; certificates_remove() removes it.
void certificates_setup(void);
void certificates_remove(void);
const char *certificates_path(const char *name); // in that folder; lent until removed
