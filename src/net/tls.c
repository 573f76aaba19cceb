#include "net/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/mutex.h"
#include "base/secret.h"

enum { SUBJECT_MAX = 128 };

struct bm_tls_context {
    enum bm_tls_side side;
    SSL_CTX *raw;
    BIO_METHOD *socket; // how OpenSSL reaches the socket
};

struct bm_tls {
    enum bm_tls_side side;
    int fd;
    int awaits;
    char name[BM_TLS_NAME_MAX + 1];
    char subject[SUBJECT_MAX]; // of the certificate that was not accepted
    // OpenSSL lets one thread at a time use a connection. Nobody waits for a peer with it held.
    struct bm_mutex mutex;
    SSL *ssl;
    bool failed; // OpenSSL wants no more calls then
    struct bm_error failure;
};

// ---- The socket, as OpenSSL sees it: its own would raise SIGPIPE ----

static int socket_read(BIO *bio, char *bytes, int size)
{
    const struct bm_tls *tls = BIO_get_data(bio);
    ssize_t n = recv(tls->fd, bytes, (size_t)size, MSG_DONTWAIT);
    BIO_clear_retry_flags(bio);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(bio);
    return (int)n;
}

static int socket_write(BIO *bio, const char *bytes, int size)
{
    const struct bm_tls *tls = BIO_get_data(bio);
    ssize_t n = send(tls->fd, bytes, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT);
    BIO_clear_retry_flags(bio);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(bio);
    return (int)n;
}

static long socket_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH; // nothing is held back
}

// ---- Errors ----

static const char *reason_of(unsigned long code)
{
    const char *reason = ERR_reason_error_string(code);
    return reason == NULL ? "unknown error" : reason;
}

static enum bm_status context_fail(struct bm_error *err, const char *path, const char *expected)
{
    unsigned long code = ERR_peek_error(); // the cause; what follows it says where it was met
    if (ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, path, "out of memory for TLS");
    if (ERR_SYSTEM_ERROR(code)) {
        errno = ERR_GET_REASON(code);
        return bm_fail(err, BM_NOT_FOUND, path, "cannot open: %m");
    }
    return bm_fail(err, BM_INVALID_ARGUMENT, path, "expected %s, got %s", expected,
                   reason_of(code));
}

// Whether the peer said that our certificate, or the lack of one, is the matter.
static bool alert_is_about_us(int reason)
{
    switch (reason - SSL_AD_REASON_OFFSET) {
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case TLS13_AD_CERTIFICATE_REQUIRED:
        return true;
    default:
        return false;
    }
}

static bool reason_is_no_tls(int reason)
{
    switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
        return true;
    default:
        return false;
    }
}

// Keeps why OpenSSL gave up.
static void tls_explain(struct bm_tls *tls, int kind, int error) BM_REQUIRES(tls->mutex)
{
    struct bm_error *failure = &tls->failure;
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code);
    long verdict = SSL_get_verify_result(tls->ssl);
    bool client = tls->side == BM_TLS_CLIENT;
    tls->failed = true;
    errno = error;
    if (kind == SSL_ERROR_SYSCALL)
        bm_fail(failure, BM_UNAVAILABLE, NULL,
                error == 0 ? "the connection ended" : "the connection ended: %m");
    else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verdict != X509_V_OK)
        bm_fail(failure, BM_PERMISSION_DENIED, NULL,
                "expected a certificate%s%s of a known authority, got one of %s: %s",
                client ? " for " : "", client ? tls->name : "", tls->subject,
                X509_verify_cert_error_string(verdict));
    else if (alert_is_about_us(reason))
        bm_fail(failure, BM_PERMISSION_DENIED, NULL,
                "the other side does not accept this side's certificate: %s", reason_of(code));
    else if (reason_is_no_tls(reason))
        bm_fail(failure, BM_INVALID_ARGUMENT, NULL,
                "expected a peer that speaks TLS 1.2 or 1.3, got something else (%s)",
                reason_of(code));
    else
        bm_fail(failure, BM_UNAVAILABLE, NULL, "TLS failed: %s", reason_of(code));
}

