#include "fakes/certificates.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/error.h"

enum { NFILES = 15 };
static const long day_seconds = 86400;

static const char *const files[NFILES] = {
    "ca.pem",     "ca.key",     "stranger-ca.pem", "stranger-ca.key", "server.pem",
    "server.key", "name.pem",   "name.key",        "expired.pem",     "expired.key",
    "client.pem", "client.key", "stranger.pem",    "stranger.key",    "locked.key",
};

struct identity {
    X509 *certificate;
    EVP_PKEY *key;
};

static FILE *file_new(const char *directory, const char *name, const char *suffix)
{
    char path[2 * CERTIFICATES_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s%s", directory, name, suffix);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *file = fdopen(fd, "w");
    BM_ASSERT(file != NULL);
    return file;
}

static void certificate_extend(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    BM_ASSERT(extension != NULL && X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

// `names` is NULL for an authority; `issuer` is NULL for one that signs itself.
static struct identity identity_new(const char *directory, const char *name, const char *names,
                                    const struct identity *issuer, long days)
{
    static long serial = 1;
    struct identity made = {X509_new(), EVP_EC_gen("P-256")};
    X509 *certificate = made.certificate;
    X509_NAME *subject = X509_get_subject_name(certificate);
    const struct identity *signer = issuer == NULL ? &made : issuer;
    BM_ASSERT(X509_set_version(certificate, X509_VERSION_3) == 1);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -2 * day_seconds);
    X509_gmtime_adj(X509_getm_notAfter(certificate), days * day_seconds);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(signer->certificate));
    X509_set_pubkey(certificate, made.key);
    certificate_extend(certificate, signer->certificate, NID_basic_constraints,
                       names == NULL ? "critical,CA:TRUE" : "CA:FALSE");
    if (names != NULL)
        certificate_extend(certificate, signer->certificate, NID_subject_alt_name, names);
    BM_ASSERT(X509_sign(certificate, signer->key, EVP_sha256()) > 0);
    FILE *file = file_new(directory, name, ".pem");
    BM_ASSERT(PEM_write_X509(file, certificate) == 1);
    fclose(file);
    file = file_new(directory, name, ".key");
    BM_ASSERT(PEM_write_PrivateKey(file, made.key, NULL, NULL, 0, NULL, NULL) == 1);
    fclose(file);
    return made;
}

static void identity_free(struct identity identity)
{
    X509_free(identity.certificate);
    EVP_PKEY_free(identity.key);
}

void certificates_make(const char *directory)
{
    static const char here[] = "DNS:localhost,IP:127.0.0.1,IP:::1";
    struct identity ca = identity_new(directory, "ca", NULL, NULL, 1);
    struct identity stranger = identity_new(directory, "stranger-ca", NULL, NULL, 1);
    struct identity server = identity_new(directory, "server", here, &ca, 1);
    FILE *file = file_new(directory, "locked", ".key");
    BM_ASSERT(PEM_write_PrivateKey(file, server.key, EVP_aes_128_cbc(),
                                   (const unsigned char *)"secret", 6, NULL, NULL) == 1);
    fclose(file);
    identity_free(server);
    identity_free(identity_new(directory, "name", "DNS:another.example", &ca, 1));
    identity_free(identity_new(directory, "expired", here, &ca, -1));
    identity_free(identity_new(directory, "client", "DNS:client.example", &ca, 1));
    identity_free(identity_new(directory, "stranger", here, &stranger, 1));
    identity_free(stranger);
    identity_free(ca);
}

// ---- A folder for a test ----

static char folder[CERTIFICATES_PATH_MAX];
static char paths[NFILES][CERTIFICATES_PATH_MAX + 32];

void certificates_setup(void)
{
    strcpy(folder, "/tmp/batchmill-certificates-XXXXXX");
    BM_ASSERT(mkdtemp(folder) != NULL);
    certificates_make(folder);
    for (unsigned i = 0; i < NFILES; i++)
        snprintf(paths[i], sizeof paths[i], "%s/%s", folder, files[i]);
}

const char *certificates_path(const char *name)
{
    unsigned i = 0;
    while (i < NFILES && strcmp(files[i], name) != 0)
        i++;
    BM_ASSERT(i < NFILES);
    return paths[i];
}

void certificates_remove(void)
{
    for (unsigned i = 0; i < NFILES; i++)
        (void)unlink(paths[i]);
    (void)rmdir(folder);
}