enum bm_status bm_tls_failure(const struct bm_tls *tls, struct bm_error *err)
{
    struct bm_tls *own = (struct bm_tls *)tls; // a mutex is no part of what a connection is
    bm_mutex_lock(&own->mutex);
    enum bm_status status = tls->failure.status;
    if (err != NULL)
        *err = tls->failure;
    bm_mutex_unlock(&own->mutex);
    return status;
}

// Looks at what came, before it is refused, so that the error can name it.
static int certificate_seen(int accepted, X509_STORE_CTX *store)
{
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    if (accepted == 1 || certificate == NULL || ssl == NULL)
        return accepted;
    struct bm_tls *tls = SSL_get_app_data(ssl);
    BIO *text = BIO_new(BIO_s_mem());
    if (text != NULL) { // the flags escape what is not printable
        X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
        int n = BIO_read(text, tls->subject, SUBJECT_MAX - 1);
        tls->subject[n < 0 ? 0 : n] = '\0';
    }
    BIO_free(text);
    return accepted;
}

// ---- Contexts ----

static int no_passphrase(char *to, int size, int writing, void *context)
{
    (void)to, (void)size, (void)writing, (void)context;
    return -1; // OpenSSL would ask whoever sits at the terminal
}

static enum bm_status context_use_key(SSL_CTX *raw, const char *path, struct bm_error *err)
{
    int fd;
    enum bm_status status = bm_secret_open(path, "key", &fd, err);
    if (status != BM_OK)
        return status;
    BIO *file = BIO_new_fd(fd, BIO_CLOSE);
    EVP_PKEY *key = NULL;
    if (file == NULL)
        close(fd);
    else
        key = PEM_read_bio_PrivateKey(file, NULL, no_passphrase, NULL);
    if (key == NULL || SSL_CTX_use_PrivateKey(raw, key) != 1)
        status = context_fail(err, path, "the certificate's key in PEM, without a passphrase");
    EVP_PKEY_free(key);
    BIO_free(file);
    return status;
}

static enum bm_status context_use_files(struct bm_tls_context *context,
                                        const struct bm_tls_files *files, struct bm_error *err)
{
    SSL_CTX *raw = context->raw;
    if (files->certificate != NULL &&
        SSL_CTX_use_certificate_chain_file(raw, files->certificate) != 1)
        return context_fail(err, files->certificate, "certificates in PEM");
    enum bm_status status = BM_OK;
    if (files->key != NULL)
        status = context_use_key(raw, files->key, err);
    if (status == BM_OK && files->ca != NULL && SSL_CTX_load_verify_file(raw, files->ca) != 1)
        status = context_fail(err, files->ca, "certificates of authorities in PEM");
    if (status == BM_OK && files->ca == NULL && context->side == BM_TLS_CLIENT &&
        SSL_CTX_set_default_verify_paths(raw) != 1)
        status = context_fail(err, NULL, "the system's certificates");
    if (status == BM_OK && files->ca != NULL && context->side == BM_TLS_SERVER) {
        STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(files->ca);
        if (names == NULL)
            return context_fail(err, files->ca, "certificates of authorities in PEM");
        SSL_CTX_set_client_CA_list(raw, names); // takes them
    }
    return status;
}

static bool context_set_up(struct bm_tls_context *context, bool verify)
{
    SSL_CTX *raw = context->raw;
    static const unsigned char id[] = "batchmill";
    int mode = verify ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_NONE;
    SSL_CTX_set_verify(raw, mode, certificate_seen);
    SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    // A write that did not end is gathered anew; idle connections keep no buffers; and a read does
    // not go on for as long as a peer has something that is no data.
    SSL_CTX_set_mode(raw, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_clear_mode(raw, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF); // tickets cost the server no memory
    return SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_session_id_context(raw, id, sizeof id - 1) == 1;
}

static bool context_set_socket(struct bm_tls_context *context)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "socket");
    context->socket = method;
    return method != NULL && BIO_meth_set_read(method, socket_read) == 1 &&
           BIO_meth_set_write(method, socket_write) == 1 &&
           BIO_meth_set_ctrl(method, socket_control) == 1;
}

enum bm_status bm_tls_context_new(enum bm_tls_side side, const struct bm_tls_files *files,
                                  struct bm_tls_context **ret_context, struct bm_error *err)
{
    bool server = side == BM_TLS_SERVER;
    if ((files->certificate == NULL) != (files->key == NULL))
        return bm_fail(err, BM_INVALID_ARGUMENT, "tls",
                       "expected a certificate and its key, got only a %s",
                       files->key == NULL ? "certificate" : "key");
    if (server && files->certificate == NULL)
        return bm_fail(err, BM_INVALID_ARGUMENT, "tls",
                       "expected a certificate and its key for a server, got none");
    struct bm_tls_context *context = calloc(1, sizeof *context);
    if (context == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for TLS");
    // Threads may still be at work when a program leaves: nothing is torn down behind their backs.
    (void)OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL);
    ERR_clear_error();
    context->side = side;
    context->raw = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    enum bm_status status;
    if (context->raw == NULL || !context_set_socket(context) ||
        !context_set_up(context, !server || files->ca != NULL))
        status = context_fail(err, NULL, "OpenSSL to work");
    else
        status = context_use_files(context, files, err);
    if (status == BM_OK)
        *ret_context = context;
    else
        bm_tls_context_free(context);
    ERR_clear_error();
    return status;
}

void bm_tls_context_free(struct bm_tls_context *context)
{
    if (context == NULL)
        return;
    SSL_CTX_free(context->raw);
    BIO_meth_free(context->socket);
    free(context);
}

// ---- Connections ----

// Whose certificate it must be.
static bool tls_expect(SSL *ssl, const char *name)
{
    unsigned char ip[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, name, ip) == 1 || inet_pton(AF_INET6, name, ip) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

static bool tls_attach(struct bm_tls *tls, struct bm_tls_context *context)
{
    BIO *bio = BIO_new(context->socket);
    if (bio == NULL)
        return false;
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio); // takes it
    return SSL_set_app_data(tls->ssl, tls) == 1;
}

enum bm_status bm_tls_new(struct bm_tls_context *context, int fd, const char *name,
                          struct bm_tls **ret_tls, struct bm_error *err)
{
    bool client = context->side == BM_TLS_CLIENT;
    if (client && (name[0] == '\0' || strlen(name) > BM_TLS_NAME_MAX))
        return bm_fail(err, BM_INVALID_ARGUMENT, NULL,
                       "expected a server's name of 1 to %d bytes, got %zu", BM_TLS_NAME_MAX,
                       strlen(name));
    struct bm_tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for TLS");
    *tls = (struct bm_tls){.side = context->side, .fd = fd, .awaits = POLLIN};
    bm_mutex_init(&tls->mutex);
    tls->ssl = SSL_new(context->raw);
    if (client)
        strcpy(tls->name, name);
    if (tls->ssl == NULL || !tls_attach(tls, context) || (client && !tls_expect(tls->ssl, name))) {
        bm_tls_free(tls);
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for TLS");
    }
    if (client)
        SSL_set_connect_state(tls->ssl);
    else
        SSL_set_accept_state(tls->ssl);
    *ret_tls = tls;
    return BM_OK;
}

void bm_tls_free(struct bm_tls *tls)
{
    if (tls == NULL)
        return;
    ERR_clear_error();
    if (tls->ssl != NULL && !tls->failed && SSL_is_init_finished(tls->ssl))
        (void)SSL_shutdown(tls->ssl);
    ERR_clear_error();
    SSL_free(tls->ssl);
    bm_mutex_fini(&tls->mutex);
    free(tls);
}

// What a call that did not succeed means: what to wait for, POLLHUP after a goodbye, -1: it failed.
static int tls_result(struct bm_tls *tls, int result, int error) BM_REQUIRES(tls->mutex)
{
    int kind = SSL_get_error(tls->ssl, result);
    switch (kind) {
    case SSL_ERROR_WANT_READ:
        return POLLIN;
    case SSL_ERROR_WANT_WRITE:
        return POLLOUT;
    case SSL_ERROR_ZERO_RETURN:
        return POLLHUP;
    default:
        tls_explain(tls, kind, error);
        ERR_clear_error();
        return -1;
    }
}

int bm_tls_handshake(struct bm_tls *tls)
{
    int wanted = -1;
    bm_mutex_lock(&tls->mutex);
    if (!tls->failed) {
        ERR_clear_error();
        errno = 0;
        int result = SSL_do_handshake(tls->ssl);
        wanted = result == 1 ? 0 : tls_result(tls, result, errno);
    }
    bm_mutex_unlock(&tls->mutex);
    return wanted == POLLHUP ? -1 : wanted;
}

ssize_t bm_tls_recv(struct bm_tls *tls, void *bytes, size_t size)
{
    size_t got = 0;
    int wanted = -1;
    bm_mutex_lock(&tls->mutex);
    if (!tls->failed) {
        ERR_clear_error();
        errno = 0;
        int result = SSL_read_ex(tls->ssl, bytes, size, &got);
        wanted = result == 1 ? 0 : tls_result(tls, result, errno);
    }
    bm_mutex_unlock(&tls->mutex);
    tls->awaits = wanted == POLLOUT ? POLLOUT : POLLIN;
    if (wanted == 0 || wanted == POLLHUP)
        return (ssize_t)got;
    errno = wanted > 0 ? EAGAIN : ECONNRESET;
    return -1;
}

int bm_tls_awaits(const struct bm_tls *tls)
{
    return tls->awaits;
}

// ---- Sending: records of 16 KiB, of a long piece without a copy ----

struct pieces {
    const struct iovec *at;
    size_t n, skipped; // of the first
};

// The next record's bytes, maybe put together in `room`; their number, 0 at the end. The same ones
// again for the same place: OpenSSL insists on that for a record that the socket did not take.
static size_t pieces_record(struct pieces from, unsigned char room[BM_TLS_RECORD_BYTES],
                            const void **ret_bytes)
{
    size_t size = 0;
    *ret_bytes = room;
    for (; from.n > 0 && size < BM_TLS_RECORD_BYTES; from.at++, from.n--, from.skipped = 0) {
        const unsigned char *bytes = (const unsigned char *)from.at->iov_base + from.skipped;
        size_t length = from.at->iov_len - from.skipped, left = BM_TLS_RECORD_BYTES - size;
        if (size == 0 && length >= left) {
            *ret_bytes = bytes;
            return left;
        }
        size_t part = length < left ? length : left;
        memcpy(room + size, bytes, part);
        size += part;
    }
    return size;
}

static void pieces_advance(struct pieces *pieces, size_t bytes)
{
    pieces->skipped += bytes;
    while (pieces->n > 0 && pieces->skipped >= pieces->at->iov_len) {
        pieces->skipped -= pieces->at->iov_len;
        pieces->at++;
        pieces->n--;
    }
}

// 0: some of it is on its way; POLLOUT: later. It never has to read first: the handshake is over,
// and there is no renegotiation.
static int tls_write(struct bm_tls *tls, const void *bytes, size_t size, size_t *ret_taken)
{
    int wanted = -1;
    bm_mutex_lock(&tls->mutex);
    if (!tls->failed) {
        ERR_clear_error();
        errno = 0;
        int result = SSL_write_ex(tls->ssl, bytes, size, ret_taken);
        wanted = result == 1 ? 0 : tls_result(tls, result, errno);
    }
    bm_mutex_unlock(&tls->mutex);
    return wanted;
}

ssize_t bm_tls_send(struct bm_tls *tls, const struct iovec *pieces, size_t npieces)
{
    unsigned char room[BM_TLS_RECORD_BYTES];
    struct pieces left = {pieces, npieces, 0};
    const void *bytes;
    size_t size, sent = 0;
    while ((size = pieces_record(left, room, &bytes)) > 0) {
        size_t taken = 0;
        int wanted = tls_write(tls, bytes, size, &taken);
        if (wanted != 0 && sent == 0)
            errno = wanted == POLLOUT ? EAGAIN : EPIPE;
        if (wanted != 0)
            return sent == 0 ? -1 : (ssize_t)sent;
        pieces_advance(&left, taken);
        sent += taken;
    }
    return (ssize_t)sent;
}
